"""Deep Image Prior: one fit, and pictures of every kind and size through it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from img2img.data.masks import IrregularMasks, MaskConfig
from img2img.errors import ConfigError, ProcessingError
from img2img.image import Image
from img2img.image.image import white_of
from img2img.image.resize import resize
from img2img.inference import prior
from img2img.inference.early_stopping import WindowedVariance
from img2img.inference.prior import DeepPrior, PriorEstimate, PriorProgress
from img2img.inference.prior_fit import FitState, fit
from img2img.inference.prior_tasks import RECIPES, form_of, recipe_for
from img2img.processors.inpaint import Inpainter

SMALL = replace(RECIPES["denoise"], widths=(4, 4), bridges=(1, 1), inputs=4, steps=6)


def ramp(height: int, width: int, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    """A picture without noise that differs from channel to channel."""
    down, across = np.linspace(0.2, 0.7, height), np.linspace(0.1, 0.9, width)
    plane = (down[:, None, None] + across[None, :, None]) / 2 * np.linspace(1, 0.6, channels)
    return (plane * white_of(np.dtype(dtype))).astype(dtype)


def observation(side: int = 12) -> torch.Tensor:
    return torch.from_numpy(ramp(side, side, dtype=np.float32)).permute(2, 0, 1)[None]


def fitted(observed: torch.Tensor, observe: Any = lambda x: x, **more: Any) -> Any:
    recipe = more.pop("recipe", SMALL)
    return fit(recipe, observed, observe, (observed.shape[2], observed.shape[3]), **more)


def tiny(task: str, **more: Any) -> DeepPrior:
    return DeepPrior(task, **{"steps": 2, "channels": 2, **more})  # type: ignore[arg-type]


# one fit


def test_the_seed_alone_decides_and_nobody_elses_random_numbers_are_touched() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, same, other = (fitted(observation(), seed=seed).picture for seed in (3, 3, 4))
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(one, same)
    assert not torch.allclose(one, other, atol=1e-3)


def test_it_comes_nearer_to_what_it_is_fitted_to() -> None:
    losses: list[float] = []
    recipe = replace(SMALL, steps=40)
    made = fitted(observation(), recipe=recipe, on_step=lambda state: losses.append(state.loss))
    assert made.steps == len(losses) == 40 and made.ended == "steps"
    assert losses[-1] < losses[0] / 3


def test_a_rule_chooses_the_average_at_its_lowest_variance() -> None:
    averages: dict[int, torch.Tensor] = {}

    def note(state: FitState) -> None:
        averages[state.step] = state.average.clone()

    rule = WindowedVariance(window=2, patience=3)
    made = fitted(observation(), recipe=replace(SMALL, steps=60), rule=rule, on_step=note)
    assert made.ended == "variance" and made.steps == rule.step == made.chosen + 3 < 60
    assert torch.equal(made.picture, averages[rule.best])


def test_weights_of_before_come_back_when_the_loss_leaps() -> None:
    calls = 0

    def observe(x: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return x * {3: float("nan"), 5: 100.0}.get(calls, 1.0)

    seen: list[int] = []
    made = fitted(observation(), observe, on_step=lambda state: seen.append(state.step))
    assert seen == [1, 2, 4, 6] and made.steps == 6
    assert made.picture.isfinite().all()


def test_time_bounds_a_fit() -> None:
    made = fitted(observation(), seconds=1e-9)
    assert (made.steps, made.ended) == (1, "time")


def test_what_is_observed_of_an_enlarged_picture_is_its_bicubic_reduction() -> None:
    large = np.random.default_rng(0).random((21, 36, 3), np.float32)
    rows, columns = prior._reducing(21, 7, torch.zeros(1)), prior._reducing(36, 12, torch.zeros(1))
    made = (rows @ torch.from_numpy(large).permute(2, 0, 1) @ columns.mT).permute(1, 2, 0)
    np.testing.assert_allclose(made.numpy(), resize(large, 7, 12), atol=1e-6)


# recipes


def test_recipes_by_task_and_factor() -> None:
    assert recipe_for("upscale", 4).steps == 2000 and recipe_for("upscale", 8).jitter == 0.05
    assert recipe_for("dejpeg").narrowed(32).widths == (2, 4, 8, 16, 32)
    assert RECIPES["text"].narrowed(16).bridges == (16,) * 5
    with pytest.raises(ConfigError, match="2 to 8, not 9"):
        recipe_for("upscale", 9)
    with pytest.raises(ConfigError, match="did you mean 'denoise'"):
        recipe_for("denoising")  # type: ignore[arg-type]


def test_what_is_missing_decides_about_the_recipe() -> None:
    assert form_of(np.random.default_rng(0).random((96, 96)) < 0.5) == "pixels"
    lines = np.zeros((96, 96), bool)
    lines[::12] = lines[1::12] = True
    assert form_of(lines) == "text"
    region = np.zeros((96, 96), bool)
    region[20:60, 30:70] = True
    assert form_of(region) == "region"


# pictures


@pytest.mark.sampled(4)
@pytest.mark.parametrize("task", ["denoise", "dejpeg", "upscale"])
@pytest.mark.parametrize(
    ("height", "width", "channels", "dtype"),
    [(1, 1, 3, np.uint8), (17, 9, 1, np.uint16), (5, 70, 3, np.float32), (8, 8, 5, np.uint16)],
)
def test_every_kind_comes_back_as_it_is(
    task: str, height: int, width: int, channels: int, dtype: Any
) -> None:
    pixels = ramp(height, width, channels, dtype)
    alpha = ramp(height, width, 1, dtype)[..., 0]
    image = Image(pixels, alpha, icc=b"profile", exif=b"II", jpeg_quality=80)
    (made,) = tiny(task, factor=3)([image])
    scale = 3 if task == "upscale" else 1
    assert made.pixels.shape == (height * scale, width * scale, channels) and made.pixels.dtype == dtype
    assert made.icc == b"profile" and made.exif == b"II" and made.jpeg_quality is None
    assert made.alpha is not None
    if scale == 1:
        np.testing.assert_array_equal(made.alpha, alpha)
    assert np.isfinite(made.pixels).all() and not np.array_equal(made.pixels, pixels)
    np.testing.assert_array_equal(image.pixels, ramp(height, width, channels, dtype))


def test_depths_agree_and_grey_stays_grey() -> None:
    grey = ramp(9, 11, 1, np.float32)
    results = []
    for dtype in (np.uint8, np.uint16, np.float32):
        white = white_of(np.dtype(dtype))
        levels = (np.rint(grey * 255) * (white / 255)).astype(dtype)
        (one,) = tiny("denoise")([Image(levels)])
        (three,) = tiny("denoise")([Image(np.repeat(levels, 3, 2))])
        np.testing.assert_array_equal(three.pixels, np.repeat(one.pixels, 3, 2))
        results.append(one.pixels / white)
    np.testing.assert_allclose(results[0], results[2], atol=0.51 / 255)
    np.testing.assert_allclose(results[1], results[2], atol=1e-4)


def test_colours_that_cannot_be_seen_do_not_count() -> None:
    alpha = np.full((10, 10), 255, np.uint8)
    alpha[:4] = 0
    made = []
    for level in (0, 255):
        pixels = ramp(10, 10)
        pixels[:4] = level
        made.append(tiny("denoise")([Image(pixels, alpha)])[0].pixels)
    np.testing.assert_array_equal(*made)


def test_floats_beyond_white_are_fitted_from_their_least_to_their_largest() -> None:
    (made,) = tiny("denoise")([Image(ramp(8, 8, 3, np.float32) * 4)])
    assert made.pixels.max() > 1 and "were fitted as black to white" in made.warnings[0]
    with pytest.raises(ProcessingError, match="not finite"):
        tiny("denoise")([Image(np.full((8, 8, 3), np.nan, np.float32))])


@pytest.mark.sampled(4)
@pytest.mark.parametrize("missing", ["auto", "text", "pixels", "region"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_known_pixels_are_the_same_bit_by_bit(missing: Any, dtype: Any) -> None:
    mask = IrregularMasks(MaskConfig(holes=(0.3, 0.3)))(13, 21, 0, 0)
    hole, pixels = mask > 0, ramp(13, 21, 3, dtype)
    fill = tiny("inpaint", holes=missing).fill
    (made,) = Inpainter(fill)([Image(pixels, pixels[..., 0])], mask=[Image(mask[..., None])])
    np.testing.assert_array_equal(made.pixels[~hole], pixels[~hole])
    assert made.alpha is not None
    np.testing.assert_array_equal(made.alpha[~hole], pixels[..., 0][~hole])
    other = pixels.copy()
    other[hole] = 0
    (again,) = Inpainter(fill)([Image(other, pixels[..., 0])], mask=[Image(mask[..., None])])
    np.testing.assert_array_equal(again.pixels, made.pixels)  # what a hole holds does not matter


def test_a_picture_too_large_for_the_memory_becomes_tiles() -> None:
    """With one fit each; where nothing is missing there is none."""
    seen: list[PriorProgress] = []
    more: dict[str, Any] = {"memory": 13 * 2**20, "steps": 4, "on_progress": seen.append, "stop": "none"}
    pixels = ramp(40, 300)
    (made,) = tiny("denoise", **more)([Image(pixels, name="long")])
    assert made.pixels.shape == pixels.shape
    assert {each.name for each in seen} == {"long"}
    assert seen[-1].tile == seen[-1].tiles > 1
    assert seen[-1].left == 0 and seen[-1].picture().height == 40
    seen.clear()
    mask = np.zeros((40, 300, 1), np.uint8)
    mask[10:20, 5:15] = 255
    (made,) = Inpainter(tiny("inpaint", **more).fill)([Image(pixels)], mask=[Image(mask)])
    assert {each.tiles for each in seen} == {1}
    np.testing.assert_array_equal(made.pixels[mask[..., 0] == 0], pixels[mask[..., 0] == 0])
    with pytest.raises(ProcessingError, match=r"takes .* MiB, and .* are there; give it more `memory`"):
        tiny("denoise", memory=2**20)([Image(pixels)])


def test_the_estimate_of_the_memory_grows_with_the_network() -> None:
    small, large = (
        prior.step_cost(prior.network_for(SMALL.narrowed(width), 3, 0), 4, torch.device("cpu"))
        for width in (4, 8)
    )
    assert 1.5 < large.bytes / small.bytes < 2.5
    assert small.seconds > 0


def test_what_takes_days_is_refused_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture of many megapixels on a CPU; with a time given, it is announced instead."""
    announced: list[PriorEstimate] = []
    more: dict[str, Any] = {"on_estimate": announced.append, "steps": 10**9}
    with pytest.raises(ProcessingError, match=r"up to 1,000,000,000 steps of .* days; give it `minutes`"):
        tiny("denoise", **more)([Image(ramp(8, 8))])
    assert not announced
    monkeypatch.setattr(prior, "FEWEST", 1)
    tiny("denoise", minutes=1e-3, **more)([Image(ramp(8, 8), name="a")])
    assert [(each.name, each.tiles) for each in announced] == [("a", 1)]
    assert announced[0].seconds == pytest.approx(0.06)


def test_too_little_time_is_refused_and_a_little_more_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    for minutes in (1e-9, 0.002):
        with pytest.raises(ProcessingError, match=r"in .* minutes it comes to .* of 3,000 steps"):
            tiny("denoise", steps=3000, minutes=minutes)([Image(ramp(8, 8))])
    monkeypatch.setattr(prior, "FEWEST", 1)
    (made,) = tiny("denoise", steps=3000, minutes=1e-9)([Image(ramp(8, 8))])
    assert made.warnings[0].startswith("its time was over after 1 of 3,000 steps")


@pytest.mark.parametrize(
    "wrong",
    [
        {"minutes": 0},
        {"minutes": float("nan")},
        {"minutes": float("inf")},
        {"steps": -1},
        {"channels": 0},
        {"stop": "x"},
        {"seed": 2**63},
    ],
)
def test_arguments_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        tiny("denoise", **wrong)


def test_inpainting_takes_a_mask() -> None:
    with pytest.raises(ProcessingError, match="mask"):
        tiny("inpaint")([Image(ramp(8, 8))])
