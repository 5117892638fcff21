"""img2img with Winograd's convolutions, for CPUs without AMX: `python tools/winograd.py COMMAND ...`.

Where a processor has AVX2 or AVX-512, most of a training in fp32 goes into 3x3 convolutions, and torch
computes each product of them. This runs any command of img2img with a kernel of its own for them that
needs a quarter of the products. It is compiled at the first use, which takes a minute, g++ and ninja:

    python tools/winograd.py train edsr_x4 --images DIR --set memory_format=channels_last --set precision=fp32
    python tools/winograd.py measure

With bf16, which `precision: auto` takes where a processor has units for it, torch does all convolutions.
It works within one process and has no second derivatives, so penalties on gradients (WGAN-GP, R1) are errors.
Results differ from torch's in the last bits. `measure` prints by how much, and how much faster it is.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

CL = torch.channels_last
_FLAGS = {"AVX2": ["-mavx2", "-mfma"], "AVX512": ["-mavx512f"]}  # by what torch says of the processor
_SIDE = torch.tensor(  # G of F(4, 3)
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    dtype=torch.float64,
)
_WEIGHTS = torch.kron(_SIDE, _SIDE).float()  # (36, 9): both sides at once


@cache
def kernel() -> Any:
    """Returns the compiled module.

    Raises:
        RuntimeError: The processor has neither AVX2 nor AVX-512, there is no compiler, or it failed.
    """
    from torch.utils.cpp_extension import load

    ability = torch.backends.cpu.get_cpu_capability()
    if ability not in _FLAGS:
        raise RuntimeError(
            f"winograd.cpp needs a processor with AVX2 or AVX-512; torch finds {ability} here."
        )
    for program in ("g++", "ninja"):
        if shutil.which(program) is None:
            raise RuntimeError(f"{program} is missing, which compiles winograd.cpp; install it.")
    source = str(Path(__file__).with_suffix(".cpp"))
    flags = ["-O3", "-fopenmp", *_FLAGS[ability]]
    return load(f"img2img_winograd_{ability.lower()}", [source], extra_cflags=flags)


class Convolution(torch.autograd.Function):
    """`conv2d(x, weight, bias, padding=border)` for 3x3 weights, fp32 on the CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, border: int) -> Tensor:
        """(N, C, H, W) to (N, K, H + 2 border - 2, W + 2 border - 2)."""
        x = x.contiguous(memory_format=CL)
        ctx.save_for_backward(x, weight)
        ctx.border, ctx.has_bias = border, bias is not None
        output: Tensor = kernel().convolve(x, _transformed(weight), bias, border)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Of the input another convolution, of the weights a product over all tiles."""
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=CL)
        of_x, of_weight, of_bias = None, None, None
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            sums, of_bias = kernel().weight_gradient(x, gradient, ctx.border)
            of_weight = _restored(sums)
        if ctx.needs_input_grad[0]:
            turned = weight.flip(2, 3).transpose(0, 1)
            of_x = kernel().convolve(gradient, _transformed(turned), None, 2 - ctx.border)
        return of_x, of_weight, of_bias if ctx.has_bias else None, None


def _transformed(weight: Tensor) -> Tensor:
    """(K, C, 3, 3) to (36, K / 16, C, 16)."""
    k, c = weight.shape[:2]
    return (_WEIGHTS @ weight.reshape(k * c, 9).T).view(36, k // 16, 16, c).transpose(2, 3).contiguous()


def _restored(sums: Tensor) -> Tensor:
    """(36, C, K) to (K, C, 3, 3): the transpose of the transform."""
    _, c, k = sums.shape
    return (_WEIGHTS.T @ sums.view(36, c * k)).view(3, 3, c, k).permute(3, 2, 0, 1)


def fits(x: Tensor, weight: Tensor, stride: Any, padding: Any, dilation: Any, groups: int) -> bool:
    """Returns whether the kernel can do a convolution, forwards and backwards."""
    (k, c), sides = weight.shape[:2], weight.shape[2:]
    return (
        sides == (3, 3)
        and groups == 1
        and k % 16 == c % 16 == 0
        and _both(stride) == _both(dilation) == (1, 1)
        and _both(padding) in ((0, 0), (1, 1))
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == "cpu"
        and x.ndim == 4
        and min(x.shape[2:]) > 2
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def _both(value: Any) -> tuple[Any, Any]:
    return (value, value) if isinstance(value, int | str) else tuple(value)


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Does what `torch.nn.functional.conv2d` does, by Winograd's algorithm where it fits."""
    if fits(input, weight, stride, padding, dilation, groups):
        output: Tensor = Convolution.apply(input, weight, bias, _both(padding)[0])  # type: ignore[no-untyped-call]
        return output
    return _TORCH(input, weight, bias, stride, padding, dilation, groups)


_TORCH: Callable[..., Tensor] = F.conv2d


def measure() -> None:
    """Prints the error against float64, and the time of a residual block's convolution against torch's."""
    torch.manual_seed(0)
    x = torch.randn(16, 64, 40, 40).contiguous(memory_format=CL).requires_grad_()
    layer = nn.Conv2d(64, 64, 3, padding=1).to(memory_format=CL)
    given = torch.randn(16, 64, 40, 40).contiguous(memory_format=CL)

    def run(convolve: Callable[..., Tensor], dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
        values = [value.to(dtype) for value in (x, layer.weight, layer.bias)]
        y = convolve(*values, padding=1)
        return (y, *torch.autograd.grad(y, values, given.to(dtype)))

    truth = run(_TORCH, torch.float64)
    print("relative error against float64, of the output and of the gradients of input, weight and bias:")
    for name, convolve in (("torch", _TORCH), ("winograd", conv2d)):
        errors = ((a - b).norm() / b.norm() for a, b in zip(run(convolve), truth, strict=True))
        print(f"  {name:9}", "  ".join(f"{error:.1e}" for error in errors))
    seconds = {}
    for name, convolve in (("torch", _TORCH), ("winograd", conv2d)):
        taken = []
        for _ in range(20):
            before = time.perf_counter()
            run(convolve)
            taken.append(time.perf_counter() - before)
        seconds[name] = min(taken)
    threads = torch.get_num_threads()
    print(
        f"forwards and backwards, 16 x 40 x 40 pixels, 64 channels, {threads} threads: "
        f"torch {1000 * seconds['torch']:.1f} ms, winograd {1000 * seconds['winograd']:.1f} ms, "
        f"{seconds['torch'] / seconds['winograd']:.2f} times as fast"
    )


def main() -> None:
    """Runs a command of img2img, or `measure`."""
    if sys.argv[1:] == ["measure"]:
        measure()
        return
    from img2img.cli.main import main as img2img

    kernel()
    F.conv2d = conv2d
    img2img()


if __name__ == "__main__":
    main()
