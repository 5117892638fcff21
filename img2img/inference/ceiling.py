"""What the hardware can do at most: processor features and the speed of one large matrix product."""

from __future__ import annotations

import time
from typing import Literal

import torch


def cpu_bf16() -> Literal["amx", "avx512", "none"]:
    """Returns which bf16 matrix units this CPU has.

    torch offers no public question for this; where its own check is missing the answer is "none".
    """
    cpu = torch.cpu
    if getattr(cpu, "_is_amx_tile_supported", bool)():
        return "amx"
    if getattr(cpu, "_is_avx512_bf16_supported", bool)():
        return "avx512"
    return "none"


def matrix_ceilings(device: str = "auto", size: int = 4096, seconds: float = 1.0) -> dict[str, float]:
    """Measures a (size, size) by (size, size) matrix product.

    Args:
        device: A torch device; "auto" takes the first GPU when there is one.
        size: Rows and columns.
        seconds: How long each precision runs at least, after one product that is not counted.

    Returns:
        GFLOP/s of the fastest product, by precision ("fp32", "bf16").
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return {
        name: _product_speed(torch.device(device), dtype, size, seconds)
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
    }


def _product_speed(device: torch.device, dtype: torch.dtype, size: int, seconds: float) -> float:
    a = torch.rand(size, size, device=device).to(dtype)
    b = torch.rand(size, size, device=device).to(dtype)
    out = a @ b
    best = float("inf")
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        torch.matmul(a, b, out=out)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best / 1e9
