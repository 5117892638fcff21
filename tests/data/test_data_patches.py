"""Super-resolution data: exact low-resolution inputs, aligned patches, eight positions, detail."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from worlds import fill, noise, write

from img2img.data import Data, DataConfig, batches, in_order, open_data
from img2img.data.patches import detail
from img2img.errors import ConfigError, ProcessingError
from img2img.fields import PAIRED, enlarging
from img2img.image import read_image
from img2img.image.resize import resize
from img2img.types import UNIT, Batch


def opened(scale: int = 2, **config: object) -> Data:
    given = {"crop_size": 8, "validation_fraction": 0, "cache": "none", **config}
    return open_data(DataConfig(**given), fields=enlarging(scale))  # type: ignore[arg-type]


def first(data: Data, count: int, batch_size: int = 4) -> list[Batch]:
    stream = batches(data.train, batch_size=batch_size, seed=0, ranges={"source": UNIT, "target": UNIT})
    return list(islice(stream, count))


def levels(tensor: torch.Tensor) -> np.ndarray:
    return (tensor.double() * 255).round().permute(1, 2, 0).numpy().astype(np.uint8)


def dihedral(pixels: np.ndarray) -> list[np.ndarray]:
    return [np.rot90(p, k) for p in (pixels, pixels[:, ::-1]) for k in range(4)]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_validation_is_whole_and_exact(tmp_path: Path, scale: int) -> None:
    fill(tmp_path, ["1.png", "2.png"], height=25, width=31)
    for batch, key in zip(
        in_order(
            opened(scale, images=tmp_path, crop_size=12).train,
            batch_size=1,
            ranges={"source": UNIT, "target": UNIT},
        ),
        ("1.png", "2.png"),
        strict=True,
    ):
        whole = read_image(tmp_path / key).pixels
        high = whole[: 25 - 25 % scale, : 31 - 31 % scale]
        assert np.array_equal(levels(batch.target[0]), high)
        assert np.array_equal(levels(batch.source[0]), resize(high, 25 // scale, 31 // scale))


def test_low_resolution_inputs_are_those_of_the_benchmarks(test_data: Path) -> None:
    folder = test_data / "data/sr/Set5"
    names = sorted(folder.rglob("*SRF_4_HR.png"))
    assert len(names) == 5
    data = opened(4, images=folder, crop_size=16)
    made = {b.keys[0]: b for b in in_order(data.train, batch_size=1, ranges={"source": UNIT, "target": UNIT})}
    for path in names:
        key = path.relative_to(folder).as_posix()
        theirs = read_image(path.with_name(path.name.replace("_HR", "_LR"))).pixels
        ours = levels(made[key].source[0])
        difference = np.abs(ours.astype(int) - theirs)
        assert difference.max() <= 1 and (difference == 0).mean() > 0.98


def test_patches_are_cut_from_the_whole_and_stand_in_eight_positions(tmp_path: Path) -> None:
    high = noise(0, 24, 20)
    write(tmp_path, "1.png", high)
    low = resize(high, 12, 10)
    known = {
        patch.tobytes(): (top, left, turn)
        for top in range(9)
        for left in range(7)
        for turn, patch in enumerate(dihedral(low[top : top + 4, left : left + 4]))
    }
    assert len(known) == 9 * 7 * 8
    positions, places = set(), set()
    for batch in first(opened(images=tmp_path), 15):
        assert batch.source.shape == (4, 3, 4, 4) and batch.target.shape == (4, 3, 8, 8)
        for source, target in zip(batch.source, batch.target, strict=True):
            top, left, turn = known[levels(source).tobytes()]
            window = high[2 * top : 2 * top + 8, 2 * left : 2 * left + 8]
            assert np.array_equal(dihedral(window)[turn], levels(target)), "both sides are turned alike"
            positions.add(turn)
            places.add((top, left))
    assert positions == set(range(8))
    assert len(places) > 20


def test_without_flip_patches_stand_as_they_are(tmp_path: Path) -> None:
    high = noise(0, 8, 8)
    write(tmp_path, "1.png", high)
    for batch in first(opened(images=tmp_path, flip=False), 4):
        assert all(np.array_equal(levels(target), high) for target in batch.target)


def test_oblong_patches_are_mirrored_only(tmp_path: Path) -> None:
    fill(tmp_path, ["1.png"], height=20, width=20)
    assert {batch.target.shape for batch in first(opened(images=tmp_path, crop_size=(8, 12)), 8)} == {
        (4, 3, 8, 12)
    }


def test_validation_may_see_the_middle(tmp_path: Path) -> None:
    high = noise(0, 25, 31)
    write(tmp_path, "1.png", high)
    data = opened(3, images=tmp_path, crop_size=12, validation_crop=(13, 60))
    (batch,) = in_order(data.train, batch_size=1, ranges={"source": UNIT, "target": UNIT})
    assert np.array_equal(levels(batch.target[0]), high[6:18, :30])
    assert np.array_equal(levels(batch.source[0]), resize(high[:24, :30], 8, 10)[2:6])


def test_an_epoch_takes_as_many_patches_from_each_picture(tmp_path: Path) -> None:
    fill(tmp_path / "big", ["1.png", "2.png"], height=30, width=30)
    fill(tmp_path / "small", ["3.png"])
    data = opened(images=(tmp_path / "big", tmp_path / "small"), patches_per_image=5)
    assert len(data.train) == 15 and data.train.count == 3
    keys = [key for batch in first(data, 3, 5) for key in batch.keys]
    assert sorted(keys) == sorted(data.train.keys() * 5)


@pytest.mark.parametrize(
    ("choice", "least", "most", "share"),
    [("area", 0.12, 0.28, "a fifth: 0.25 / (1 + 0.25)"), ("equal", 0.4, 0.6, "half")],
)
@pytest.mark.sampled(1)
def test_how_often_reduced_versions_are_offered(
    tmp_path: Path, choice: str, least: float, most: float, share: str
) -> None:
    white = np.full((40, 40, 1), 255, np.uint8)
    white[0::2] = 0  # stripes: one level at half the size
    write(tmp_path, "1.png", white)
    data = opened(images=tmp_path, scales=[1.0, 0.5], scale_choice=choice, crop_size=8)
    flat = [float(target.std()) < 0.1 for batch in first(data, 40) for target in batch.target]
    assert least < np.mean(flat) < most, share


def test_a_reduced_version_without_room_for_a_patch_gives_way(tmp_path: Path) -> None:
    fill(tmp_path, ["1.png"], height=10, width=10)
    for batch in first(opened(images=tmp_path, scales=[0.3, 1.0]), 10):
        assert batch.target.shape == (4, 3, 8, 8)


def test_a_picture_without_room_for_a_patch_is_passed_over(tmp_path: Path) -> None:
    fill(tmp_path, ["1.png"], height=7, width=30)
    with pytest.raises(ProcessingError, match=r"30 x 6 pixels and holds no patch of 8 x 8 \(crop_size\)"):
        first(opened(images=tmp_path), 1)
    fill(tmp_path, ["2.png"], height=9, width=9)
    assert {key for batch in first(opened(images=tmp_path), 4) for key in batch.keys} == {"2.png"}


def test_the_best_of_some_patches_has_more_detail(tmp_path: Path) -> None:
    pixels = noise(0, height=40, width=40)
    pixels[:, :20] = 128
    write(tmp_path, "1.png", pixels)
    means = [
        np.mean([detail(levels(t)) for b in first(opened(images=tmp_path, best_of=k), 12) for t in b.target])
        for k in (1, 4)
    ]
    assert means[1] > 1.3 * means[0]
    ramp = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
    assert detail(ramp) == 4 + 1


def test_given_low_resolution_files(tmp_path: Path) -> None:
    for i in range(3):
        write(tmp_path / "low", f"{i}.png", noise(i, 10, 12))
        write(tmp_path / "high", f"{i}.png", np.repeat(np.repeat(noise(i, 10, 12), 2, 0), 2, 1))
    for paths, direction in ((("low", "high"), "AtoB"), (("high", "low"), "BtoA")):
        data = opened(paired=tuple(tmp_path / path for path in paths), direction=direction)
        for batch in first(data, 5):
            assert torch.equal(torch.nn.functional.interpolate(batch.source, scale_factor=2), batch.target)
    write(tmp_path / "low", "0.png", noise(0, 9, 12))
    told: list[str] = []
    data = opened(paired=(tmp_path / "low", tmp_path / "high"))
    list(in_order(data.train, batch_size=1, ranges={"source": UNIT, "target": UNIT}, report=told.append))
    assert "12 x 9 pixels and its partner" in told[0] and "not 2 times as much" in told[0]


def changed(folder: Path, *operations: object, **config: object) -> Data:
    return opened(images=folder, augment={"sharp": list(operations)}, **config)


def test_low_resolution_patches_are_made_of_changed_pictures(tmp_path: Path) -> None:
    high = noise(0, 96, 80)
    write(tmp_path, "1.png", high)
    negative = 255 - high
    low = resize(negative, 48, 40)
    known = {
        low[top : top + 8, left : left + 8].tobytes(): negative[2 * top :, 2 * left :][:16, :16]
        for top in range(41)
        for left in range(33)
    }
    places = set()
    for batch in first(changed(tmp_path, {"InvertImg": {"p": 1}}, flip=False, crop_size=16), 16):
        for source, target in zip(batch.source, batch.target, strict=True):
            key = levels(source).tobytes()
            if key in known:  # all but those that are cut too close to the edge of the picture
                assert np.array_equal(known[key], levels(target))
                places.add(key)
    assert len(places) > 30


@pytest.mark.parametrize("size", [(60, 50), (16, 24), (16, 16), (19, 17)])
def test_turned_patches_fit_their_low_resolution_versions(tmp_path: Path, size: tuple[int, int]) -> None:
    fill(tmp_path, ["1.png"], height=size[0], width=size[1])
    operations = {"Rotate": {"limit": [20, 70], "p": 1}}, {"ChannelShuffle": {"p": 1}}
    turned = changed(tmp_path, *operations, crop_size=16, flip=False)
    plain = first(opened(images=tmp_path, crop_size=16, flip=False), 3)
    for batch, other in zip(first(turned, 3), plain, strict=True):
        assert batch.source.shape == (4, 3, 8, 8) and batch.target.shape == (4, 3, 16, 16)
        for source, target, before in zip(batch.source, batch.target, other.target, strict=True):
            assert not torch.equal(target, before)
            inside = resize(levels(target), 8, 8)[3:-3, 3:-3]
            assert np.array_equal(levels(source)[3:-3, 3:-3], inside)


def test_changes_of_the_source_come_last(tmp_path: Path) -> None:
    fill(tmp_path, ["1.png"], height=40, width=40)
    augment = {"sharp": [{"InvertImg": {"p": 1}}], "photometric": [{"InvertImg": {"p": 1}}]}
    both = first(opened(images=tmp_path, augment=augment), 2)
    for batch, plain in zip(both, first(changed(tmp_path, {"NoOp": {}}), 2), strict=True):
        assert np.allclose(batch.target, 1 - plain.target, atol=1e-6)
        assert np.allclose(batch.source, plain.source, atol=0.004), "a level where a half is rounded"


def test_random_changes_depend_on_the_seed_alone(tmp_path: Path) -> None:
    fill(tmp_path, ["1.png", "2.png"], height=40, width=40)
    operations = {"Affine": {"rotate": [-180, 180], "p": 1}}, {"RandomGamma": {"p": 0.5}}
    one, same = (first(changed(tmp_path, *operations), 4) for _ in range(2))
    assert all(torch.equal(a.source, b.source) for a, b in zip(one, same, strict=True))
    data = open_data(
        DataConfig(
            images=tmp_path,
            crop_size=8,
            validation_fraction=0,
            augment={"sharp": operations},  # type: ignore[arg-type]
        ),
        fields=enlarging(2),
        seed=1,
    )
    assert not any(torch.equal(a.source, b.source) for a, b in zip(one, first(data, 4), strict=True))


def test_changed_pictures_without_room_for_a_patch(tmp_path: Path) -> None:
    fill(tmp_path, ["1.png"], height=40, width=40)
    with pytest.raises(ConfigError, match=r"augment.sharp leaves 5 x 5 pixels, less than .* 8 x 8"):
        first(changed(tmp_path, {"Resize": {"height": 5, "width": 5}}), 1)


def test_only_pictures_without_partners_are_changed_first(tmp_path: Path) -> None:
    fill(tmp_path / "a", ["1.png"])
    fill(tmp_path / "b", ["1.png"])
    with pytest.raises(ConfigError, match=r"augment.sharp is for super-resolution from images"):
        opened(paired=(tmp_path / "a", tmp_path / "b"), augment={"sharp": [{"InvertImg": {}}]})
    with pytest.raises(ConfigError, match=r"augment.sharp is for super-resolution from images"):
        open_data(DataConfig(aligned=tmp_path, augment={"sharp": [{"InvertImg": {}}]}), fields=PAIRED)  # type: ignore[arg-type]


def test_settings_that_do_not_fit(tmp_path: Path) -> None:
    fill(tmp_path, ["1.png"])
    with pytest.raises(ConfigError, match=r"crop_size \(8, 8\) .* multiple of the scale, 3"):
        opened(3, images=tmp_path)
    with pytest.raises(ConfigError, match=r"neither data.augment.geometric nor data.source_labels"):
        opened(images=tmp_path, source_labels="nearest")


def test_the_cache_changes_nothing(tmp_path: Path) -> None:
    fill(tmp_path / "in", ["1.png", "2.png"], height=30, width=26)
    options = {"images": tmp_path / "in", "scales": [1.0, 0.7], "best_of": 2, "patches_per_image": 3}
    plain = first(opened(**options), 10)
    for kept in ({"cache": "memory"}, {"cache": "disk", "cache_folder": tmp_path / "cache"}):
        for a, b in zip(plain, first(opened(**options, **kept), 10), strict=True):
            assert torch.equal(a.source, b.source) and torch.equal(a.target, b.target)


@pytest.mark.parametrize("sides", [(40, 40), (40, 100), (100, 40), (48, 48)])
def test_pictures_that_hold_no_patch_are_told_before_training(tmp_path: Path, sides: tuple[int, int]) -> None:
    write(tmp_path, "large.png", noise(0, 64, 64))
    write(tmp_path, "odd.png", noise(1, *sides))
    said = opened(images=tmp_path, crop_size=48, validation_fraction=0).warnings
    if min(sides) >= 48:
        assert said == ()
    else:
        assert len(said) == 1 and "1 of the 2 pictures" in said[0] and "odd.png" in said[0]
