"""Label maps: palettes, nearest neighbours, one channel for each class."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from worlds import noise, write

from img2img.data import Data, DataConfig, batches, open_data
from img2img.errors import ConfigError, ProcessingError
from img2img.fields import PAIRED
from img2img.image import Image
from img2img.image.palette import LabelSet, classes, collect, indices, with_levels
from img2img.types import SYMMETRIC, UNIT, Batch

COLOURS = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255], [255, 255, 0]], np.uint8)


def maps(root: Path, count: int = 3, height: int = 12, width: int = 12) -> list[np.ndarray]:
    """Label maps of blocks, and pictures that show which class is where by their level."""
    made = []
    for i in range(count):
        index = np.random.default_rng(i).integers(0, 4, (height // 4, width // 4)).repeat(4, 0).repeat(4, 1)
        write(root / "A", f"{i}.png", COLOURS[index])
        write(root / "B", f"{i}.png", (index[..., None] * 50).astype(np.uint8))
        made.append(index)
    return made


def opened(root: Path, **config: object) -> Data:
    given = {"load_size": None, "crop_size": 8, "validation_fraction": 0, "cache": "none", **config}
    return open_data(DataConfig(paired=(root / "A", root / "B"), **given), fields=PAIRED)  # type: ignore[arg-type]


def first(data: Data, count: int, source_range: tuple[float, float] = UNIT) -> list[Batch]:
    stream = batches(data.train, batch_size=3, seed=0, ranges={"source": source_range, "target": UNIT})  # type: ignore[arg-type]
    return list(islice(stream, count))


@pytest.mark.parametrize("cache", ["none", "memory"])
def test_one_channel_for_each_class(tmp_path: Path, cache: str) -> None:
    maps(tmp_path)
    data = opened(tmp_path, source_labels="one_hot", cache=cache)
    assert (data.channels["source"], data.channels["target"]) == (4, 1)
    order = [sorted(map(tuple, COLOURS)).index(tuple(colour)) for colour in COLOURS]
    for batch in first(data, 6, SYMMETRIC):
        assert batch.source.shape == (3, 4, 8, 8)
        assert set(batch.source.unique().tolist()) == {-1.0, 1.0}
        assert torch.equal(batch.source.sum(1), torch.full((3, 8, 8), -2.0)), "one class each"
        index = (batch.target * 255 / 50).round().long()[:, 0]
        assert torch.equal(batch.source.argmax(1), torch.tensor(order)[index]), "moved like the target"


def test_a_palette_fixes_the_order_and_noise_counts_as_the_nearest(tmp_path: Path) -> None:
    (index,) = maps(tmp_path, 1, 8, 8)
    noisy = (COLOURS[index].astype(int) + np.random.default_rng(0).integers(-40, 41, (8, 8, 3))).clip(0, 255)
    write(tmp_path / "A", "0.png", noisy.astype(np.uint8))
    data = opened(tmp_path, source_labels="one_hot", palette=COLOURS.tolist(), flip=False)
    assert np.array_equal(first(data, 1)[0].source[0].argmax(0), index)


def test_enlarged_labels_have_no_mixed_colours(tmp_path: Path) -> None:
    maps(tmp_path)
    for labels, few in (("nearest", True), ("none", False)):
        data = opened(tmp_path, source_labels=labels, load_size=29, crop_size=29)
        levels = (first(data, 1)[0].source * 255).round().permute(0, 2, 3, 1).reshape(-1, 3)
        assert (len(levels.unique(dim=0)) <= 4) == few


def test_a_palette_of_plain_levels(tmp_path: Path) -> None:
    for i in range(2):
        index = np.random.default_rng(i).integers(0, 3, (8, 8, 1), np.uint8)
        write(tmp_path / "A", f"{i}.png", index)
        write(tmp_path / "B", f"{i}.png", index)
    for palette in (None, [0, 1, 2]):
        data = opened(tmp_path, source_labels="one_hot", palette=palette)
        (batch,) = first(data, 1)
        assert data.channels["source"] == 3
        assert torch.equal(batch.source.argmax(1, keepdim=True), (batch.target * 255).round().long())


def test_numbers_of_16_bits_are_as_many_classes_as_there_are(tmp_path: Path) -> None:
    count = 700
    for i in range(2):
        index = np.random.default_rng(i).integers(0, count, (48, 48, 1), np.uint16)
        index[0, :2, 0] = 3, 999
        write(tmp_path / "A", f"{i}.png", index if i else np.minimum(index, 255).astype(np.uint8))
        write(tmp_path / "B", f"{i}.png", index)
    config = {"source_labels": "one_hot", "ignore_label": 999, "load_size": 48, "crop_size": 48}
    rotate = {"geometric": [{"Rotate": {"limit": [0, 0], "p": 1}}]}
    data = opened(tmp_path, palette=count, augment=rotate, **config)
    ranges = {"source": UNIT, "target": UNIT}
    stream = islice(batches(data.train, batch_size=1, seed=0, ranges=ranges), 2)
    batch = next(one for one in stream if one.keys[0].startswith("1"))  # the other one has 8 bits
    levels = (batch.target * 65535).round().long()
    assert batch.source.shape == (1, count, 48, 48)
    known = levels < count
    assert torch.equal(batch.source.argmax(1, keepdim=True)[known], levels[known])
    assert torch.equal(batch.source.sum(1, keepdim=True), known.float()), "what is ignored is of no class"


def test_whole_numbers_in_floats_are_classes_and_fractions_are_none(tmp_path: Path) -> None:
    index = np.random.default_rng(0).integers(0, 300, (8, 8, 1))
    write(tmp_path / "A", "0.tif", index.astype(np.float32))
    write(tmp_path / "B", "0.png", index.astype(np.uint16))
    found = first(opened(tmp_path, source_labels="one_hot", palette=300, flip=False), 1)[0]
    assert np.array_equal(found.source[0].argmax(0), index[..., 0])
    assert opened(tmp_path, source_labels="one_hot").palette == tuple((n,) for n in np.unique(index).tolist())
    numbers, _ = LabelSet(indices(300)).numbers(Image(index.astype(np.float32)))
    assert np.array_equal(numbers, index[..., 0])
    for wrong in (index + 0.5, index - 1.0, np.where(index > 9, np.nan, 1.0)):
        with pytest.raises(ProcessingError, match="label maps hold whole numbers"):
            with_levels(Image(wrong.astype(np.float32)))


def test_the_largest_palette_is_searched_and_written_fast(tmp_path: Path) -> None:
    palette = indices(65536)
    pixels = np.random.default_rng(0).integers(0, 65536, (64, 64, 1), np.uint16)
    assert classes(pixels, palette).dtype == np.uint16
    assert np.array_equal(classes(pixels, palette), pixels)
    numbers, strange = LabelSet(palette[:-1], ignore=(65535,)).numbers(Image(pixels))
    assert np.array_equal(numbers, np.where(pixels[..., 0] == 65535, -1, pixels[..., 0])) and not strange
    config = DataConfig.model_validate({"images": "x", "source_labels": "one_hot", "palette": 65536})
    assert config.model_dump()["palette"] == 65536
    assert DataConfig.model_validate(config.model_dump()).palette == palette


def test_labels_that_jpeg_has_blurred_need_a_palette(tmp_path: Path) -> None:
    write(tmp_path / "A", "0.png", noise(0, 40, 40))
    write(tmp_path / "B", "0.png", noise(0, 40, 40))
    with pytest.raises(ConfigError, match=r"more than 256 colours, .* data\.palette"):
        opened(tmp_path, source_labels="one_hot")


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize(("dtype", "count"), [("uint8", 7), ("uint16", 7), ("uint16", 300)])
def test_classes_against_a_search(channels: int, dtype: str, count: int) -> None:
    pixels = noise(0, 9, 11, channels, dtype)
    palette = tuple(map(tuple, noise(1, 1, count, channels, dtype)[0].tolist()))
    pixels[:3, 0] = palette[:3]
    distances = ((pixels[:, :, None].astype(float) - np.array(palette, float)) ** 2).sum(3)
    assert np.array_equal(classes(pixels, palette)[..., 0], distances.argmin(2))
    with pytest.raises(ValueError, match="cannot tell"):
        classes(pixels[..., :1].repeat(2, 2), palette)


def test_collected_colours_are_sorted_and_known_once() -> None:
    a, b = COLOURS[[[0, 1]]], COLOURS[[[1, 2]]]
    assert collect([b, a]) == ((0, 0, 0), (0, 0, 255), (255, 0, 0))


def test_labels_have_no_values_to_change(tmp_path: Path) -> None:
    maps(tmp_path)
    with pytest.raises(ConfigError, match="one_hot labels have none"):
        opened(tmp_path, source_labels="one_hot", augment={"photometric": [{"RandomGamma": None}]})


@pytest.mark.parametrize(
    ("palette", "words"),
    [
        (70000, "from 1 to 65536"),
        (0, "from 1 to 65536"),
        ([0, 70000], "levels"),
        ("many", "a number of classes"),
        ([0, 1, 0], "differ"),
        ([[0, 0, 0]] * 2, "differ"),
    ],
)
def test_palettes_that_are_none_are_a_sentence(palette: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        DataConfig.model_validate({"images": "x", "source_labels": "one_hot", "palette": palette})


def test_numbers_with_255_for_no_class_are_those_of_coloured_classes() -> None:
    coloured = ((0, 0, 0), (255, 0, 0), (0, 255, 0))
    image = Image(np.array([[0, 1], [2, 255]], np.uint8)[..., None])
    for ignore in ((255, 255, 255), (9, 9, 9)):
        assert LabelSet(coloured, ignore=ignore).numbers(image)[0].tolist() == [[0, 1], [2, -1]]
    assert LabelSet(coloured).numbers(image)[0].max() <= 2, "without such a class 255 is a colour"


def test_a_number_of_classes_may_stand_beside_the_one_that_is_ignored() -> None:
    found = DataConfig.model_validate(
        {"images": "x", "source_labels": "one_hot", "palette": 19, "ignore_label": 255}
    )
    assert found.known_colours == (*indices(19), (255,))
