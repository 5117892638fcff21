"""Fields of every kind: where they come from, what becomes of their pixels, what is said before training."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage
from worlds import noise, write

from img2img.data import DataConfig, batches, in_order, open_data
from img2img.data.check import check
from img2img.data.datasets import Dataset, Part, Sample
from img2img.data.places import declared
from img2img.data.preview import preview
from img2img.data.record import Records
from img2img.data.records import find_records
from img2img.errors import ConfigError, Img2ImgError, PlanError
from img2img.fields import Fields, Ids, Mask, Picture, Vector, enlarging, pictures
from img2img.types import Batch, ValueRange

EVERYTHING: Fields = {
    "source": Picture(),
    "target": Picture(like="source"),
    "mask": Mask(like="source"),
    "instance": Ids(like="source"),
    "attributes": Vector(),
}
OPTIONAL: Fields = {
    "source": Picture(),
    "target": Picture(like="source"),
    "instance": Ids(like="source", optional=True),
}
HOLES: Fields = {"source": Picture(), "mask": Mask(like="source")}
FACES: Fields = {"source": Picture(), "attributes": Vector()}
DOMAINS: Fields = {"source": Picture(), "target": Picture(), "mask": Mask(like="target")}
LEVELS = ValueRange(0, 255)
SIZE = (24, 20)


def world(root: Path, count: int = 6, name: Callable[[str, int], str] = lambda field, i: f"{i}.png") -> Path:
    """Pictures whose pixels hold their row, their column and the number of their sample, in every kind."""
    rows, columns = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    lines = []
    for i in range(count):
        place = np.stack([rows, columns, np.full(SIZE, i)], 2).astype(np.uint8)
        write(root / "source", name("source", i), place)
        write(root / "target", name("target", i), 255 - place)
        write(root / "mask", name("mask", i), ((rows + columns) % 3 == 0).astype(np.uint8)[..., None] * 255)
        ids = (65535 - rows * SIZE[1] - columns).astype(np.uint16)
        write(root / "instance", name("instance", i), ids[..., None])
        lines.append(f"{name('source', i)},{i},{i / 10},{-i},0,1\n")
    (root / "attributes.csv").write_text("file,a,b,c,d,e\n" + "".join(lines))
    return root


def places(root: Path, *names: str) -> dict[str, Any]:
    return {n: root / (f"{n}.csv" if n == "attributes" else n) for n in names}


def found(given: dict[str, Any], fields: Fields | None = None) -> Records:
    return find_records(DataConfig(**{"validation_fraction": 0, **given}), fields)


def opened(given: dict[str, Any], fields: Fields = EVERYTHING, **more: Any) -> Any:
    options = {"load_size": None, "crop_size": (16, 12), "cache": "none", "validation_fraction": 0}
    return open_data(DataConfig(**{**options, **given, **more}), fields, seed=3)


def stream(data: Any, count: int, start: int = 0, workers: int = 0) -> list[Batch]:
    ranges = dict.fromkeys(pictures(data.train.fields), LEVELS)
    made = batches(data.train, batch_size=2, seed=1, start=start, workers=workers, ranges=ranges)
    taken = [next(made) for _ in range(count)]
    made.close()  # type: ignore[attr-defined]
    return taken


def require_agreement(batch: Batch) -> None:
    """Every pixel of every field says that it is of the place, and of the sample, that the source shows."""
    source = batch.source.round().int()
    rows, columns, number = source[:, 0], source[:, 1], source[:, 2, 0, 0]
    assert (batch.target.round().int() == 255 - source).all()
    assert (batch.instance[:, 0] == 65535 - rows * SIZE[1] - columns).all()
    assert (batch.mask[:, 0] == ((rows + columns) % 3 == 0).float()).all()
    assert (batch.attributes[:, 0].int() == number).all()
    assert (batch.attributes[:, 2].int() == -number).all()


def forms(root: Path) -> dict[str, dict[str, Any]]:
    both = {"paired": (root / "source", root / "target")}
    names = ("mask", "instance", "attributes")
    columns = "source,target,mask,instance,attributes\n"
    rows = [
        {n: f"{n}/{i}.png" for n in ("source", "target", "mask", "instance")}
        | {"attributes": [i, i / 10, -i, 0, 1]}
        for i in range(6)
    ]
    (root / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for name, form in (("blanks", "{}"), ("commas", '"[{}]"')):
        between = " " if name == "blanks" else ", "
        lines = [
            ",".join([*list(row.values())[:-1], form.format(between.join(map(str, row["attributes"])))])
            for row in rows
        ]
        (root / f"{name}.csv").write_text(columns + "\n".join(lines))
    (root / "own.csv").write_text(
        "source,target,mask,instance,a,b,c,d,e\n"
        + "\n".join(",".join([*list(row.values())[:-1], *map(str, row["attributes"])]) for row in rows)
    )
    letters = ("a", "b", "c", "d", "e")
    return {
        "paired": both | {"fields": places(root, *names)},
        "fields": {"fields": places(root, "source", "target", *names)},
        "json": {"list": root / "list.jsonl"},
        "blanks": {"list": root / "blanks.csv"},
        "commas": {"list": root / "commas.csv"},
        "columns": {"list": root / "own.csv", "attributes": letters},
        "list and folders": {"list": root / "own.csv", "fields": places(root, "attributes")},
    }


@pytest.mark.parametrize(
    "form", ["paired", "fields", "json", "blanks", "commas", "columns", "list and folders"]
)
def test_every_form_brings_the_same_fields_of_the_same_place(tmp_path: Path, form: str) -> None:
    given = forms(world(tmp_path))[form]
    for batch in stream(opened(given), 4):
        assert list(batch.fields) == list(EVERYTHING)
        assert batch.attributes.shape == (2, 5)
        assert batch.instance.shape == (2, 1, 16, 12)
        require_agreement(batch)
    assert set(declared(DataConfig(**given))) == set(EVERYTHING) or form == "list and folders"


def test_side_by_side_files_have_further_fields_too_in_both_directions(tmp_path: Path) -> None:
    root = world(tmp_path)
    for i in range(6):
        halves = [np.asarray(PillowImage.open(root / side / f"{i}.png")) for side in ("source", "target")]
        write(root / "pairs", f"{i}.png", np.concatenate(halves, 1))
        write(root / "swapped", f"{i}.png", np.concatenate(halves[::-1], 1))
    fields = places(root, "mask", "instance", "attributes")
    for folder, direction in (("pairs", "AtoB"), ("swapped", "BtoA")):
        for batch in stream(opened({"aligned": root / folder, "fields": fields}, direction=direction), 2):
            require_agreement(batch)


def test_geometry_is_shared_and_masks_and_numbers_are_never_mixed_or_recoloured(tmp_path: Path) -> None:
    root = world(tmp_path)
    augment = {
        "geometric": [{"HorizontalFlip": {"p": 0.5}}, {"Transpose": {"p": 1.0}}, {"Rotate": {"limit": 40}}],
        "photometric": [{"RandomBrightnessContrast": {"p": 1.0}}],
    }
    data = opened(forms(root)["paired"], augment=augment, crop_size=(12, 12))
    plain = opened(forms(root)["paired"], augment=augment | {"photometric": []}, crop_size=(12, 12))
    known = set(range(65536 - SIZE[0] * SIZE[1], 65536)) | {0}  # 0: what turning leaves free
    for batch, other in zip(stream(data, 4), stream(plain, 4), strict=True):
        assert set(batch.mask.unique().tolist()) <= {0.0, 1.0}
        assert set(batch.instance.unique().tolist()) <= known
        assert not (batch.source == other.source).all()
        inside = batch.instance[:, 0] > 0
        place = 65535 - batch.instance[:, 0]
        marked = ((place // SIZE[1] + place % SIZE[1]) % 3 == 0).float()
        assert ((batch.mask[:, 0] == marked) | ~inside).all()


def test_ids_of_16_bits_are_exact_after_resizing(tmp_path: Path) -> None:
    root = world(tmp_path, 2)
    ids = np.arange(65536 - 480, 65536, dtype=np.uint16).reshape(*SIZE, 1)
    for i in range(2):
        write(root / "instance", f"{i}.png", ids)
    data = opened(forms(root)["paired"], load_size=SIZE, crop_size=SIZE, flip=False)
    (batch, *_) = stream(data, 1)
    assert (batch.instance[0, 0].numpy() == ids[..., 0]).all()
    larger = stream(opened(forms(root)["paired"], load_size=(31, 37), crop_size=(31, 37)), 1)[0]
    assert set(larger.instance.unique().tolist()) <= set(ids.ravel().tolist())


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_a_file_that_is_two_fields_is_not_mistaken_for_another_one(tmp_path: Path, cache: str) -> None:
    dark, light = np.zeros((16, 12, 3), np.uint8), np.full((16, 12, 3), 255, np.uint8)
    write(tmp_path, "dark.png", dark)
    write(tmp_path, "light.png", light)
    (tmp_path / "l.csv").write_text(
        "source,target,mask\ndark.png,light.png,dark.png\ndark.png,light.png,light.png\n"
    )
    fields = {name: EVERYTHING[name] for name in ("source", "target", "mask")}
    given = {"list": tmp_path / "l.csv", "cache": cache, "cache_folder": tmp_path / "cache", "flip": False}
    data = opened(given, fields)
    assert [float(data.train.sample(0, i).mask.pixels.max()) for i in (0, 1)] == [0, 255]


def test_pixels_depend_neither_on_workers_nor_on_where_a_run_resumes(tmp_path: Path) -> None:
    root = world(tmp_path)
    given = {"images": root / "source", "fields": {"mask": "random"}}
    whole = stream(opened(given, HOLES), 6)
    for other, offset in (
        (stream(opened(given, HOLES), 2, workers=2), 0),
        (stream(opened(given, HOLES), 3, start=6), 3),
    ):
        for one, two in zip(whole[offset:], other, strict=False):
            assert one.keys == two.keys
            assert all((one[name] == two[name]).all() for name in HOLES)
    masks = [batch.mask for batch in whole]
    assert not (masks[0] == masks[3]).all()  # another epoch has other holes
    for mask in masks:
        shares = mask.mean((1, 2, 3))
        assert ((shares >= 0.04) & (shares <= 0.51)).all()
    same = [list(in_order(opened(given, HOLES).train, batch_size=2, ranges={"source": LEVELS})) for _ in "ab"]
    assert all((one.mask == two.mask).all() for one, two in zip(*same, strict=True))


def test_masks_that_are_drawn_follow_their_settings_and_differ_between_fields(tmp_path: Path) -> None:
    root = world(tmp_path)
    fields = HOLES | {"second": Mask(like="source")}
    given = {"images": root / "source", "fields": {"mask": "random", "second": "random"}}
    data = opened(given, fields, masks={"holes": [0.3, 0.3], "kinds": ["blobs"], "border": False})
    for batch in stream(data, 2):
        assert not (batch.mask == batch.second).all()
        assert abs(float(batch.mask.mean()) - 0.3) < 0.01
        assert float(batch.mask[..., 0, :].max() + batch.mask[..., -1, :].max()) == 0


def test_masks_of_a_list_are_taken_where_a_method_would_draw_them(tmp_path: Path) -> None:
    root = world(tmp_path)
    rows = [f"source/{i}.png,mask/{i}.png" for i in range(6)]
    (root / "list.csv").write_text("\n".join(["source,mask", *rows]))
    data = opened({"list": root / "list.csv", "fields": {"mask": "random"}}, HOLES, validation_fraction=0)
    assert "drawn" not in data.description and not any("mask" in note for note in data.notes)
    for batch in stream(data, 2):
        rows_, columns = (batch.source[:, i].round().int() for i in (0, 1))
        assert (batch.mask[:, 0] == ((rows_ + columns) % 3 == 0).float()).all()


MASKED = [f"source/{i}.png,mask/{i}.png" for i in range(6)]
BARE = [f"source/{i}.png" for i in range(6)]


def lists(root: Path, **texts: list[str]) -> dict[str, Path]:
    """Lists of the lines given, by name; the first line of each names its columns."""
    for name, lines in texts.items():
        (root / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return {name: root / f"{name}.csv" for name in texts}


def test_the_list_for_training_decides_whether_masks_are_drawn(tmp_path: Path) -> None:
    given: dict[str, Any] = {"fields": {"mask": "random"}}
    made = lists(
        world(tmp_path),
        masked=["source,mask", *MASKED[:4]],
        bare=["source", *BARE[4:]],
        other=["source,mask", *MASKED[4:]],
    )
    with pytest.raises(PlanError, match=r"bare\.csv, line 2: mask is missing"):
        found(given | {"list": made["masked"], "validation": made["bare"]}, HOLES)
    both = found(given | {"list": made["masked"], "validation": made["other"]}, HOLES)
    assert all("mask" in record.files for part in (both.train, both.validation) for record in part[0])
    data = opened(given | {"list": made["bare"], "validation": made["other"]}, HOLES)
    assert any(note.endswith("other.csv: columns that no field takes: mask.") for note in data.notes)
    assert {batch.mask.shape for batch in in_order(data.validation, batch_size=2, ranges={"source": LEVELS})}


def test_a_line_of_json_may_lack_a_column_that_the_others_have(tmp_path: Path) -> None:
    rows = [{"source": f"source/{i}.png"} | ({"mask": f"mask/{i}.png"} if i else {}) for i in range(6)]
    (world(tmp_path) / "l.jsonl").write_text("\n".join(map(json.dumps, rows)))
    given = {"list": tmp_path / "l.jsonl", "fields": {"mask": "random"}}
    with pytest.raises(PlanError, match="line 1: mask is missing"):
        found(given, HOLES)
    records = found(given | {"unmatched": "skip"}, HOLES)
    assert [sorted(record.files) for record in records.train[0]] == [["mask", "source"]] * 5


@pytest.mark.parametrize(
    ("line", "lacks"),
    [
        ("source/9.png,,1 2", "file"),
        ("source/0.png,,1 2", "mask"),
        ("source/0.png,mask/9.png,1 2", "mask"),
        ("source/0.png,mask/0.png,", "attributes"),
        (",mask/0.png,1 2", "source"),
        ("source/0.png,,", "mask or attributes"),
    ],
)
def test_a_line_without_one_of_its_fields_stops_or_is_left_out(tmp_path: Path, line: str, lacks: str) -> None:
    fields = HOLES | {"attributes": Vector()}
    rest = [f"source/{i}.png,mask/{i}.png,3 4" for i in range(1, 6)]
    made = lists(
        world(tmp_path), all=["source,mask,attributes", line, *rest], none=["source,mask,attributes", line]
    )
    with pytest.raises(PlanError, match=r"line 2|mask.9\.png"):
        found({"list": made["all"]}, fields)
    records = found({"list": made["all"], "unmatched": "skip"}, fields)
    assert [record.key for record in records.train[0]] == [f"source/{i}.png" for i in range(1, 6)]
    assert set(records.lacks.values()) == {lacks} and records.notes
    with pytest.raises(PlanError):
        found({"list": made["none"], "unmatched": "skip"}, fields)


@pytest.mark.parametrize(
    ("parts", "held_out"),
    [
        (["train", "val", "test"], ["1"]),
        (["train", "test", "train"], ["1"]),
        (["train", "testing", "validation"], ["2"]),
        (["", "valid", "test"], ["1"]),
    ],
)
def test_what_is_for_tests_is_not_validated_on(tmp_path: Path, parts: list[str], held_out: list[str]) -> None:
    rows = [f"{row},{part}" for row, part in zip(BARE, parts, strict=False)]
    made = lists(world(tmp_path), all=["source,split", *rows])
    records = found({"list": made["all"]}, {"source": Picture()})
    assert [Path(record.key).stem for record in records.validation[0]] == held_out
    assert any("test" in note for note in records.notes) == any("val" in part for part in parts)
    again = found({"list": made["all"], "validation": made["all"]}, {"source": Picture()})
    assert again.validation == records.validation


def test_fields_of_two_domains_go_with_their_own(tmp_path: Path) -> None:
    root = world(tmp_path)
    for direction, sides in (("AtoB", ("source", "target")), ("BtoA", ("target", "source"))):
        given = {"unpaired": [root / side for side in sides], "fields": places(root, "mask")}
        for batch in stream(opened(given, DOMAINS, direction=direction), 3):
            rows, columns = ((255 - batch.target[:, i]).round().int() for i in (0, 1))
            assert (batch.mask[:, 0] == ((rows + columns) % 3 == 0).float()).all()


def test_labels_to_aim_at_are_those_of_other_samples_and_depend_on_the_place_alone(tmp_path: Path) -> None:
    """Two groups, each with labels of its own; a run that continues, with workers too, sees the same."""
    root = world(tmp_path)
    wanted = {
        "source": Picture(),
        "attributes": Vector(),
        "aim": Vector(of="attributes"),
        "second": Picture(),
        "classes": Vector(like="second"),
        "second_aim": Vector(like="second", of="classes"),
    }
    given = {"source": root / "source", "second": root / "source"}
    given |= dict.fromkeys(("attributes", "classes"), root / "attributes.csv")
    data = opened({"fields": given}, wanted)
    assert data.channels == {name: 3 if wanted[name].spatial else 5 for name in wanted}
    assert data.train.fields.keys() == wanted.keys() and "aim" not in data.names
    taken = stream(data, 30)
    for batch in taken:
        for picture, own in (("source", "attributes"), ("second", "classes")):
            assert (batch[picture][:, 2, 0, 0].round() == batch[own][:, 0]).all()
    rows = {tuple(row.tolist()) for batch in taken for row in batch.attributes}
    assert len(rows) == 6
    together = {(int(b.attributes[i, 0]), int(b.aim[i, 0])) for b in taken for i in range(2)}
    assert len(together) > 18, "each label is aimed at from each"
    assert {tuple(row.tolist()) for batch in taken for row in batch.aim} == rows
    assert any((batch.aim != batch.second_aim).any() for batch in taken)
    later = stream(data, 2, start=8, workers=1)
    for one, other in zip(taken[4:6], later, strict=True):
        assert all((one[name] == other[name]).all() for name in wanted)
    first, again = (data.train.validation_sample(3).fields["aim"].pixels for _ in range(2))
    assert (first == again).all()
    with pytest.raises(ConfigError, match="'aim'"):
        opened({"fields": {**given, "aim": root / "attributes.csv"}}, wanted)


def test_patches_take_numbers_with_them(tmp_path: Path) -> None:
    root = world(tmp_path)
    fields = enlarging(2) | {"attributes": Vector()}
    data = opened({"images": root / "source", "fields": places(root, "attributes")}, fields)
    for batch in stream(data, 3):
        assert (batch.target[:, 2, 0, 0].round() == batch.attributes[:, 0]).all()


# names


@pytest.mark.parametrize(
    "name",
    [
        lambda field, i: f"{i}.png" if field == "source" else f"{i}.tif",
        lambda field, i: f"img{i}_A.png" if field == "source" else f"img{i}_{field}.png",
        lambda field, i: f"{field}-{i:03}.png",
        lambda field, i: f"ö{i}.png" if field == "source" else unicodedata.normalize("NFD", f"Ö{i}.png"),
        lambda field, i: f"deep/er/{i}.png",
    ],
    ids=["extensions", "suffixes", "prefixes", "unicode and case", "folders"],
)  # fmt: skip
def test_names_that_mean_the_same_belong_together(tmp_path: Path, name: Callable[[str, int], str]) -> None:
    root = world(tmp_path, 4, name)
    given = {"images": root / "source", "fields": places(root, "mask", "instance", "attributes")}
    fields = {key: kind for key, kind in EVERYTHING.items() if key != "target"}
    (records,) = found(given, fields).train
    for record in records:
        number = int(record.values["attributes"][0])
        for path in record.paths:
            assert str(number) in path.stem


def test_a_field_that_is_missing_stops_or_is_left_out_by_name(tmp_path: Path) -> None:
    root = world(tmp_path)
    (root / "mask" / "3.png").unlink()
    given = {"images": root / "source", "fields": places(root, "mask")}
    with pytest.raises(PlanError, match=r"1 of 6 samples have no mask .*3\.png"):
        found(given, HOLES)
    records = found(given | {"unmatched": "skip"}, HOLES)
    assert len(records.train[0]) == 5
    assert any("no mask: " in note and "3.png" in note for note in records.notes)


def test_a_row_that_is_missing_stops_or_is_left_out_by_name(tmp_path: Path) -> None:
    root = world(tmp_path)
    lines = (root / "attributes.csv").read_text().splitlines(keepends=True)
    (root / "attributes.csv").write_text("".join(line for line in lines if not line.startswith("3")))
    given = {"images": root / "source", "fields": places(root, "attributes")}
    with pytest.raises(PlanError, match=r"1 of 6 samples have no row in .*3\.png"):
        found(given, FACES)
    records = found(given | {"unmatched": "skip"}, FACES)
    assert len(records.train[0]) == 5
    assert any("no row in" in note and "3.png" in note for note in records.notes)


def test_what_lies_in_the_folder_or_table_of_a_field_for_nothing_is_named(tmp_path: Path) -> None:
    root = world(tmp_path)
    (root / "source" / "2.png").unlink()
    records = found(
        {"images": root / "source", "fields": places(root, "mask", "attributes")},
        HOLES | {"attributes": Vector()},
    )
    assert len(records.train[0]) == 5
    assert {place.name for place in records.spare} == {"mask", "attributes.csv"}
    assert all("2.png" in names[0] and len(names) == 1 for names in records.spare.values())


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_and_hidden_files_of_fields_are_as_those_of_pictures(tmp_path: Path) -> None:
    root = world(tmp_path)
    (root / "masks").mkdir()
    (root / "masks" / "deep").symlink_to(root / "mask")
    write(root / "source", "deep/0.png", noise(0, *SIZE))
    for i in range(6):
        (root / "source" / f"{i}.png").unlink()
    write(root / "source", ".hidden.png", noise(1, *SIZE))
    given = {"images": root / "source", "fields": {"mask": root / "masks"}}
    with pytest.raises(PlanError):
        found(given, HOLES)
    assert len(found(given | {"follow_symlinks": True}, HOLES).train[0]) == 1


def test_a_mask_of_a_kind_that_is_not_read_is_said(tmp_path: Path) -> None:
    root = world(tmp_path)
    (root / "mask" / "3.png").rename(root / "mask" / "3.cr2")
    with pytest.raises(PlanError, match=r"no mask .*3\.png.*3\.cr2"):
        found({"images": root / "source", "fields": places(root, "mask")}, HOLES)


# parts


@pytest.mark.parametrize("held_out", ["val", "test"])
def test_fields_of_the_held_out_part_lie_as_its_pictures_do(tmp_path: Path, held_out: str) -> None:
    for part, count in (("train", 5), (held_out, 3)):
        part_root = world(tmp_path / "made" / part, count)
        for field in ("source", "target", "mask"):
            (tmp_path / field).mkdir(exist_ok=True)
            (part_root / field).rename(tmp_path / field / part)
    fields = {name: EVERYTHING[name] for name in ("source", "target", "mask")}
    root = tmp_path
    for given in (
        {"paired": (root / "source", root / "target"), "fields": places(root, "mask")},
        {
            "paired": (root / "source" / "train", root / "target" / "train"),
            "fields": {"mask": root / "mask" / "train"},
        },
        {"fields": places(root, "source", "target", "mask")},
    ):
        records = found(given, fields)
        assert [len(part[0]) for part in (records.train, records.validation)] == [5, 3]
        for part, names in ((records.train, "train"), (records.validation, held_out)):
            assert all(path.parent.name == names for record in part[0] for path in record.paths)


@pytest.mark.parametrize(
    ("folders", "mask", "held_out"),
    [
        (("source/one", "source/two"), "mask", None),
        (("source/train/one", "source/train/two"), "mask", "source/val"),
        (("source/train/one", "source/train/two"), "mask/train", "source/val"),
        (("source/one/train", "source/two/train"), "mask", None),
    ],
)
def test_masks_of_several_folders_lie_in_one_tree(
    tmp_path: Path, folders: tuple[str, ...], mask: str, held_out: str | None
) -> None:
    inner = ["/".join(folder.split("/")[1:]) for folder in folders]
    inner += [folder.replace("train", "val") for folder in inner if held_out]
    for i, folder in enumerate(inner):
        for j in range(3):
            write(tmp_path / "source" / folder, f"{j}.png", noise(i, *SIZE))
            write(tmp_path / "mask" / folder, f"{j}.png", noise(i, *SIZE, channels=1))
    given: dict[str, Any] = {"images": [tmp_path / folder for folder in folders]}
    if held_out:
        given["validation"] = [tmp_path / folder.replace("train", "val") for folder in folders]
    records = found(given | {"fields": {"mask": tmp_path / mask}}, HOLES)
    every = [record for part in (records.train, records.validation) for record in (part or [()])[0]]
    assert len(every) == 3 * len(inner)
    for record in every:
        places = [record.files[name].relative_to(tmp_path / name) for name in HOLES]
        assert places[0] == places[1]


def test_one_picture_that_is_too_thin_is_passed_over(tmp_path: Path) -> None:
    world(tmp_path, 5)
    for field, channels in (("source", 3), ("target", 3), ("mask", 1)):
        write(tmp_path / field, "5.png", noise(0, 1, 6000, channels))
    fields = {name: EVERYTHING[name] for name in ("source", "target", "mask")}
    options = {"fit": "keep", "load_size": (32, 32), "crop_size": (32, 32)}
    told: list[str] = []
    for given, kinds in (
        ({"images": tmp_path / "source", "fields": {"mask": "random"}}, HOLES),
        ({"fields": places(tmp_path, *fields)}, fields),
    ):
        data = opened(given, kinds, **options)
        ranges = dict.fromkeys(pictures(kinds), LEVELS)
        for made in (
            batches(data.train, batch_size=6, seed=0, ranges=ranges, report=told.append),
            in_order(data.train, batch_size=1, ranges=ranges, report=told.append),
        ):
            assert next(made).source.shape[2:] == (32, 32)
    assert told and all("5.png" in sentence for sentence in told)


def test_fields_in_folders_named_by_letters_have_their_held_out_part_beside_them(tmp_path: Path) -> None:
    for part, count in (("train", 5), ("test", 3)):
        made = world(tmp_path / "made" / part, count)
        for field, letter in (("source", "A"), ("target", "B"), ("mask", "M")):
            (made / field).rename(tmp_path / f"{part}{letter}")
    fields = {name: EVERYTHING[name] for name in ("source", "target", "mask")}
    for given in (tmp_path,), (tmp_path / "trainA", tmp_path / "trainB"):
        records = found({"paired": given, "fields": {"mask": tmp_path / "trainM"}}, fields)
        assert [len(part[0]) for part in (records.train, records.validation)] == [5, 3]
        assert {path.parent.name for path in records.validation[0][0].paths} == {"testA", "testB", "testM"}


def test_what_is_split_off_keeps_all_of_its_fields(tmp_path: Path) -> None:
    data = opened(forms(world(tmp_path))["paired"], validation_fraction=0.3)
    for batch in in_order(data.validation, batch_size=2, ranges=dict.fromkeys(("source", "target"), LEVELS)):
        require_agreement(batch)


# tables and classes


def celeba(folder: Path, names: list[str]) -> Path:
    lines = [
        f"{name}  {' '.join(['1', '-1'][(i + k) % 2] for k in range(3))}" for i, name in enumerate(names)
    ]
    path = folder / "list_attr_celeba.txt"
    path.write_text(f"{len(names)}\nSmiling Male Young \n" + "\n".join(lines) + "\n")
    return path


def test_the_table_of_celeba_gives_ones_and_noughts_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    root = world(tmp_path)
    table = celeba(
        root, [f"{i}.jpg" for i in range(6)]
    )  # the aligned PNG files of CelebA have its JPEG names
    given = {"images": root / "source", "fields": {"attributes": table}}
    records = found(given | {"attributes": ["Male", "Smiling"]}, FACES)
    assert [record.values["attributes"] for record in records.train[0][:2]] == [(0, 1), (1, 0)]
    assert records.names["attributes"] == ("Male", "Smiling")
    assert len(found(given, FACES).train[0][0].values["attributes"]) == 3
    with pytest.raises(PlanError, match="Smiling"):
        found(given | {"attributes": ["Smilling"]}, FACES)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("t.csv", "file,a\n0.png,x\n", "line 2: a is 'x'"),
        ("t.csv", "file,a\n0.png,nan\n", "no number"),
        ("t.csv", "file,a\n0.png,1e300\n", "no number"),
        ("t.csv", "file,a\n0.png,1\n0.png,2\n", "twice"),
        ("t.csv", "", "no rows"),
        ("t.txt", "file a\n0.png 1\n", "CelebA"),
        ("t.txt", "1\na b\n0.png 1\n", "line 3: has 1 numbers"),
        ("t.jsonl", '{"file": 3, "a": 1}\n', "names no file"),
    ],
)
def test_tables_that_are_wrong_are_named_with_their_line(
    tmp_path: Path, name: str, text: str, words: str
) -> None:
    root = world(tmp_path, 1)
    (root / name).write_text(text)
    with pytest.raises(PlanError, match=words):
        found({"images": root / "source", "fields": {"attributes": root / name}}, FACES)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("semicolons.csv", "image;a;b\n{}"),
        ("tabs.tsv", "image\ta\tb\n{}"),
        ("lines.jsonl", "{}"),
    ],
)
def test_tables_of_other_forms_are_read(tmp_path: Path, name: str, form: str) -> None:
    root = world(tmp_path, 3)
    between = {"semicolons.csv": ";", "tabs.tsv": "\t"}.get(name)
    rows = [
        between.join((f"{i}.png", str(i), "0.5"))
        if between
        else json.dumps({"file": f"{i}", "a": i, "b": 0.5})
        for i in range(3)
    ]
    (root / name).write_text(form.format("\n".join(rows)))
    records = found({"images": root / "source", "fields": {"attributes": root / name}}, FACES)
    assert [record.values["attributes"] for record in records.train[0]] == [(i, 0.5) for i in range(3)]


def test_one_folder_a_class_in_folders_and_lists(tmp_path: Path) -> None:
    for i in range(6):
        write(tmp_path / "photos", f"{('cat', 'dog', 'fox')[i % 3]}/{i}.png", noise(i))
    fields = {"source": Picture(), "label": Vector()}
    given: dict[str, Any] = {"images": tmp_path / "photos", "fields": {"label": "classes"}}
    (tmp_path / "photos" / "cow").mkdir()
    records = found(given, fields)
    assert records.names["label"] == ("cat", "dog", "fox")
    assert [note.split(" holds")[0].split("/")[-1] for note in records.passed] == ["cow"]
    for record in records.train[0]:
        assert records.names["label"][record.values["label"].index(1)] == record.paths[0].parent.name
    lines = [path.relative_to(tmp_path).as_posix() for record in records.train[0] for path in record.paths]
    (tmp_path / "l.txt").write_text("\n".join(lines))
    (tmp_path / "l.csv").write_text("source\n" + "\n".join(lines))
    for other in ({"images": tmp_path / "l.txt"}, {"list": tmp_path / "l.csv"}):
        again = found({**other, "fields": {"label": "classes"}}, fields)
        assert again.names == records.names
        assert {r.paths[0]: r.values for r in again.train[0]} == {
            r.paths[0]: r.values for r in records.train[0]
        }
    write(tmp_path / "photos", "alone.png", noise(9))
    with pytest.raises(PlanError, match=r"alone\.png"):
        found(given, fields)


# messages


def test_a_wrong_name_is_told_the_right_one(tmp_path: Path) -> None:
    root = world(tmp_path)
    with pytest.raises(ConfigError, match=r"msk.*mask"):
        found({"images": root / "source", "fields": {"msk": "random"}}, HOLES)


@pytest.mark.parametrize(
    ("given", "fields", "words"),
    [
        ({"images": "source"}, HOLES, "needs the mask 'mask'.*data.fields.mask"),
        ({"paired": ("source", "target")}, EVERYTHING, "needs the mask 'mask'"),
        ({"fields": {"mask": "mask"}}, None, "no picture"),
        ({"fields": {"attributes": "attributes.csv"}}, None, "no picture"),
        ({"paired": ("source", "target"), "fields": {"source": "source"}}, None, "says already"),
        ({"images": "source", "fields": {"attributes": "mask"}}, FACES, "is a folder.*classes"),
        ({"images": "source", "fields": {"mask": "classes"}}, HOLES, "classes is for a vector"),
        ({"images": "source", "fields": {"attributes": "random"}}, FACES, "random is for a mask"),
        ({"images": "source", "fields": {"mask": "nowhere"}}, HOLES, "no folder"),
        ({"images": "source", "fields": {"attributes": "nowhere.csv"}}, FACES, "cannot be read"),
    ],
)
def test_places_that_do_not_fit_are_said_in_sentences_without_options_of_a_command(
    tmp_path: Path, given: dict[str, Any], fields: Fields | None, words: str
) -> None:
    root = world(tmp_path, 2)

    def placed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: placed(one) for key, one in value.items()}
        if isinstance(value, tuple):
            return tuple(map(placed, value))
        return value if value in ("random", "classes") else root / value

    with pytest.raises((ConfigError, PlanError), match=words) as raised:
        found({key: placed(value) for key, value in given.items()}, fields)
    assert "--" not in str(raised.value)


def test_columns_that_no_field_takes_are_said(tmp_path: Path) -> None:
    given = forms(world(tmp_path))["json"]
    records = found(given, HOLES)
    assert any("target, instance, attributes" in note for note in records.notes)


# what check says


def kinds(given: dict[str, Any], fields: Fields) -> dict[str, Any]:
    checked = check(
        DataConfig(**{"load_size": None, "crop_size": 12, "validation_fraction": 0, **given}), fields=fields
    )
    json.dumps(checked.to_json())
    return {finding.kind: finding for finding in checked.findings}


def grey(root: Path) -> None:
    write(root / "mask", "3.png", noise(0, *SIZE, channels=1))


def lossy(root: Path) -> None:
    (root / "instance" / "3.png").unlink()
    write(root / "instance", "3.jpg", noise(0, *SIZE, channels=1))


def colour(root: Path) -> None:
    write(root / "instance", "3.png", noise(0, *SIZE))


def small(root: Path) -> None:
    write(root / "mask", "3.png", np.full((8, 8, 1), 255, np.uint8))


def dark(root: Path) -> None:
    write(root / "mask", "3.png", np.ones((*SIZE, 1), np.uint8))


def without_mask(root: Path) -> None:
    (root / "mask" / "3.png").unlink()


def without_row(root: Path) -> None:
    path = root / "attributes.csv"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith("3")))


def without_file(root: Path) -> None:
    with (root / "attributes.csv").open("a") as table:
        table.write("3000.png,0,0,0,0,0\n")


def broken(root: Path) -> None:
    (root / "mask" / "3.png").write_bytes(b"no picture")


SPOILT = [
    (grey, "grey-mask", "warning"),
    (dark, "empty-mask", "warning"),
    (lossy, "lossy-ids", "error"),
    (colour, "colour-ids", "error"),
    (small, "map-size", "error"),
    (without_mask, "no-partner", "error"),
    (without_row, "no-partner", "error"),
    (without_file, "no-sample", "warning"),
    (broken, "unreadable", "error"),
]


def test_check_finds_none_of_that_in_fields_that_are_right(tmp_path: Path) -> None:
    found = kinds(forms(world(tmp_path))["paired"], EVERYTHING)
    assert not found.keys() & {kind for _, kind, _ in SPOILT}


@pytest.mark.parametrize(("spoil", "kind", "level"), SPOILT)
def test_check_names_what_is_wrong_with_a_field_and_its_file(
    tmp_path: Path, spoil: Callable[[Path], None], kind: str, level: str
) -> None:
    root = world(tmp_path)
    given = forms(root)["paired"]
    spoil(root)
    after = kinds(given, EVERYTHING)
    assert after[kind].level == level
    text = " ".join(f"{[p.name for p in case.files]} {case.detail}" for case in after[kind].cases)
    assert "3" in text
    if kind == "no-partner":
        assert ("mask" if spoil is without_mask else "attributes.csv") in text


def test_check_names_an_attribute_without_examples(tmp_path: Path) -> None:
    finding = kinds(forms(world(tmp_path))["paired"], EVERYTHING)["no-examples"]
    assert finding.text.startswith(("d of attributes is 0", "e of attributes is 1"))


@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"])
def test_check_looks_at_every_combination_without_failing(tmp_path: Path, step: int) -> None:
    root = world(tmp_path, 3)
    every = places(root, "source", "target", "mask", "instance", "attributes") | {"drawn": "random"}
    fields = EVERYTHING | {"drawn": Mask(like="source")}
    names = list(every)
    for number in range(1, 2 ** len(names), step):
        chosen = {name: every[name] for i, name in enumerate(names) if number >> i & 1}
        for method in (None, {name: fields[name] for name in chosen}):
            try:
                kinds({"fields": chosen}, method)  # type: ignore[arg-type]
            except (Img2ImgError, ValueError):
                assert "source" not in chosen and (method or "target" not in chosen)


def test_a_row_without_its_file_is_named(tmp_path: Path) -> None:
    given = forms(world(tmp_path))["json"]
    (tmp_path / "mask" / "0.png").unlink()
    finding = kinds(given, declared(DataConfig(**given)))["no-partner"]
    assert finding.level == "error"
    assert {(case.files[0].name, case.detail) for case in finding.cases} == {("0.png", "has no mask")}


def test_numbers_that_are_missing_in_a_list_are_named_with_their_line(tmp_path: Path) -> None:
    world(tmp_path)
    (tmp_path / "l.jsonl").write_text(
        '{"source": "source/0.png", "attributes": [1, null]}\n{"source": "source/1.png", "attributes": [1]}'
    )
    with pytest.raises(PlanError, match="line 1: attributes"):
        found({"list": tmp_path / "l.jsonl"})


def test_a_table_that_is_not_there_is_named_as_one(tmp_path: Path) -> None:
    given = {"images": world(tmp_path) / "source", "fields": {"attributes": tmp_path / "nowhere.csv"}}
    with pytest.raises(PlanError, match=r"nowhere\.csv cannot be read"):
        found(given)


def test_masks_may_be_named_in_a_text_file(tmp_path: Path) -> None:
    root = world(tmp_path)
    (root / "masks.txt").write_text("".join(f"mask/{i}.png\n" for i in range(6)))
    (root / "photos.txt").write_text("".join(f"source/{i}.png\n" for i in range(6)))
    for images in (root / "source", root / "photos.txt"):
        (records,) = found({"images": images, "fields": {"mask": root / "masks.txt"}}).train
        assert all(record.files["mask"].name == record.files["source"].name for record in records)


def test_preview_shows_every_kind_as_what_it_is(tmp_path: Path) -> None:
    data = opened(forms(world(tmp_path))["paired"])
    ((source, target, mask, instance, attributes),) = [
        [image.pixels for image, _ in row] for row in preview(data.train, 1, 1)
    ]
    assert source.shape == target.shape == (16, 12, 3)
    assert set(np.unique(mask)) == {0, 255}
    assert len(np.unique(instance.reshape(-1, 3), axis=0)) > 1
    height, width = attributes.shape[:2]
    assert 0.9 < height / width < 1.1  # beside pictures it takes no more room than they do
    bars = [(column == 0).sum() for column in attributes[:, :, 0].T]
    assert max(bars) >= height // 2
    for size in (1, 40, 300):
        ((shown, _),) = preview(_Numbers(size), 1, 1)[0]  # type: ignore[arg-type]
        assert (shown.pixels == 0).any()


class _Numbers(Dataset):
    """One sample of a vector."""

    def __init__(self, size: int) -> None:
        self.size, self.fields = size, {"attributes": Vector()}

    def __len__(self) -> int:
        return 1

    def keys(self) -> list[str]:
        return ["0"]

    def sample(self, epoch: int, index: int) -> Sample:
        return Sample({"attributes": Part(np.linspace(-1, 2, self.size, dtype=np.float32))}, "0")

    validation_sample = sample  # type: ignore[assignment]


def test_a_part_that_no_training_takes_may_lack_a_field(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        made = world(tmp_path / "made" / part, 3)
        for field in ("source", "mask"):
            (tmp_path / field).mkdir(exist_ok=True)
            if (field, part) != ("mask", "test"):
                (made / field).rename(tmp_path / field / part)
    found_kinds = kinds({"images": tmp_path / "source", "fields": places(tmp_path, "mask")}, HOLES)
    assert "layout" not in found_kinds
    assert "no mask" in found_kinds["passed-over"].text


@pytest.mark.parametrize("form", ["folders", "list"])
@pytest.mark.parametrize("given", [True, False])
def test_an_optional_field_is_there_where_the_data_have_it(tmp_path: Path, form: str, given: bool) -> None:
    root = world(tmp_path)
    names = ["source", "target", *(["instance"] if given else [])]
    if form == "list":
        rows = [",".join(f"{name}/{i}.png" for name in names) for i in range(4)]
        (root / "pairs.csv").write_text("\n".join([",".join(names), *rows]) + "\n")
        config = DataConfig(list=root / "pairs.csv", workers=0)
    else:
        config = DataConfig(
            paired=(root / "source", root / "target"),
            fields={"instance": root / "instance"} if given else {},
            workers=0,
        )
    data = open_data(config, OPTIONAL)
    assert list(data.channels) == names and list(data.train.sample(0, 0).fields) == names
    assert not [finding for finding in check(config, fields=OPTIONAL).findings if finding.level == "error"]
