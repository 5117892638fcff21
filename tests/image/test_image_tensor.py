"""Tensors: the way there and back is exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pictures import smooth

from img2img.errors import ProcessingError
from img2img.image.tensor import to_pixels, to_tensor
from img2img.types import SYMMETRIC, UNIT, ValueRange


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("value_range", [UNIT, SYMMETRIC, ValueRange(0, 255)])
def test_every_level_comes_back(dtype: str, value_range: ValueRange) -> None:
    white = np.iinfo(dtype).max
    levels = np.arange(white + 1, dtype=dtype).reshape(-1, 16, 1)
    tensor = to_tensor(levels, value_range)
    assert tensor.min() == value_range.low and tensor.max() == value_range.high
    assert (tensor.flatten().diff() > 0).all()
    np.testing.assert_array_equal(to_pixels(tensor, value_range, np.dtype(dtype))[0], levels)


def test_each_level_is_the_nearest_float_of_its_ratio() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    exact = (np.arange(256) / 255).astype(np.float32)
    np.testing.assert_array_equal(to_tensor(levels).flatten().numpy(), exact)


def test_shape_order_and_batches() -> None:
    a, b = smooth(3), smooth(6)[:, :, 3:]
    batch = to_tensor([a, b], SYMMETRIC)
    assert batch.shape == (2, 3, 33, 47) and batch.is_contiguous() and batch.dtype == torch.float32
    torch.testing.assert_close(batch[1, 2], torch.from_numpy(b[:, :, 2] / 127.5 - 1).float())
    back = to_pixels(batch, SYMMETRIC)
    np.testing.assert_array_equal(back[0], a)
    np.testing.assert_array_equal(back[1], b)
    assert all(p.flags["C_CONTIGUOUS"] and p.dtype == np.uint8 for p in back)


def test_any_strides_and_read_only_memory() -> None:
    pixels = smooth(3)
    view = pixels[::-1, ::2, ::-1]
    torch.testing.assert_close(to_tensor(view), to_tensor(view.copy()), rtol=0, atol=0)
    pixels.flags.writeable = False
    before = pixels.copy()
    to_tensor(pixels).mul_(0)
    np.testing.assert_array_equal(pixels, before)


def test_floats_are_kept_as_they_are() -> None:
    pixels = smooth(2, "float32") * 3 - 1
    np.testing.assert_array_equal(to_pixels(to_tensor(pixels), UNIT, np.float32)[0], pixels)
    source = pixels.copy()
    tensor = to_tensor(pixels, SYMMETRIC)
    np.testing.assert_allclose(to_pixels(tensor, SYMMETRIC, np.float32)[0], pixels, atol=1e-6)
    np.testing.assert_array_equal(pixels, source)


def test_results_are_limited_and_rounded_to_the_nearest_even() -> None:
    values = torch.tensor([-1.0, 0.5 / 255, 1.5 / 255, 2.5 / 255, 1.2, float("inf"), float("-inf"), 0.9999])
    pixels = to_pixels(values.double().view(1, 1, 1, 8))[0]
    assert pixels.ravel().tolist() == [0, 0, 2, 2, 255, 255, 0, 255]
    with pytest.raises(ProcessingError, match="NaN"):
        to_pixels(torch.full((1, 1, 2, 2), float("nan")))


def test_the_tensor_given_is_left_alone() -> None:
    for layout in (torch.contiguous_format, torch.channels_last):
        for channels in (1, 3):
            tensor = torch.rand(2, channels, 5, 7).contiguous(memory_format=layout)
            before = tensor.clone()
            for dtype in (np.uint8, np.float32):
                to_pixels(tensor, SYMMETRIC, dtype)
            assert torch.equal(tensor, before)


def test_low_precision_and_inference_mode() -> None:
    pixels = smooth(3)
    with torch.inference_mode():
        tensor = to_tensor(pixels, dtype=torch.bfloat16)
        half = to_tensor(pixels)
    assert tensor.dtype == torch.bfloat16
    assert np.abs(to_pixels(tensor)[0].astype(int) - pixels).max() <= 1
    np.testing.assert_array_equal(to_pixels(half)[0], pixels)
    parameter = to_tensor(pixels).requires_grad_()
    np.testing.assert_array_equal(to_pixels(parameter)[0], pixels)


def test_what_is_no_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        to_tensor([smooth(3), smooth(1)])
    with pytest.raises(ValueError, match="one shape"):
        to_tensor([])
    with pytest.raises(ValueError, match="uint8"):
        to_tensor(smooth(3).astype(np.int32))
    with pytest.raises(ValueError, match="N, C, H, W"):
        to_pixels(torch.zeros(3, 4, 5))
    with pytest.raises(ValueError, match="uint8"):
        to_pixels(torch.zeros(1, 3, 4, 5), UNIT, np.int64)
