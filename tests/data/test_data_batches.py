"""Batches: the same pixels whatever the workers and wherever a run resumes, joint geometry, exact scaling."""

from __future__ import annotations

import os
import pickle
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from worlds import fill, noise, pairs, write

from img2img.data import Data, DataConfig, batches, in_order, open_data
from img2img.data.compatibility import require_fit
from img2img.errors import ConfigError, PlanError, ProcessingError
from img2img.fields import PAIRED, UNPAIRED, Fields, Picture, enlarging
from img2img.image import read_image
from img2img.types import SYMMETRIC, UNIT, Batch, ValueRange


def opened(kind: str = "paired", scale: int = 1, seed: int = 5, **config: object) -> Data:
    given = {"load_size": (14, 13), "crop_size": (8, 9), "validation_fraction": 0, "cache": "none", **config}
    fields = {"paired": PAIRED, "unpaired": UNPAIRED}.get(kind) or enlarging(scale)
    return open_data(DataConfig(**given), fields, seed=seed)  # type: ignore[arg-type]


def first(data: Data, count: int, start: int = 0, workers: int = 0, **options: object) -> list[Batch]:
    given = {"batch_size": 4, "seed": 3, "ranges": {"source": UNIT, "target": UNIT}, **options}
    stream = batches(data.train, start=start, workers=workers, **given)  # type: ignore[arg-type]
    return list(islice(stream, count))


def same(a: Sequence[Batch], b: Sequence[Batch]) -> bool:
    return len(a) == len(b) and all(
        x.keys == y.keys and torch.equal(x.source, y.source) and torch.equal(x.target, y.target)
        for x, y in zip(a, b, strict=True)
    )


AUGMENT = {
    "geometric": [{"Rotate": {"limit": 20, "p": 0.8}}],
    "photometric": [{"RandomGamma": {"p": 0.8}}, {"GaussNoise": {"p": 0.5}}],
}


@pytest.mark.parametrize("kind", ["paired", "unpaired", "super_resolution"])
@pytest.mark.sampled(1)
def test_pixels_do_not_depend_on_workers_or_on_where_a_run_resumes(tmp_path: Path, kind: str) -> None:
    a, b = pairs(tmp_path, 7, height=20, width=22)
    if kind == "super_resolution":
        data = opened(kind, 2, images=a, crop_size=8, patches_per_image=2, best_of=2, scales=[1.0, 0.6])
    else:
        data = opened(kind, **{kind: (a, b)}, augment=AUGMENT)
    alone = first(data, 8)
    before = torch.random.get_rng_state()
    assert same(alone, first(data, 8, workers=2))
    assert same(alone[3:], first(data, 5, start=12, workers=0))
    assert torch.equal(before, torch.random.get_rng_state()), "loading must not touch the global generator"
    again = (
        opened(kind, 2, images=a, crop_size=8, seed=6)
        if kind == "super_resolution"
        else opened(kind, **{kind: (a, b)}, augment=AUGMENT, seed=6)
    )
    assert not same(alone, first(again, 8)), "another seed is another run"


@pytest.mark.parametrize("kind", ["paired", "unpaired", "super_resolution"])
def test_data_sets_travel_to_processes_that_share_nothing(tmp_path: Path, kind: str) -> None:
    a, b = pairs(tmp_path, 4)
    source = (
        {"images": a, "crop_size": 8} if kind == "super_resolution" else {kind: (a, b), "augment": AUGMENT}
    )
    data = opened(kind, 2, **source, cache="memory")
    here = [data.train[1, index] for index in range(4)]
    there = pickle.loads(pickle.dumps(data.train))  # noqa: S301
    for index, sample in enumerate(here):
        other = there[1, index]
        assert other.key == sample.key
        for mine, its in ((sample.source, other.source), (sample.target, other.target)):
            assert np.array_equal(mine.cut().pixels, its.cut().pixels) and mine.turn == its.turn


def test_ranks_share_a_batch(tmp_path: Path) -> None:
    data = opened(paired=pairs(tmp_path, 7))
    one = first(data, 4, batch_size=4)
    two = [first(data, 4, batch_size=2, rank=rank, world=2) for rank in range(2)]
    for whole, left, right in zip(one, *two, strict=True):
        assert torch.equal(whole.source, torch.cat((left.source, right.source)))
        assert whole.keys == left.keys + right.keys


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("value_range", [UNIT, SYMMETRIC])
@pytest.mark.sampled(4)
def test_source_and_target_are_cut_and_mirrored_alike(
    tmp_path: Path, dtype: str, channels: int, value_range: ValueRange
) -> None:
    extension = ".tif" if channels == 5 else ".png"
    data = opened(
        paired=pairs(tmp_path, 5, extension, dtype=dtype, channels=channels), load_size=None, crop_size=(7, 6)
    )
    assert (data.channels["source"], data.channels["target"]) == (channels, channels)
    white = np.iinfo(dtype).max
    seen = set()
    for batch in first(data, 10, ranges={"source": value_range, "target": value_range}):
        assert batch.source.shape == (4, channels, 7, 6)
        assert batch.source.dtype == torch.float32 and batch.source.is_contiguous()
        assert torch.allclose(batch.source + batch.target, torch.tensor(sum(value_range)), atol=1e-6)
        for key, source in zip(batch.keys, batch.source, strict=True):
            low, high = value_range
            levels = ((source.double() - low) / (high - low) * white).round().permute(1, 2, 0).numpy()
            seen.add((key, find(read_image(tmp_path / "A" / key).pixels, levels)))
    assert {mirrored for _, (_, _, mirrored) in seen} == {False, True}
    assert len({at for _, (*at, _) in ((k, list(v)) for k, v in seen) for at in [tuple(at)]}) > 8


def find(picture: np.ndarray, patch: np.ndarray) -> tuple[int, int, bool]:
    """Returns where `patch` lies in `picture`, and whether it is mirrored."""
    height, width = patch.shape[:2]
    for top in range(picture.shape[0] - height + 1):
        for left in range(picture.shape[1] - width + 1):
            window = picture[top : top + height, left : left + width]
            if np.array_equal(window, patch):
                return top, left, False
            if np.array_equal(window[:, ::-1], patch):
                return top, left, True
    raise AssertionError("the patch is not in the picture")


def test_side_by_side_files_and_direction(tmp_path: Path) -> None:
    left, right = noise(1, 10, 8), noise(2, 10, 8)
    write(tmp_path, "ab.png", np.concatenate((left, right), 1))
    for direction, source in (("AtoB", left), ("BtoA", right)):
        data = opened(aligned=tmp_path, direction=direction, load_size=None, crop_size=None, flip=False)
        (batch,) = first(data, 1, batch_size=1)
        assert np.array_equal((batch.source[0] * 255).round().permute(1, 2, 0), source)
        assert not torch.equal(batch.source, batch.target)


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_direction_of_folders(tmp_path: Path, direction: str) -> None:
    write(tmp_path / "A", "1.png", np.full((8, 8, 1), 10, np.uint8))
    write(tmp_path / "B", "1.png", np.full((8, 8, 3), 200, np.uint8))
    for kind in ("paired", "unpaired"):
        data = opened(
            kind, **{kind: (tmp_path / "A", tmp_path / "B")}, direction=direction, load_size=8, crop_size=8
        )
        (batch,) = first(data, 1, batch_size=1)
        expected = (1, 10) if direction == "AtoB" else (3, 200)
        assert (data.channels["source"], round(float(batch.source.mean()) * 255)) == expected


def test_resizing_agrees_with_pillow(tmp_path: Path) -> None:
    y, x = np.mgrid[0:60, 0:80]
    soft = np.stack([127 + 120 * np.sin(x / 9 + c) * np.cos(y / 7 - c) for c in range(3)], 2)
    pixels = soft.round().clip(0, 255).astype(np.uint8)
    write(tmp_path / "A", "1.png", pixels)
    write(tmp_path / "B", "1.png", pixels)
    data = opened(paired=(tmp_path / "A", tmp_path / "B"), load_size=(43, 31), crop_size=(43, 31), flip=False)
    (batch,) = first(data, 1, batch_size=1)
    theirs = np.asarray(PIL.Image.fromarray(pixels).resize((31, 43), PIL.Image.Resampling.BICUBIC))
    ours = (batch.source[0] * 255).round().permute(1, 2, 0).numpy()
    difference = np.abs(ours - theirs.astype(float))
    assert difference[2:-2, 2:-2].max() <= 1
    assert difference.max() <= 3, (
        "beyond the border Pillow has nothing and MATLAB repeats the outermost pixel"
    )


def test_pictures_that_are_smaller_than_the_crop_are_enlarged(tmp_path: Path) -> None:
    fill(tmp_path / "A", ["1.png"], height=5, width=20)
    fill(tmp_path / "B", ["1.png"], height=5, width=20)
    data = opened(paired=(tmp_path / "A", tmp_path / "B"), load_size=None, crop_size=10)
    (batch,) = first(data, 1, batch_size=2)
    assert batch.source.shape == (2, 3, 10, 10)


def test_pictures_of_many_sizes_share_a_batch_when_they_are_cropped(tmp_path: Path) -> None:
    for i in range(5):
        for folder in "AB":
            write(tmp_path / folder, f"{i}.png", noise(i, 10 + i, 14 - i))
    data = opened(paired=(tmp_path / "A", tmp_path / "B"), load_size=None, crop_size=8)
    for batch in first(data, 4):
        assert batch.source.shape == (4, 3, 8, 8)
        assert torch.equal(batch.source, batch.target)
    whole = opened(paired=(tmp_path / "A", tmp_path / "B"), load_size=None, crop_size=None)
    for workers in (0, 1):
        with pytest.raises(
            ConfigError, match=r"^the pictures of a batch have the sizes .* batch_size of 1\.$"
        ):
            first(whole, 2, workers=workers)
    assert [
        b.source.shape[0]
        for b in in_order(whole.train, batch_size=4, ranges={"source": UNIT, "target": UNIT})
    ] == [1] * 5


def test_depths_and_channels_that_differ_meet(tmp_path: Path) -> None:
    grey = noise(0, 8, 8, 1)
    write(tmp_path, "1.png", np.concatenate((grey, grey), 1))
    write(tmp_path, "2.png", noise(1, 8, 16, 3, "uint16"))
    data = opened(aligned=tmp_path, load_size=None, crop_size=None, flip=False)
    assert data.channels["source"] == 3
    (batch,) = in_order(data.train, batch_size=2, ranges={"source": UNIT, "target": UNIT})
    assert np.array_equal((batch.source[0] * 255).round().numpy(), np.repeat(grey.transpose(2, 0, 1), 3, 0))
    one = opened(aligned=tmp_path, load_size=None, crop_size=None, flip=False, source_channels=1)
    (batch,) = in_order(one.train, batch_size=2, ranges={"source": UNIT, "target": UNIT})
    luma = noise(1, 8, 16, 3, "uint16")[:, :8] @ [0.299, 0.587, 0.114] / 65535
    assert batch.source.shape[1] == 1
    assert np.abs(batch.source[1, 0].numpy() - luma).max() < 1e-4


def test_transparency_lies_over_white_or_is_a_channel(tmp_path: Path) -> None:
    pixels, alpha = noise(1, 8, 8), noise(2, 8, 8, 1)[..., 0]
    for folder in "AB":
        write(tmp_path / folder, "1.png", pixels, alpha)
    plain = {"paired": (tmp_path / "A", tmp_path / "B"), "load_size": 8, "crop_size": 8, "flip": False}
    (batch,) = first(opened(**plain), 1, batch_size=1)
    share = alpha[..., None] / 255
    assert (
        np.abs((batch.source[0] * 255).permute(1, 2, 0).numpy() - (pixels * share + 255 * (1 - share))).max()
        < 0.51
    )
    (batch,) = first(opened(**plain, source_channels=4), 1, batch_size=1)
    assert np.array_equal((batch.source[0] * 255).round().permute(1, 2, 0)[..., 3], alpha)


def test_validation_is_whole_in_order_and_the_same_each_time(tmp_path: Path) -> None:
    data = opened(paired=pairs(tmp_path, 12, height=16, width=16), validation_fraction=0.4)
    assert data.validation is not None
    ranges = {"ranges": {"source": UNIT, "target": SYMMETRIC}}
    runs = [list(in_order(data.validation, batch_size=3, **ranges)) for _ in range(2)]
    assert same(*runs)
    assert [key for batch in runs[0] for key in batch.keys] == data.validation.keys()
    assert {tuple(batch.source.shape[1:]) for batch in runs[0]} == {(3, 8, 9)}, "resized, not cropped"
    assert not set(data.validation.keys()) & set(data.train.keys())
    native = opened(
        paired=pairs(tmp_path / "n", 2, height=16, width=16),
        load_size=None,
        crop_size=8,
        validation_fraction=0.5,
    )
    (batch,) = in_order(native.validation, batch_size=3, **ranges)  # type: ignore[arg-type]
    key = batch.keys[0]
    centre = read_image(tmp_path / "n" / "A" / key).pixels[4:12, 4:12]
    assert np.array_equal((batch.source[0] * 255).round().permute(1, 2, 0), centre)


def test_unpaired_epochs_are_as_long_as_the_larger_heap(tmp_path: Path) -> None:
    a = fill(tmp_path / "A", [f"a{i}.png" for i in range(9)])
    b = fill(tmp_path / "B", [f"b{i}.png" for i in range(4)], 100)
    data = opened("unpaired", unpaired=(a, b))
    assert len(data.train) == 9
    keys = [key.split(" | ") for batch in first(data, 9, batch_size=9) for key in batch.keys]
    for epoch in range(9):
        assert sorted(k[0] for k in keys[9 * epoch : 9 * epoch + 9]) == [f"a{i}.png" for i in range(9)]
    drawn = [k[1] for k in keys]
    assert {drawn.count(f"b{i}.png") > 8 for i in range(4)} == {True}
    assert any(len(set(drawn[9 * e : 9 * e + 9])) < 4 for e in range(9)), "with replacement"
    other = opened("unpaired", unpaired=(b, a))
    assert len(other.train) == 9
    keys = [key.split(" | ") for batch in first(other, 1, batch_size=9) for key in batch.keys]
    assert len({k[0] for k in keys}) == 4


def test_unpaired_pictures_are_cut_and_mirrored_independently(tmp_path: Path) -> None:
    pixels = noise(0, 20, 20)
    for folder in "AB":
        write(tmp_path / folder, "1.png", pixels)
    data = opened("unpaired", unpaired=(tmp_path / "A", tmp_path / "B"), load_size=None)
    equal = [torch.equal(batch.source, batch.target) for batch in first(data, 12, batch_size=1)]
    assert sum(equal) <= 2


def test_a_paired_folder_serves_an_unpaired_method(tmp_path: Path) -> None:
    data = opened("unpaired", paired=pairs(tmp_path, 6), validation_fraction=0.3)
    assert data.validation is not None and len(data.validation) + len(data.train) == 6
    (batch,) = first(data, 1)
    assert batch.source.shape == (4, 3, 8, 9)


def test_a_file_that_breaks_is_passed_over_once_reported(tmp_path: Path) -> None:
    a, b = pairs(tmp_path, 4)
    (b / "2.png").write_bytes(b"")
    data = opened(paired=(a, b))
    for workers in (0, 2):
        told: list[str] = []
        seen = first(data, 8, workers=workers, report=told.append)
        assert told == [f"{b / '2.png'}: the file is empty. Another sample takes its place."]
        keys = [key for batch in seen for key in batch.keys]
        assert len(keys) == 32 and "2.png" not in keys
        assert keys.count("3.png") == 16, "the next one takes its place"
    told = []
    kept = list(
        in_order(data.train, batch_size=8, ranges={"source": UNIT, "target": UNIT}, report=told.append)
    )
    assert kept[0].keys == ("0.png", "1.png", "3.png")
    assert told == [f"{b / '2.png'}: the file is empty. It is left out."]


@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_readable_is_an_error(tmp_path: Path, workers: int) -> None:
    a, b = pairs(tmp_path, 4)
    data = opened(paired=(a, b))
    for i in range(4):
        (b / f"{i}.png").write_bytes(b"")
    with pytest.raises(ProcessingError, match=r"^4 samples in a row cannot be read, the last one: "):
        first(data, 1, workers=workers)
    with pytest.raises(PlanError, match="none of the 4 pictures that were tried can be read"):
        opened(paired=(a, b))


def test_partners_of_two_sizes(tmp_path: Path) -> None:
    write(tmp_path / "A", "1.png", noise(0, 16, 16))
    write(tmp_path / "B", "1.png", noise(0, 16, 18))
    paths = tmp_path / "A", tmp_path / "B"
    assert first(opened(paired=paths), 1)[0].source.shape == (4, 3, 8, 9)
    told: list[str] = []
    list(
        in_order(
            opened(paired=paths, load_size=None).train,
            batch_size=1,
            ranges={"source": UNIT, "target": UNIT},
            report=told.append,
        )
    )
    assert "16 x 16 pixels and its partner" in told[0] and "18 x 16" in told[0]


def test_data_of_the_wrong_kind(tmp_path: Path) -> None:
    a, b = pairs(tmp_path, 2)
    with pytest.raises(ConfigError, match=r"is trained on pairs .* data names two folders without partners"):
        opened("paired", unpaired=(a, b))
    with pytest.raises(ConfigError, match=r"trained on sharp pictures .*, and data names two folders"):
        opened("super_resolution", unpaired=(a, b))


def test_more_workers_than_cores_are_no_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch warns of them, and warnings are errors here."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    data = opened(paired=pairs(tmp_path, 3))
    assert same(first(data, 2, workers=4), first(data, 2))


def test_a_sentence_says_what_was_found(tmp_path: Path) -> None:
    data = opened(paired=pairs(tmp_path, 8, dtype="uint16"), validation_fraction=0.25, split_seed=2)
    assert data.validation is not None
    assert data.description == (
        f"{len(data.train)} pairs for training, {len(data.validation)} for validation (split off by file "
        "name (fraction 0.25, seed 2)); source 10 x 12 uint16, 3 channels; target 10 x 12 uint16, 3 channels"
        "; loaded at 13 x 14, cut to 9 x 8"
    )


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({}, "exactly one of .* given are none"),
        ({"paired": ("A", "B"), "images": "C"}, "given are paired and images"),
        ({"paired": ("A", "B", "C")}, "at most 2"),
        ({"aligned": "A", "source_labels": "one_hot", "palette": [0, [1, 2, 3]]}, "need one length"),
        ({"aligned": "A", "colour": "red"}, "Extra inputs are not permitted"),
    ],
)
def test_settings_that_contradict_each_other(config: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        DataConfig(**config)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "fields", "sentence"),
    [
        ({"aligned": "A", "load_size": 200}, PAIRED, r"crop_size \(256, 256\) is larger than load_size"),
        ({"images": "A", "load_size": 200}, {"source": Picture()}, "is larger than load_size"),
        ({"images": "A", "crop_size": None}, enlarging(2), "crop_size None is the high-resolution patch"),
        ({"images": "A", "augment": {"geometric": [{"Transpose": {}}]}}, enlarging(2), "takes neither"),
        ({"images": "A", "load_size": 200}, enlarging(2), None),
        ({"images": "A", "crop_size": 512}, {"source": Picture()}, None),
        ({"images": "A", "crop_size": None}, {"source": Picture()}, None),
        ({"images": "A", "augment": {"geometric": [{"Transpose": {}}]}}, {"source": Picture()}, None),
    ],
)
def test_the_fields_decide_which_settings_fit(
    config: dict[str, Any], fields: Fields, sentence: str | None
) -> None:
    if sentence is None:
        require_fit(DataConfig(**config), fields)
        return
    with pytest.raises(ConfigError, match=sentence):
        require_fit(DataConfig(**config), fields)


@pytest.mark.slow
def test_facades(test_data: Path) -> None:
    data = open_data(DataConfig(aligned=test_data / "data/facades", direction="BtoA"), fields=PAIRED)
    assert data.validation is not None and len(data.train) + len(data.validation) == 300
    (batch,) = first(data, 1, batch_size=2)
    assert batch.source.shape == batch.target.shape == (2, 3, 256, 256)


@pytest.mark.slow
def test_cats_and_dogs_with_an_empty_file(test_data: Path) -> None:
    folder = test_data / "data/cat2dog"
    data = open_data(DataConfig(unpaired=folder, validation_fraction=0), fields=UNPAIRED)
    told: list[str] = []
    seen = first(data, 200, workers=2, report=told.append)
    assert len(seen) == 200 and len(data.train) == 771
    assert len(told) == 1 and "1352.jpg: the file is empty" in told[0]
