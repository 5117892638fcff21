"""What the hardware can do at most: processor features and the speed of one large matrix product."""

from __future__ import annotations

import time
from typing import Literal

import torch

_SMALL = 128  # rows and columns of the first product
_SHORT = (
    0.05  # seconds of a product after which one of twice the side is tried, which takes eight times as long
)


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
    """Measures products of square matrices.

    Args:
        device: A torch device; "auto" takes the first GPU when there is one.
        size: Rows and columns at most. Smaller products come first, and none that would take seconds: without
            units for it, bf16 is a thousand times slower than fp32.
        seconds: How long the largest product of each precision is repeated.

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
    side = min(size, _SMALL)
    speed, took = _repeated(device, dtype, side, 0.0)
    while side < size and took < _SHORT:
        side = min(2 * side, size)
        faster, took = _repeated(device, dtype, side, 0.0)
        speed = max(speed, faster)
    return max(speed, _repeated(device, dtype, side, seconds)[0])


def _repeated(device: torch.device, dtype: torch.dtype, side: int, seconds: float) -> tuple[float, float]:
    """Returns GFLOP/s and seconds of the fastest product of (side, side); the first is not counted."""
    a = torch.rand(side, side, device=device).to(dtype)
    b = torch.rand(side, side, device=device).to(dtype)
    out = a @ b
    best, end = float("inf"), time.perf_counter() + seconds
    while best == float("inf") or time.perf_counter() < end:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        started = time.perf_counter()
        torch.matmul(a, b, out=out)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best / 1e9, best
