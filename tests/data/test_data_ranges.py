"""Numbers that are measurements: 12 bits in 16-bit files, Hounsfield units, floats of 0 to 255, no data."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from worlds import noise, write

from img2img.data import DataConfig, batches, checks, in_order, open_data
from img2img.data.check import Checked, Finding, check
from img2img.data.ranges import Extent, advice, extent_of, suggested
from img2img.fields import PAIRED, UNPAIRED, Picture, enlarging
from img2img.types import ValueRange

SMALL = {"load_size": None, "crop_size": 16, "flip": False, "cache": "none"}


COUNT = 10


@pytest.fixture(autouse=True)
def _so_many_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "FEW", COUNT // 2)


def levels(seed: int, low: float, high: float, dtype: str) -> np.ndarray:
    """Noise of 16 x 16 pixels that reaches from `low` to `high`."""
    values = np.random.default_rng(seed).uniform(low, high, (16, 16, 1))
    values[0, 0], values[0, 1] = low, high
    return values.astype(dtype)


def world(root: Path, a: tuple[float, float, str], b: tuple[float, float, str], count: int = COUNT) -> dict:
    for i in range(count):
        write(root / "A", f"{i}.tif", levels(i, *a))
        write(root / "B", f"{i}.tif", levels(1000 + i, *b))
    return {"paired": (root / "A", root / "B"), **SMALL}


def run(config: dict) -> Checked:
    return check(DataConfig.model_validate(config), jobs=2)


def found(checked: Checked, kind: str) -> Finding:
    return next(finding for finding in checked.findings if finding.kind == kind)


FLOAT, HU, TWELVE = (0, 255, "float32"), (-1000, 1100, "float32"), (0, 4000, "uint16")
PLAIN, BYTE = (0, 1, "float32"), (0, 255, "uint8")


@pytest.mark.parametrize(
    ("a", "b", "options"),
    [
        (FLOAT, FLOAT, "`data.range=[0,255]`"),
        (HU, HU, "`data.range=[-1000,1100]`"),
        (TWELVE, TWELVE, "`data.range=[0,4095]`"),
        ((0, 1000, "uint16"), (0, 1000, "uint16"), "`data.range=[0,1023]`"),
        ((0, 200, "uint16"), (0, 255, "uint16"), "`data.range=[0,255]`"),
        ((0, 16000, "uint16"), TWELVE, "`data.range=[0,16383]`"),
        (HU, BYTE, "`data.range=[-1000,1100]` `data.target_range=[0,255]`"),
        (HU, FLOAT, "`data.range=[-1000,1100]` `data.target_range=[0,255]`"),
        (BYTE, HU, "`data.target_range=[-1000,1100]`"),
        (FLOAT, PLAIN, "`data.range=[0,255]` `data.target_range=[0,1]`"),
        ((0, 87.3, "float32"), (0, 99.2, "float32"), "`data.range=[0,100]`"),
    ],
)
@pytest.mark.sampled(4)
def test_data_check_says_the_range_that_is_missing_and_is_content_with_it(
    tmp_path: Path, a: tuple, b: tuple, options: str
) -> None:
    config = world(tmp_path, a, b)
    checked = run(config)
    kind = "outside-range" if "float32" in (a[2], b[2]) else "unused-range"
    finding = found(checked, kind)
    assert {f.kind for f in checked.findings} == {kind}
    assert finding.hint.startswith(f"{options} ")
    assert finding.level == ("error" if kind == "outside-range" else "warning")
    opened = open_data(DataConfig.model_validate(config), fields=PAIRED)
    assert len(opened.warnings) == 1 and options in opened.warnings[0] and ".tif" in opened.warnings[0]
    said = {}
    for option in re.findall("`data.([^`]+)`", options):
        key, value = option.split("=")
        said[key] = tuple(map(float, value.strip("[]").split(",")))
    assert run({**config, **said}).findings == ()
    assert open_data(DataConfig.model_validate({**config, **said}), fields=PAIRED).warnings == ()


@pytest.mark.parametrize("kind", [(0, 65535, "uint16"), (-0.04, 1.06, "float32"), PLAIN, BYTE])
def test_ordinary_numbers_are_not_spoken_of(tmp_path: Path, kind: tuple) -> None:
    config = world(tmp_path, kind, kind)
    assert run(config).findings == ()
    assert open_data(DataConfig.model_validate(config), fields=PAIRED).warnings == ()


def test_the_names_of_label_maps_are_no_brightness(tmp_path: Path) -> None:
    config = world(tmp_path, (0, 3, "uint16"), TWELVE)
    for i in range(COUNT):
        write(tmp_path / "A", f"{i}.tif", np.random.default_rng(i).integers(0, 4, (16, 16, 1), np.uint16))
    config |= {"source_labels": "one_hot", "range": (0, 4095)}
    assert run(config).findings == ()
    opened = open_data(DataConfig.model_validate(config), fields=PAIRED)
    assert opened.warnings == () and opened.channels["source"] == 4


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e10, 1e30, -3.4e38])
@pytest.mark.parametrize("layout", ["paired", "aligned", "unpaired", "images"])
@pytest.mark.sampled(4)
def test_one_picture_with_a_value_that_means_nothing_is_named_and_passed_over(
    tmp_path: Path, layout: str, value: float
) -> None:
    folders = (tmp_path / "A", tmp_path / "B") if layout in ("paired", "unpaired") else (tmp_path / "A",)
    for folder in folders:
        for i in range(5):
            write(folder, f"{i}.tif", noise(i, 16, 32).astype(np.float32) / 255)
    bad = noise(9, 16, 32).astype(np.float32) / 255
    bad[3, 30, 1] = value
    write(folders[-1], "2.tif", bad)
    fields = {"images": enlarging(2), "unpaired": UNPAIRED}.get(layout, PAIRED)
    config = {layout: folders, **SMALL, "crop_size": 8, "validation_fraction": 0.0}
    finding = found(run(config), "no-numbers")
    assert finding.level == "error"
    assert [case.files for case in finding.cases] == [(folders[-1] / "2.tif",)]
    opened = open_data(DataConfig.model_validate(config), fields=fields)
    notes: list[str] = []
    stream = batches(
        opened.train,
        batch_size=5,
        seed=0,
        ranges={"source": ValueRange(0, 1), "target": ValueRange(0, 1)},
        report=notes.append,
    )
    for _ in range(8):
        batch = next(stream)
        assert float(batch.source.abs().max()) < 2 and float(batch.target.abs().max()) < 2
    assert len(notes) == 1 and "2.tif" in notes[0] and "Another sample takes its place" in notes[0]


def test_a_held_out_picture_with_such_a_value_is_left_out_by_name(tmp_path: Path) -> None:
    config = world(tmp_path, PLAIN, PLAIN, 4)
    broken = levels(0, 0, 1, "float32")
    broken[5, 5] = 1e38
    for folder in "AB":
        for i in range(3):
            write(tmp_path / "val" / folder, f"{i}.tif", levels(i, 0, 1, "float32"))
    write(tmp_path / "val" / "B", "1.tif", broken)
    config["validation"] = (tmp_path / "val" / "A", tmp_path / "val" / "B")
    held_out = open_data(DataConfig.model_validate(config), fields=PAIRED).validation
    assert held_out is not None
    notes: list[str] = []
    unit = ValueRange(0, 1)
    stream = in_order(held_out, batch_size=1, ranges={"source": unit, "target": unit}, report=notes.append)
    assert len([key for batch in stream for key in batch.keys]) == 2
    assert len(notes) == 1 and "1.tif" in notes[0]


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_each_side_is_brought_to_black_and_white_by_its_own_numbers(tmp_path: Path, direction: str) -> None:
    """HU to 8 bits, and back: values outside count as black or white."""
    a = levels(1, -3000, 4000, "float32")
    write(tmp_path / "A", "0.tif", a)
    b = levels(2, 0, 255, "uint8")
    write(tmp_path / "B", "0.tif", b)
    hu, byte = (-1000, 3000), (0, 255)
    first, second = (hu, byte) if direction == "AtoB" else (byte, hu)
    config = DataConfig.model_validate(
        {
            "paired": (tmp_path / "A", tmp_path / "B"),
            **SMALL,
            "direction": direction,
            "range": first,
            "target_range": second,
            "validation_fraction": 0.0,
        }
    )
    sample = open_data(config, fields=PAIRED).train.sample(0, 0)
    sides = {"A": sample.source, "B": sample.target}
    if direction == "BtoA":
        sides = {"A": sample.target, "B": sample.source}
    np.testing.assert_allclose(sides["A"].pixels, np.clip((a + 1000) / 4000, 0, 1), atol=1e-6)
    np.testing.assert_allclose(sides["B"].pixels, b / 255, atol=1e-6)


def test_super_resolution_makes_its_low_resolution_of_the_brought_picture(tmp_path: Path) -> None:
    write(tmp_path, "0.tif", levels(1, 0, 4095, "uint16"))
    config = {"images": tmp_path, **SMALL, "range": (0, 4095), "validation_fraction": 0.0}
    data = open_data(DataConfig.model_validate(config), fields=enlarging(2)).train
    low, high = data._picture(0, 1.0)
    assert high.dtype == low.dtype == np.float32
    assert (high.min(), high.max()) == (0, 1) and 0.2 < low.mean() < 0.8


def test_eight_bits_among_pictures_of_twelve_are_refused_by_name(tmp_path: Path) -> None:
    config = {**world(tmp_path, TWELVE, TWELVE), "range": (0, 4095), "validation_fraction": 0.0}
    write(tmp_path / "A", "3.tif", levels(3, 0, 255, "uint8"))
    checked = run(config)
    assert [case.files[0].name for case in found(checked, "other-depth").cases] == ["3.tif"]
    data = open_data(DataConfig.model_validate(config), fields=PAIRED).train
    place = next(i for i, key in enumerate(data.keys()) if Path(key).stem == "3")
    problem = data[0, place].problems[0]
    assert "3.tif" in problem and "8 bits" in problem and "0 to 4095" in problem


@pytest.mark.parametrize("kind", [(0, 1000, "float32"), (0, 4095, "uint16")])
def test_a_further_picture_has_the_black_and_white_of_the_source(
    tmp_path: Path, kind: tuple[float, float, str]
) -> None:
    for i in range(3):
        for name in ("source", "target"):
            write(tmp_path / name, f"{i}.png", levels(i, 0, 255, "uint8"))
        write(tmp_path / "guide", f"{i}.tif", levels(i, *kind))
    fields = {**PAIRED, "guide": Picture(like="source")}
    places = {"fields": {name: tmp_path / name for name in fields}}
    config = DataConfig.model_validate({**places, **SMALL, "validation_fraction": 0.0})
    kinds = ("outside-range", "unused-range")
    (finding,) = [one for one in check(config, fields=fields, jobs=1).findings if one.kind in kinds]
    assert finding.hint.startswith("Further pictures have black and white of the source")
    wide = config.model_copy(update={"range": (0.0, 255.0), "target_range": (0.0, 100.0)})
    (finding,) = [one for one in check(wide, fields=fields, jobs=1).findings if one.kind == "outside-range"]
    assert {case.files[0].parent.name for case in finding.cases} == {"target", "guide"}


def test_values_beyond_the_range_are_spoken_of(tmp_path: Path) -> None:
    finding = found(run({**world(tmp_path, HU, HU), "range": (-500, 500)}), "outside-range")
    assert finding.level == "warning" and len(finding.cases) == 2 * COUNT


@pytest.mark.parametrize("value", [(3, 3), (4095, 0), (0, np.inf), (0, np.nan), (1e8, 1e8 + 1), 255])
def test_ranges_that_are_none_are_refused(tmp_path: Path, value: object) -> None:
    with pytest.raises(ValidationError):
        DataConfig.model_validate({"aligned": tmp_path, "range": value})


def test_what_is_found_becomes_round_numbers() -> None:
    def one(low: float, high: float, depth: str = "float32") -> tuple[float, float] | None:
        return suggested([Extent(depth, low, high)])

    assert one(11, 244) == (0, 255)
    assert one(-840.5, 1040) == (-850, 1100)
    assert one(-2000, -10) == (-2000, -10)
    assert one(-3, 255) == (0, 255)
    assert one(0, 310) == (0, 310)
    assert one(0, 60000) == (0, 65535)
    assert one(0, 123456) == (0, 130000)
    assert one(0, 1) is None and one(0, 255, "uint8") is None and one(0, 20000, "uint16") is None
    assert advice([], []) == ""
    assert extent_of(np.full((2, 2, 1), np.nan, np.float32)) == Extent("float32", 0, 0, 4)
