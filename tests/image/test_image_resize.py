"""Resizing: MATLAB's own results, and properties."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pictures import smooth

from img2img.image import read_image
from img2img.image.resize import resize


@pytest.mark.parametrize(
    "folder", ["Set5/image_SRF_2", "Set5/image_SRF_3", "Set5/image_SRF_4", "Set14/image_SRF_4"]
)
@pytest.mark.sampled(1)
def test_every_pixel_of_the_benchmarks(test_data: Path, folder: str) -> None:
    pairs = sorted((test_data / "data/sr" / folder).glob("*_HR.png"))
    assert pairs
    for path in pairs:
        small = read_image(path.with_name(path.name.replace("_HR", "_LR"))).pixels
        np.testing.assert_array_equal(resize(read_image(path).pixels, *small.shape[:2]), small)


@pytest.mark.parametrize("size", [(20, 30), (11, 16), (66, 94), (33, 94), (7, 100), (3, 4)])
def test_agrees_with_torch(size: tuple[int, int]) -> None:
    """torch has the same kernel with a = -0.5 when it antialiases; only its border differs."""
    pixels = smooth(3, "float32")
    height, width = pixels.shape[:2]
    framed = np.pad(pixels, ((height, height), (width, width), (0, 0)), mode="edge")
    tensor = torch.from_numpy(framed).permute(2, 0, 1)[None]
    reference = F.interpolate(tensor, (3 * size[0], 3 * size[1]), mode="bicubic", antialias=True)[0]
    expected = reference[:, size[0] : 2 * size[0], size[1] : 2 * size[1]].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(resize(pixels, *size), expected, atol=2e-5)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 3, 4, 6])
@pytest.mark.sampled(6)
def test_dtype_and_channels_are_kept(dtype: str, channels: int) -> None:
    pixels = smooth(channels, dtype)
    for height, width in ((10, 90), (90, 10), (33, 47), (1, 5), (200, 3)):
        result = resize(pixels, height, width)
        assert result.shape == (height, width, channels) and result.dtype == pixels.dtype
        assert result.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(resize(pixels, 33, 47), pixels)
    alone = resize(np.ascontiguousarray(pixels[:, :, -1:]), 20, 70)
    np.testing.assert_array_equal(resize(pixels, 20, 70)[:, :, -1:], alone)


def test_flat_stays_flat_and_nothing_leaves_the_range() -> None:
    for dtype, white in (("uint8", 255), ("uint16", 65535), ("float32", 1)):
        flat = np.full((9, 13, 3), white, dtype)
        np.testing.assert_allclose(resize(flat, 31, 5), white, rtol=1e-6)
    edge = np.zeros((20, 20, 1), np.uint8)
    edge[:, 10:] = 255
    assert set(np.unique(resize(edge, 80, 80))) <= set(range(256))
    one = np.full((1, 1, 3), 77, np.uint8)
    np.testing.assert_array_equal(resize(one, 5, 9), np.full((5, 9, 3), 77))


def test_wrong_sizes_are_refused() -> None:
    for bad in ((0, 5), (5, 0)):
        with pytest.raises(ValueError, match="cannot become"):
            resize(smooth(3), *bad)
    with pytest.raises(ValueError, match="pixels must be"):
        resize(smooth(3)[:, :, 0], 4, 4)
