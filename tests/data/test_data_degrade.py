"""Sources that degradations make: pure functions of seed, epoch and index; fixed in validation."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from worlds import fill, noise, write

from img2img.config.sections import validate
from img2img.data import Data, DataConfig, batches, in_order, open_data
from img2img.data.preview import preview
from img2img.data.sampler import DEGRADE, random_stream
from img2img.errors import ConfigError
from img2img.fields import PAIRED, enlarging
from img2img.image import Image, read_image
from img2img.processors import parse_operations
from img2img.processors.degradations import DEGRADATIONS, sharpened
from img2img.types import UNIT, Batch

RANGES = {"source": UNIT, "target": UNIT}


def opened(scale: int = 1, seed: int = 0, **config: object) -> Data:
    given = {"crop_size": 16, "validation_fraction": 0, "cache": "none", **config}
    return open_data(DataConfig(**given), fields=enlarging(scale), seed=seed)  # type: ignore[arg-type]


def first(data: Data, count: int, **options: int) -> list[Batch]:
    return list(islice(batches(data.train, batch_size=4, seed=0, ranges=RANGES, **options), count))


def levels(tensor: torch.Tensor) -> np.ndarray:
    return (tensor.double() * 255).round().permute(1, 2, 0).numpy().astype(np.uint8)


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("name", ["mixed", "second_order"])
@pytest.mark.sampled(1)
def test_patches_do_not_depend_on_workers_cache_or_resuming(tmp_path: Path, scale: int, name: str) -> None:
    fill(tmp_path, ["1.png", "2.png"], height=70, width=60)
    data = opened(scale, images=tmp_path, degradation=name)
    plain = first(data, 6)
    for other in (
        first(data, 6, workers=2),
        first(opened(scale, images=tmp_path, degradation=name, cache="memory"), 6),
        [*plain[:2], *first(data, 4, start=8)],
    ):
        for a, b in zip(plain, other, strict=True):
            assert a.source.shape == (4, 3, 16 // scale, 16 // scale) and a.target.shape == (4, 3, 16, 16)
            assert torch.equal(a.source, b.source) and torch.equal(a.target, b.target)
    others = first(opened(scale, 1, images=tmp_path, degradation=name), 6)
    assert not any(torch.equal(a.source, b.source) for a, b in zip(plain, others, strict=True))


def test_a_patch_is_made_with_its_surroundings(tmp_path: Path) -> None:
    whole = noise(0, 90, 80)
    write(tmp_path, "1.png", whole)
    data = opened(images=tmp_path, degradation={"kind": "deblur", "blurs": "defocus"}, flip=False)
    blur = DEGRADATIONS["deblur"](blurs="defocus")
    for index in range(4):
        sample = data.train.sample(3, index)
        made, target = sample.source.pixels, sample.target.pixels
        places = [
            (y, x)
            for y in range(75)
            for x in range(65)
            if np.array_equal(whole[y : y + 16, x : x + 16], target)
        ]
        ((y, x),) = places
        top, left = min(16, y), min(16, x)
        around = whole[y - top : y + 32, x - left : x + 32]
        expected = blur(around, random_stream(DEGRADE, 0, 3, index))[top : top + 16, left : left + 16]
        assert np.array_equal(made, expected)


def test_validation_sees_what_process_makes_of_the_file(tmp_path: Path) -> None:
    fill(tmp_path / "in", ["a.b.png", "sub/2.png", "sub.x/none.png"], height=41, width=50)
    for scale, crop in ((1, None), (2, None), (1, (24, 30))):
        text = f"degrade=mixed,noisy:1,scale:{scale}"
        chain = [f"crop=center,{crop[1]}x{crop[0]}", text] if crop else [text]
        config = {"images": tmp_path / "in", "degradation": {"kind": "mixed", "noisy": 1}}
        for seed in (0, 5):
            data = opened(scale, seed, validation_crop=crop, **config)
            for batch in in_order(data.train, batch_size=1, ranges=RANGES):
                path = tmp_path / "in" / batch.keys[0]
                image = read_image(path).replace(name=batch.keys[0].removesuffix(".png"))
                expected = parse_operations(chain).apply(image).pixels
                assert np.array_equal(levels(batch.source[0]), expected), "whatever the seed of the run"


def test_targets_are_sharpened_in_training_only(tmp_path: Path) -> None:
    pixels = np.repeat(np.repeat(noise(0, 12, 12), 8, 0), 8, 1)
    write(tmp_path, "1.png", pixels)
    crisp = np.rint(sharpened(pixels.astype(np.float32) / 255, 0.5) * 255).astype(np.uint8)
    assert not np.array_equal(crisp, pixels)
    data = opened(4, images=tmp_path, crop_size=96, degradation="second_order", flip=False)
    assert np.array_equal(levels(first(data, 1)[0].target[0]), crisp)
    (measured,) = in_order(data.train, batch_size=1, ranges=RANGES)
    assert np.array_equal(levels(measured.target[0]), pixels)
    plain = opened(4, images=tmp_path, crop_size=96, degradation="real", flip=False)
    assert np.array_equal(levels(first(plain, 1)[0].target[0]), pixels)


def test_sharp_changes_come_before_and_alpha_is_kept(tmp_path: Path) -> None:
    pixels, alpha = noise(0, 60, 60), noise(1, 60, 60, 1)[..., 0] | 1
    write(tmp_path, "1.png", pixels, alpha)
    data = opened(images=tmp_path, source_channels=4, degradation="denoise", flip=False)
    for batch in first(data, 3):
        assert batch.source.shape[1] == 4
        assert torch.equal(batch.source[:, 3], batch.target[:, 3])
        assert not torch.equal(batch.source[:, :3], batch.target[:, :3])
    inverted = opened(
        images=tmp_path,
        source_channels=3,
        flip=False,
        degradation={"kind": "denoise", "sigma": 0},
        augment={"sharp": [{"InvertImg": {"p": 1}}]},
    )
    for batch in first(inverted, 3):
        assert torch.equal(batch.source, batch.target)


def test_grey_and_deep_pictures(tmp_path: Path) -> None:
    for kind in ({"channels": 1}, {"dtype": "uint16"}, {"channels": 1, "dtype": "uint16"}):
        fill(tmp_path / str(kind), ["1.png"], height=40, width=40, **kind)
        for name in DEGRADATIONS:
            data = opened(2, images=tmp_path / str(kind), degradation=name)
            (batch,) = first(data, 1)
            assert batch.source.shape == (4, kind.get("channels", 3), 8, 8)
            assert batch.source.min() >= 0 and batch.source.max() <= 1


def test_preview_shows_the_source_beside_the_target(tmp_path: Path) -> None:
    fill(tmp_path, ["1.png", "2.png"], height=40, width=40)
    data = opened(images=tmp_path, degradation="dejpeg")
    assert "sources made of them by dejpeg" in data.description
    rows = preview(data.train, 2, 2)
    assert [len(row) for row in rows] == [4, 4]
    source, target = (cell[0].pixels for cell in rows[0][:2])
    assert source.shape == target.shape and not np.array_equal(source, target)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("dejpg", "data.degradation: there is no degradation 'dejpg'; did you mean 'dejpeg'?"),
        ({"kind": "dejpg"}, "data.degradation.kind is 'dejpg'; did you mean 'dejpeg'?"),
        ({"quality": 10}, "data.degradation.kind is missing; it says which one is meant."),
        (
            {"kind": "dejpeg", "qulity": 10},
            "there is no key data.degradation.qulity; did you mean 'quality'?",
        ),
        ({"kind": "dejpeg", "quality": [30, 10]}, "a range begins with its smaller number: 10-30."),
        ({"kind": "denoise", "sigma": 300}, "data.degradation.sigma"),
        ({"kind": "deblur", "blurs": ["motoin"]}, "did you mean 'motion'?"),
    ],
)
def test_wrong_settings_are_told(tmp_path: Path, given: object, sentence: str) -> None:
    _, problems = validate(DataConfig, {"images": str(tmp_path), "degradation": given}, "data")
    assert len(problems) >= 1 and sentence in problems[0], problems


def test_only_pictures_without_partners_are_degraded(tmp_path: Path) -> None:
    fill(tmp_path / "a", ["1.png"])
    fill(tmp_path / "b", ["1.png"])
    with pytest.raises(ConfigError, match=r"data.degradation makes the sources of pictures from images"):
        opened(paired=(tmp_path / "a", tmp_path / "b"), degradation="mixed")
    with pytest.raises(ConfigError, match=r"data.degradation makes the sources"):
        open_data(DataConfig(aligned=tmp_path, degradation="mixed"), fields=PAIRED)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"at a scale of 1 .* name what spoils the source"):
        opened(images=tmp_path / "a")


def test_a_file_gives_the_name_that_its_damage_comes_from(tmp_path: Path) -> None:
    from img2img.batch import convert_folder

    pixels = np.full((20, 24, 3), 128, np.uint8)
    for name in ("1.png", "sub/1.png", "2.tif"):
        write(tmp_path / "in", name, pixels)
    chain = parse_operations(["degrade=denoise,sigma:20"])
    convert_folder(tmp_path / "in", tmp_path / "out", chain)
    made = {n: read_image(tmp_path / "out" / n).pixels for n in ("1.png", "sub/1.png", "2.tif")}
    for name, result in made.items():
        alone = chain.apply(Image(pixels, name=name.rsplit(".", 1)[0])).pixels
        assert np.array_equal(result, alone)
    assert len({each.tobytes() for each in made.values()}) == 3
    other = parse_operations(["degrade=denoise,sigma:20,seed:1"])
    assert not np.array_equal(other.apply(Image(pixels, name="1")).pixels, made["1.png"])
