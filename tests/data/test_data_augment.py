"""Augmentation: joint geometry, values of the source alone, every depth, and sentences for what is wrong."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from worlds import noise

from img2img.data import DataConfig
from img2img.data.augment import Augmenter, check
from img2img.data.sampler import random_stream
from img2img.errors import ConfigError
from img2img.fields import PAIRED
from img2img.image.image import Pixels

MOVES = ({"Rotate": {"limit": 45, "p": 0.9}}, {"HorizontalFlip": {"p": 0.5}}, {"VerticalFlip": {"p": 0.5}})
VALUES = ({"RandomGamma": {"gamma_limit": [50, 150], "p": 1}}, {"GaussNoise": {"p": 0.5}})


def pair(augmenter: Augmenter, source: Pixels, target: Pixels, seed: int) -> tuple[Pixels, Pixels]:
    done = augmenter.group({"source": source, "target": target}, PAIRED, random_stream(seed))
    return done["source"], done["target"]


def single(augmenter: Augmenter, pixels: Pixels, seed: int) -> Pixels:
    return augmenter.group({"source": pixels}, PAIRED, random_stream(seed))["source"]


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_both_sides_move_alike_and_only_the_source_changes(dtype: str, channels: int) -> None:
    pixels = noise(0, 20, 20, channels, dtype)
    moving, changing = Augmenter(MOVES), Augmenter(MOVES, VALUES)
    for seed in range(6):
        source, target = pair(moving, pixels, pixels, seed)
        assert source.dtype == pixels.dtype and source.shape == pixels.shape
        assert np.array_equal(source, target)
        changed, same = pair(changing, pixels, pixels, seed)
        assert np.array_equal(same, target)
        assert changed.dtype == pixels.dtype and not np.array_equal(changed, source)


def test_sixteen_bits_stay_sixteen_bits() -> None:
    pixels = noise(0, 20, 20, 3, "uint16")
    flips = Augmenter(({"HorizontalFlip": {"p": 1}},))
    assert np.array_equal(single(flips, pixels, 0), pixels[:, ::-1])
    assert len(np.unique(single(Augmenter((), VALUES), pixels, 0))) > 900


def test_label_maps_are_never_mixed() -> None:
    labels = np.random.default_rng(0).integers(0, 4, (20, 20, 1), np.uint8) * 60
    augmenter = Augmenter(({"Rotate": {"limit": [20, 40], "p": 1}},), labels={"source"})
    for seed in range(4):
        source, target = pair(augmenter, labels, labels.repeat(3, 2), seed)
        assert source.shape == (20, 20, 1)
        assert set(np.unique(source)) <= {0, 60, 120, 180}
        assert len(np.unique(target)) > 4


def test_one_seed_is_one_result_in_every_process() -> None:
    pixels = noise(0, 20, 20)
    augmenter = Augmenter(MOVES, VALUES)
    results = [single(augmenter, pixels, seed) for seed in range(5)]
    copy = pickle.loads(pickle.dumps(augmenter))  # noqa: S301
    for seed in (3, 0, 4):
        assert np.array_equal(single(copy, pixels, seed), results[seed])
    assert len({result.tobytes() for result in results}) == 5


def test_transforms_of_one_pipeline_decide_independently() -> None:
    pixels = noise(0, 4, 4)
    flips = Augmenter(({"HorizontalFlip": {"p": 0.5}}, {"VerticalFlip": {"p": 0.5}}))
    seen = {single(flips, pixels, seed).tobytes() for seed in range(30)}
    assert len(seen) == 4


def test_what_is_read_only_stays_as_it_was() -> None:
    pixels = noise(0, 16, 16)
    before = pixels.copy()
    pixels.flags.writeable = False
    pair(Augmenter(MOVES, VALUES), pixels, pixels, 1)
    assert np.array_equal(pixels, before)


def test_choices_hold_transforms_of_their_own() -> None:
    pixels = noise(0, 6, 6)
    one = Augmenter(
        ({"OneOf": {"transforms": [{"HorizontalFlip": {"p": 1}}, {"VerticalFlip": {"p": 1}}], "p": 1}},)
    )
    seen = {single(one, pixels, seed).tobytes() for seed in range(20)}
    assert seen == {pixels[:, ::-1].tobytes(), pixels[::-1].tobytes()}


@pytest.mark.parametrize(
    ("geometric", "photometric", "sentence"),
    [
        (
            [{"HorizontalFlop": {}}],
            [],
            "geometric: there is no transform 'HorizontalFlop'; did you mean 'HorizontalFlip'?",
        ),
        ([{"Rotate": {"limits": 3}}], [], "no parameter of Rotate 'limits'; did you mean 'limit'?"),
        ([{"Rotate": {"limit": "far"}}], [], "Rotate: .*limit"),
        ([], [{"HorizontalFlip": {}}], "HorizontalFlip moves pixels; it belongs into augment.geometric"),
        ([{"RandomGamma": {}}], [], "RandomGamma changes values; it belongs into augment.photometric"),
        ([{"OneOf": {"transforms": [{"RandomGamma": {}}]}}], [], "RandomGamma changes values"),
        ([{"OneOf": {"p": 1}}], [], "OneOf needs transforms"),
        ([{"Rotate": {}, "Affine": {}}], [], "each entry is one transform"),
        ([{"Rotate": 30}], [], r"Rotate takes \{parameter: value\}, not 30"),
    ],
)
def test_what_is_wrong_is_said(geometric: list, photometric: list, sentence: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ConfigError, match=sentence):
        check(geometric, photometric)


def test_every_problem_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        check([{"Rotat": {}}], [{"RandomGamma": {"p": 7}}])
    assert "geometric: there is no transform 'Rotat'" in str(caught.value)
    assert "photometric: RandomGamma: " in str(caught.value)


def test_a_configuration_checks_its_transforms() -> None:
    for purpose in ("geometric", "sharp"):
        with pytest.raises(ConfigError, match=rf"augment.{purpose}: .*did you mean 'Rotate'"):
            DataConfig(aligned="x", augment={purpose: [{"Rotat": {}}]})  # type: ignore[arg-type]


def test_a_transform_that_does_not_fit_the_pictures() -> None:
    with pytest.raises(ConfigError, match=r"a transform fails on pictures \(8, 8, 2\) uint8"):
        single(Augmenter((), ({"HueSaturationValue": {"p": 1}},)), noise(0, 8, 8, 2), 0)


def test_alpha_is_no_value_to_change() -> None:
    pixels = noise(3, 20, 20, 4)
    colourful = ({"HueSaturationValue": {"p": 1}}, {"RandomBrightnessContrast": {"p": 1}})
    changed = single(Augmenter((), colourful, alpha=True), pixels, 0)
    np.testing.assert_array_equal(changed[..., 3], pixels[..., 3])
    assert (changed[..., :3] != pixels[..., :3]).mean() > 0.5
