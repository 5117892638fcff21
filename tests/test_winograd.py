"""tools/winograd.py against torch in float64. The kernel is compiled first, so these are slow."""

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.nn import functional as F

PATH = Path(__file__).parent.parent / "tools" / "winograd.py"


@pytest.fixture(scope="module")
def winograd() -> ModuleType:
    if shutil.which("g++") is None or shutil.which("ninja") is None:
        pytest.skip("g++ and ninja compile the kernel, and one of them is missing")
    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        pytest.skip("the kernel needs a processor with AVX2")
    spec = importlib.util.spec_from_file_location("winograd", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's extension builder warns of compilers and missing CUDA
@pytest.mark.parametrize("border", [0, 1])
@pytest.mark.parametrize(
    ("shape", "features"), [((2, 16, 9, 14), 32), ((1, 48, 3, 3), 16), ((3, 32, 40, 37), 48)]
)
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients(
    winograd: ModuleType, shape: tuple[int, ...], features: int, border: int, bias: bool
) -> None:
    torch.manual_seed(0)
    x = torch.randn(shape, requires_grad=True)
    weight = torch.randn(features, shape[1], 3, 3, requires_grad=True)
    constant = torch.randn(features, requires_grad=True) if bias else None
    inputs = [value for value in (x, weight, constant) if value is not None]
    expected = F.conv2d(*(value.double() for value in inputs), padding=border)
    given = torch.randn(expected.shape)
    truth = torch.autograd.grad(expected, inputs, given.double())
    assert winograd.fits(x, weight, 1, border, 1, 1)
    output = winograd.conv2d(x, weight, constant, padding=border)
    assert type(output.grad_fn).__name__ == "ConvolutionBackward"  # ours; torch's own has a number
    for ours, theirs in zip(
        (output, *torch.autograd.grad(output, inputs, given)), (expected, *truth), strict=True
    ):
        assert ours.shape == theirs.shape
        assert (ours - theirs).norm() < 1e-5 * theirs.norm()


def test_everything_else_is_left_to_torch(winograd: ModuleType) -> None:
    x, weight = torch.randn(1, 16, 8, 8), torch.randn(16, 16, 3, 3)
    assert winograd.fits(x, weight, (1, 1), (1, 1), (1, 1), 1)
    assert not winograd.fits(x, weight, 2, 1, 1, 1)
    assert not winograd.fits(x, weight, 1, "same", 1, 1)
    assert not winograd.fits(x, weight, 1, 1, 2, 1)
    assert not winograd.fits(x.double(), weight.double(), 1, 1, 1, 1)
    assert not winograd.fits(x[:, :8], weight[:, :8], 1, 1, 1, 2)
    assert not winograd.fits(x[:, :3], weight[:, :3], 1, 1, 1, 1)
    assert not winograd.fits(x, torch.randn(16, 16, 4, 4), 1, 1, 1, 1)
    torch.testing.assert_close(winograd.conv2d(x, weight, stride=2), F.conv2d(x, weight, stride=2))
