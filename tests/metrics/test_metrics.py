"""Metrics against plain formulas written once more in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from img2img.errors import ConfigError
from img2img.metrics import l1, luma, metric_of, metrics, psnr, ssim
from img2img.types import SYMMETRIC, UNIT, ValueRange

BYTES = ValueRange(0, 255)


def pair(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a = torch.rand(shape, generator=generator)
    return a, (a + 0.1 * torch.randn(shape, generator=generator)).clamp(0, 1)


def plain_ssim(a: np.ndarray, b: np.ndarray, peak: float) -> float:
    """SSIM of two (H, W) arrays, window by window, with the paper's two-dimensional weights."""
    y, x = np.mgrid[-5:6, -5:6]
    weights = np.exp(-(x**2 + y**2) / (2 * 1.5**2))
    weights /= weights.sum()
    values = []
    for p, q in zip(
        sliding_window_view(a, (11, 11)).reshape(-1, 11, 11),
        sliding_window_view(b, (11, 11)).reshape(-1, 11, 11),
        strict=True,
    ):
        mean_p, mean_q = (weights * p).sum(), (weights * q).sum()
        variance_p = (weights * (p - mean_p) ** 2).sum()
        variance_q = (weights * (q - mean_q) ** 2).sum()
        covariance = (weights * (p - mean_p) * (q - mean_q)).sum()
        c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
        values.append(
            (2 * mean_p * mean_q + c1)
            * (2 * covariance + c2)
            / ((mean_p**2 + mean_q**2 + c1) * (variance_p + variance_q + c2))
        )
    return float(np.mean(values))


@pytest.mark.parametrize("border", [0, 3])
def test_psnr_and_l1_are_the_formulas(border: int) -> None:
    a, b = (x * 255 for x in pair(2, 3, 20, 17))
    inner = np.s_[:, :, border : 20 - border, border : 17 - border]
    difference = (a.double().numpy() - b.double().numpy())[inner]
    expected = [10 * math.log10(255**2 / float((d**2).mean())) for d in difference]
    assert psnr(a, b, BYTES, border).tolist() == pytest.approx(expected, abs=1e-9)
    assert l1(a, b, BYTES, border).tolist() == pytest.approx(
        [float(np.abs(d).mean()) / 255 for d in difference], abs=1e-12
    )


@pytest.mark.parametrize("shape", [(2, 3, 23, 19), (1, 1, 11, 11), (1, 1, 90, 14)])
def test_ssim_is_the_formula(shape: tuple[int, ...]) -> None:
    a, b = (x * 255 for x in pair(*shape))
    expected = [
        np.mean([plain_ssim(p, q, 255) for p, q in zip(x, y, strict=True)])
        for x, y in zip(a.double().numpy(), b.double().numpy(), strict=True)
    ]
    assert ssim(a, b, BYTES).tolist() == pytest.approx(expected, abs=1e-10)


def test_ssim_does_not_see_the_border() -> None:
    a, b = pair(1, 1, 30, 30)
    whole = ssim(a[..., 4:-4, 4:-4], b[..., 4:-4, 4:-4], UNIT)
    b[..., :4, :] = 0
    assert torch.equal(ssim(a, b, UNIT, border=4), whole)


OWN = [name for name in metrics if not metrics[name].package and not metrics[name].files]
SIDE = {name: max(16, metrics[name].smallest) for name in OWN}


@pytest.mark.parametrize("name", OWN)
def test_the_value_range_does_not_matter(name: str) -> None:
    a, b = (x.double() for x in pair(2, 3, SIDE[name], SIDE[name]))
    measure = metrics[name].measure
    expected = measure(a, b, UNIT)
    assert torch.allclose(measure(a * 2 - 1, b * 2 - 1, SYMMETRIC), expected, rtol=1e-9)
    assert torch.allclose(measure(a * 255, b * 255, BYTES), expected, rtol=1e-9)


@pytest.mark.parametrize("name", OWN)
def test_each_image_has_its_own_number_and_worse_is_worse(name: str) -> None:
    a, b = pair(3, 3, SIDE[name], SIDE[name])
    b[1] = a[1]
    measure, higher = metrics[name].measure, metrics[name].higher_is_better
    together = measure(a, b, UNIT)
    assert together.shape == (3,) and together.dtype == torch.float64
    alone = torch.cat([measure(x[None], y[None], UNIT) for x, y in zip(a, b, strict=True)])
    assert torch.allclose(alone, together, rtol=1e-14)
    assert (together.argmax() if higher else together.argmin()) == 1


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("channels", [1, 3])
def test_equal_images(name: str, channels: int) -> None:
    a, _ = pair(1, channels, SIDE[name], SIDE[name])
    for x in (a, torch.zeros_like(a), torch.ones_like(a)):
        assert metrics[name].measure(x, x, UNIT).item() == pytest.approx(metrics[name].perfect, abs=1e-12)


def nothing(*shape: int) -> Tensor:
    return torch.full(shape, math.nan)


@pytest.mark.parametrize("name", list(metrics))
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (nothing(1, 3, 200, 200), "not finite numbers"),
        (torch.full((1, 3, 200, 200), -0.2), r"values from -0.2 to -0.2, outside the range from 0 to 1"),
        (torch.full((1, 3, 200, 200), 255), r"values from 255 to 255, outside"),
        (torch.zeros(3, 200, 200), r"\(N, C, H, W\) .* not \(3, 200, 200\)"),
        (torch.zeros(0, 3, 200, 200), r"not \(0, 3, 200, 200\)"),
        (torch.zeros(1, 3, 200, 200, dtype=torch.complex64), "real numbers"),
        (np.zeros((1, 3, 200, 200)), "ndarray"),
    ],
)
def test_what_is_no_picture_gets_a_sentence(name: str, wrong: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics[name].measure(wrong, wrong, UNIT)


@pytest.mark.parametrize("name", list(metrics))
def test_a_range_the_wrong_way_round_and_small_pictures_get_a_sentence(name: str) -> None:
    a = torch.zeros(1, 1, 200, 200)
    with pytest.raises(ValueError, match="from black to the greater number white, not from 1 to 0"):
        metrics[name].measure(a, a, ValueRange(1, 0))
    with pytest.raises(ValueError, match="two numbers, black and white, not 255"):
        metrics[name].measure(a, a, 255)  # type: ignore[arg-type]
    side = metrics[name].smallest - 1
    if side:
        with pytest.raises(ValueError, match=f"needs .* not {side}x{side}"):
            metrics[name].measure(a[..., :side, :side], a[..., :side, :side], UNIT)


def test_metrics_of_columns() -> None:
    assert metric_of("psnr_y") is metrics["psnr"] and metric_of("ms_ssim") is metrics["ms_ssim"]
    assert metric_of("lpips_alex") is metrics["lpips_alex"]
    with pytest.raises(ConfigError, match="did you mean 'psnr'"):
        metric_of("psnrr")


def test_half_precision_counts_as_it_is() -> None:
    a, b = (x.bfloat16() for x in pair(1, 3, 32, 32))
    assert torch.equal(ssim(a, b, UNIT), ssim(a.double(), b.double(), UNIT))


def test_impossible_comparisons_are_refused() -> None:
    a, b = pair(1, 3, 16, 16)
    with pytest.raises(ValueError, match="one shape"):
        psnr(a, b[..., 1:], UNIT)
    with pytest.raises(ValueError, match="leaves nothing of 16x16"):
        l1(a, b, UNIT, border=8)
    with pytest.raises(ValueError, match="at least 11x11 pixels, not 10x10"):
        ssim(a, b, UNIT, border=3)
    assert psnr(a, b, UNIT, border=np.int64(2)) == psnr(a, b, UNIT, border=2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="whole number of pixels"):
        psnr(a, b, UNIT, border=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="greater number white"):
        luma(torch.rand(1, 3, 4, 4), ValueRange(1, 1))  # all NaN it would be
    with pytest.raises(ValueError, match="not ndarray"):
        luma(np.zeros((1, 3, 4, 4)), UNIT)  # type: ignore[arg-type]


def test_luma_of_known_colours() -> None:
    """Black, white, the primaries and a mixed colour: what MATLAB's rgb2ycbcr prints for these bytes."""
    colours = [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255), (120, 200, 33)]
    rgb = torch.tensor(colours, dtype=torch.float64).reshape(-1, 3, 1, 1)
    assert luma(rgb, BYTES, rounded=True).flatten().tolist() == pytest.approx([16, 235, 81, 145, 41, 151])
    exact = luma(rgb, BYTES).flatten().tolist()
    assert exact[2] == pytest.approx(81.481) and exact[0] == 16
    assert torch.allclose(luma(rgb / 127.5 - 1, SYMMETRIC), luma(rgb, BYTES) / 127.5 - 1)
    tie = torch.tensor([0, 204, 68]).reshape(1, 3, 1, 1)
    assert luma(tie, BYTES).item() == pytest.approx(125.5, abs=1e-9)
    assert luma(tie, BYTES, rounded=True).item() == 125
    assert luma(tie.double() / 255, UNIT, rounded=True).item() * 255 == pytest.approx(125, abs=1e-9)
    with pytest.raises(ValueError, match="luma needs"):
        luma(rgb[:, :1], BYTES)


def test_the_number_of_threads_is_what_it_was() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        with pytest.raises(ValueError):
            psnr(torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 5), UNIT)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
