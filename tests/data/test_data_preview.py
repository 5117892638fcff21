"""What the preview shows is what training gets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from worlds import noise, pairs, write

from img2img.data import DataConfig, batches, open_data
from img2img.data.check import Case, Checked, Finding
from img2img.data.preview import offenders, preview, seen
from img2img.fields import PAIRED, enlarging
from img2img.image.sheet import sheet
from img2img.types import UNIT

AUGMENTED = {"geometric": [{"Rotate": {"limit": 20, "p": 1.0}}], "photometric": [{"RandomGamma": {"p": 1.0}}]}


@pytest.mark.parametrize("augment", [{}, AUGMENTED], ids=["plain", "augmented"])
@pytest.mark.parametrize("source", ["paired", "images"])
def test_it_equals_the_batches(tmp_path: Path, source: str, augment: dict) -> None:
    folders = pairs(tmp_path, 3, height=24, width=24)
    config: dict[str, object] = {"load_size": 20, "crop_size": 16, "cache": "none", "augment": augment}
    if source == "images":
        config = {"crop_size": 16, "cache": "none", "patches_per_image": 2}
    config[source] = folders if source == "paired" else folders[0]
    checked = DataConfig.model_validate(config | {"validation_fraction": 0})
    scale = 4 if source == "images" else 1
    data = open_data(checked, enlarging(scale) if checked.images else None, seed=5)
    stream = batches(data.train, batch_size=1, seed=5, ranges={"source": UNIT, "target": UNIT})
    shown = {}
    for epoch in range(2):
        for index in range(len(data.train)):
            sample = data.train[epoch, index]
            pictures = (seen(sample.source), seen(sample.target))
            shown.setdefault((epoch, sample.key), []).append(pictures)
    for epoch in range(2):
        for _ in range(len(data.train)):
            batch = next(stream)
            got = [
                (t[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
                for t in (batch.source, batch.target)
            ]
            assert any(
                np.array_equal(got[0], one) and np.array_equal(got[1], other)
                for one, other in shown[epoch, batch.keys[0]]
            )


def test_rows_are_samples_and_columns_are_epochs(tmp_path: Path) -> None:
    a, b = pairs(tmp_path, 8, height=24, width=24)
    data = open_data(DataConfig(paired=(a, b), load_size=20, crop_size=16, cache="none"), fields=PAIRED)
    rows = preview(data.train, samples=3, epochs=2)
    assert [len(row) for row in rows] == [4, 4, 4]
    assert len({row[0][1] for row in rows}) == 3, "three different samples"
    assert not np.array_equal(rows[0][0][0].pixels, rows[0][2][0].pixels), "another crop in the next epoch"
    assert len(preview(data.train, samples=100, epochs=1)) == len(data.train)
    assert sheet(rows, 64).channels == 3


def test_every_row_shows_another_sharp_picture(tmp_path: Path) -> None:
    for i in range(5):
        write(tmp_path, f"{i}.png", noise(i, 24, 24))
    config = DataConfig(images=tmp_path, crop_size=16, patches_per_image=4, validation_fraction=0)
    data = open_data(config, fields=enlarging(4))
    names = [[row[0][1] for row in preview(data.train, samples, epochs=1)] for samples in (1, 2, 5, 7)]
    assert names[:3] == [["0.png"], ["0.png", "2.png"], [f"{i}.png" for i in range(5)]]
    assert len(names[3]) == 7 and set(names[3]) == set(names[2]), "the first ones a second time"


def test_classes_become_colours(tmp_path: Path) -> None:
    for i in range(4):
        write(tmp_path / "A", f"{i}.png", noise(i, 16, 16) // 200 * 200)
        write(tmp_path / "B", f"{i}.png", noise(9 + i, 16, 16))
    config = DataConfig(
        paired=(tmp_path / "A", tmp_path / "B"),
        source_labels="one_hot",
        load_size=16,
        crop_size=16,
        flip=False,
        cache="none",
    )
    data = open_data(config, fields=PAIRED)
    sample = data.train[0, 0]
    shown = seen(sample.source, data.train.classes["source"])
    classes = sample.source.pixels[..., 0]
    assert shown.shape == (16, 16, 3)
    colours = {value: {tuple(c) for c in shown[classes == value]} for value in np.unique(classes)}
    assert all(len(found) == 1 for found in colours.values())
    assert len(set.union(*colours.values())) == len(colours), "each class has a colour of its own"


def test_offenders_show_some_of_every_finding(tmp_path: Path) -> None:
    good = [write(tmp_path, f"{i}.png", noise(i)) for i in range(30)]
    bad = tmp_path / "empty.png"
    bad.write_bytes(b"")
    findings = (
        Finding("error", "unreadable", "", cases=(Case((bad,)),)),
        Finding(
            "warning", "duplicate", "", cases=tuple(Case(tuple(good[i : i + 2])) for i in range(0, 20, 2))
        ),
        Finding("warning", "few", ""),
    )
    rows = offenders(Checked(findings), most=9)
    captions = [caption for row in rows for _, caption in row]
    assert sum("unreadable" in caption for caption in captions) == 1
    assert 8 <= sum("duplicate" in caption for caption in captions) <= 10
    assert all(len(row) <= 6 for row in rows)
    assert offenders(Checked(())) == []
