"""Divisions: decided by names and seed alone, whole pairs, and inputs that nobody touches."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from worlds import fill, pairs

from img2img.data import DataConfig
from img2img.data.records import find_records
from img2img.data.split import PARTS, divide, write_folders, write_lists
from img2img.errors import PlanError, UsageError
from img2img.fields import UNPAIRED, Mask, Picture, Vector


def touch(folder: Path, names: list[str]) -> Path:
    """Files that nobody opens: a division goes by names."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def images(folder: Path) -> DataConfig:
    return DataConfig(images=(folder,))


def parts(config: DataConfig, **options: object) -> dict[str, str]:
    values = {"validation": 0.2, "test": 0.1, "seed": 0} | options
    division = divide(config, **values)  # type: ignore[arg-type]
    return {placed.source.stem: placed.part for placed in division.files}


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def test_shares_are_met_on_average_and_nothing_is_lost(tmp_path: Path) -> None:
    folder = touch(tmp_path / "in", [f"{i}.png" for i in range(600)])
    division = divide(images(folder), 0.2, 0.1, 0)
    assert sum(division.counts.values()) == 600
    assert 87 < division.counts["val"] < 153
    assert 35 < division.counts["test"] < 85


def test_a_file_that_is_added_moves_no_other_one(tmp_path: Path) -> None:
    folder = touch(tmp_path / "in", [f"{i}.png" for i in range(200)])
    before = parts(images(folder))
    touch(folder, [f"new{i}.png" for i in range(50)])
    assert {name: part for name, part in parts(images(folder)).items() if name in before} == before


def test_the_seed_decides_and_nothing_else_is_random(tmp_path: Path) -> None:
    folder = touch(tmp_path / "in", [f"{i}.png" for i in range(200)])
    assert parts(images(folder)) == parts(images(folder)) != parts(images(folder), seed=1)


def test_it_is_the_division_that_training_makes_itself(tmp_path: Path) -> None:
    folder = touch(tmp_path / "in", [f"{i}.png" for i in range(200)])
    ours = parts(images(folder), validation=0.1, test=0.0)
    theirs = find_records(images(folder)).validation
    assert {name for name, part in ours.items() if part == "val"} == {record.stem for record in theirs[0]}


def test_even_few_files_leave_one_for_each_part(tmp_path: Path) -> None:
    folder = touch(tmp_path / "in", [f"{i}.png" for i in range(8)])
    for seed in range(20):
        assert set(parts(images(folder), validation=0.1, test=0.1, seed=seed).values()) == set(PARTS)


def test_pairs_stay_together_and_are_found_again(tmp_path: Path) -> None:
    a, b = pairs(tmp_path / "in", 30)
    (a / "3.png").rename(a / "3.tif")  # partners agree in their names, not in their extensions
    before = snapshot(tmp_path / "in")
    division = divide(DataConfig(paired=(a, b)), 0.2, 0.2, 0)
    write_folders(division, tmp_path / "out", "copy")
    assert snapshot(tmp_path / "in") == before
    for part in PARTS:
        sides = [{p.stem for p in (tmp_path / "out" / side / part).iterdir()} for side in "AB"]
        assert sides[0] == sides[1]
        assert len(sides[0]) == division.counts[part]
    records = find_records(DataConfig(paired=(tmp_path / "out" / "A", tmp_path / "out" / "B")))
    assert len(records.train[0]) == division.counts["train"]
    assert len(records.validation[0]) == division.counts["val"]
    assert list((tmp_path / "out" / "A").rglob("3.tif"))


def test_unpaired_domains_are_divided_each_by_itself(tmp_path: Path) -> None:
    a = touch(tmp_path / "horses", [f"{i}.png" for i in range(40)])
    b = touch(tmp_path / "zebras", [f"z{i}.png" for i in range(60)])
    division = divide(DataConfig(unpaired=(a, b)), 0.2, 0.0, 0)
    write_folders(division, tmp_path / "out", "link")
    records = find_records(DataConfig(unpaired=(tmp_path / "out" / "A", tmp_path / "out" / "B")))
    assert len(records.train[0]) + len(records.validation[0]) == 40
    assert len(records.train[1]) + len(records.validation[1]) == 60
    assert records.has_validation


def test_trees_are_kept(tmp_path: Path) -> None:
    folder = touch(tmp_path / "in", ["x/1.png", "y/1.png", "2.png"])
    write_folders(divide(images(folder), 0.1, 0.0, 0), tmp_path / "out", "copy")
    found = {p.relative_to(tmp_path / "out").parts[1:] for p in (tmp_path / "out").rglob("*.png")}
    assert found == {("x", "1.png"), ("y", "1.png"), ("2.png",)}


@pytest.mark.parametrize("group", ["folder", r"^([^/]+)/", r"person\d+"])
def test_groups_stay_together(tmp_path: Path, group: str) -> None:
    folder = touch(tmp_path / "in", [f"person{i}/{j}.png" for i in range(30) for j in range(4)])
    division = divide(images(folder), 0.3, 0.2, 0, group)
    by_person: dict[str, set[str]] = {}
    for placed in division.files:
        by_person.setdefault(placed.source.parent.name, set()).add(placed.part)
    assert all(len(found) == 1 for found in by_person.values())
    assert min(division.counts.values()) >= 4


def test_links_share_the_files(tmp_path: Path) -> None:
    folder = touch(tmp_path / "in", ["a.png", "b.png", "c.png"])
    symbolic = write_folders(divide(images(folder), 0.3, 0.0, 0), tmp_path / "out", "link")
    assert symbolic == 0
    for path in (tmp_path / "out").rglob("*.png"):
        assert path.samefile(folder / path.name)


def test_on_another_disk_links_are_symbolic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    folder = touch(tmp_path / "in", ["a.png", "b.png", "c.png"])
    assert write_folders(divide(images(folder), 0.3, 0.0, 0), tmp_path / "out", "link") == 3
    assert all(p.is_symlink() and p.read_bytes() for p in (tmp_path / "out").rglob("*.png"))


def test_lists_are_read_back(tmp_path: Path) -> None:
    a, b = pairs(tmp_path / "in", 30)
    division = divide(DataConfig(paired=(a, b)), 0.2, 0.0, 0)
    assert write_lists(division, tmp_path / "out") == ["pairs.csv"]
    records = find_records(DataConfig(list=tmp_path / "out" / "pairs.csv"))
    assert (len(records.train[0]), len(records.validation[0])) == (
        division.counts["train"],
        division.counts["val"],
    )
    singles = divide(images(a), 0.2, 0.1, 0)
    assert write_lists(singles, tmp_path / "lists") == ["test.txt", "train.txt", "val.txt"]
    config = DataConfig(
        images=(tmp_path / "lists" / "train.txt",), validation=(tmp_path / "lists" / "val.txt",)
    )
    records = find_records(config)
    assert (len(records.train[0]), len(records.validation[0])) == (
        singles.counts["train"],
        singles.counts["val"],
    )
    sets = divide(DataConfig(unpaired=(a, b)), 0.2, 0.0, 0)
    assert write_lists(sets, tmp_path / "sets") == ["trainA.txt", "trainB.txt", "valA.txt", "valB.txt"]


def test_a_list_that_is_divided_already_is_taken_as_one(tmp_path: Path) -> None:
    pairs(tmp_path, 9)
    parts = ["train", "val", "test"] * 3
    rows = "".join(f"A/{i}.png,B/{i}.png,{part}\n" for i, part in enumerate(parts))
    (tmp_path / "l.csv").write_text(f"source,target,split\n{rows}")
    assert sum(divide(DataConfig(list=tmp_path / "l.csv"), 0.2, 0.2, 0).counts.values()) == 9
    rows = "".join(f"{'AB'[i % 2]}/{i}.png,{part}\n" for i, part in enumerate(parts))
    (tmp_path / "l.csv").write_text(f"source,split\n{rows}")
    config = DataConfig(list=tmp_path / "l.csv", fields={"label": "classes"})
    division = divide(config, 0.2, 0.2, 0, None, {"source": Picture(), "label": Vector()})
    assert len(division.rows) == 9 and all("label" in record.values for _, record in division.rows)


@pytest.mark.parametrize(
    ("folders", "key"),
    [
        (["train", "val", "test"], "images"),
        (["training", "valid", "validation", "testing"], "images"),
        (["train", "test"], "images"),
        (["A/train", "A/val", "A/test"], "paired"),
        (["trainA", "valA", "testA"], "paired"),
        (["trainA", "validA", "testA"], "unpaired"),
        (["train", "val", "test"], "aligned"),
    ],
)
def test_folders_that_are_divided_already_are_taken_as_one(
    tmp_path: Path, folders: list[str], key: str
) -> None:
    for number, folder in enumerate(folders):
        names = [f"{number}{i}.png" for i in range(4)]
        touch(tmp_path / folder, names)
        if "A" in folder:
            touch(tmp_path / folder.replace("A", "B"), names)
    sides = ("A", "B") if "/" in folders[0] else ("",)
    config = DataConfig(**{key: tuple(tmp_path / side for side in sides)})  # type: ignore[arg-type]
    division = divide(config, 0.2, 0.2, 0)
    every = set(tmp_path.rglob("*.png"))
    assert {placed.source for placed in division.files} == every
    sides = 2 if key == "unpaired" else 1
    assert sum(map(len, find_records(config).validation)) == 4 * sides, "a training takes no more"
    assert f"They were divided already, {4 * sides} for train and " in division.notes[-1]


def test_it_says_what_it_leaves_out(tmp_path: Path) -> None:
    a, b = pairs(tmp_path / "in", 6)
    (b / "3.png").unlink()
    division = divide(DataConfig(paired=(a, b), unmatched="skip"), 0.2, 0.2, 0)
    (note,) = division.notes
    assert "1 file with no partner of the same name" in note and "3.png" in note


@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("form", ["unpaired", "fields", "list"])
def test_what_is_unpaired_opens_again_with_its_masks(tmp_path: Path, form: str, lists: bool) -> None:
    names = [f"{i}.png" for i in range(20)]
    for folder in ("A", "B", "M"):
        touch(tmp_path / folder, names)
    a, b, m = (tmp_path / folder for folder in ("A", "B", "M"))
    rows = "".join(f"A/{name},B/{name},M/{name}\n" for name in names)
    (tmp_path / "l.csv").write_text(f"source,target,mask\n{rows}")
    config = {
        "unpaired": DataConfig(unpaired=(a, b), fields={"mask": m}),
        "fields": DataConfig(fields={"source": a, "target": b, "mask": m}),
        "list": DataConfig(list=tmp_path / "l.csv"),
    }[form]
    fields = {**UNPAIRED, "mask": Mask(like="source")}
    division = divide(config, 0.2, 0.2, 0, None, fields)
    if form == "list" and lists:  # their names need not agree
        with pytest.raises(UsageError, match="no column for mask"):
            write_lists(division, tmp_path / "out")
        return
    write_lists(division, tmp_path / "out") if lists else write_folders(division, tmp_path / "out", "copy")
    records = find_records(DataConfig(**division.places(tmp_path / "out", lists)), fields)
    sides = 2  # each counts its own
    assert sum(map(len, records.train)) == division.counts["train"]
    assert sum(map(len, records.validation)) == division.counts["val"]
    assert len(records.train) == sides
    assert all(r.files["mask"].stem == r.files["source"].stem for r in records.train[0])


def test_what_is_there_is_left_alone_and_failures_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = touch(tmp_path / "in", ["a.png", "b.png", "c.png"])
    division = divide(images(folder), 0.3, 0.0, 0)
    with pytest.raises(UsageError, match="there already"):
        write_folders(division, folder, "copy")
    monkeypatch.setattr("shutil.copyfile", lambda *args: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(OSError, match="No space left"):
        write_folders(division, tmp_path / "out", "copy")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_requests_that_make_no_sense(tmp_path: Path) -> None:
    folder = touch(tmp_path / "in", ["train/1.png", "val/1.png"])
    with pytest.raises(UsageError, match="leave something for training"):
        divide(images(folder), 0.5, 0.5, 0)
    with pytest.raises(UsageError, match="regular expression"):
        divide(images(folder), 0.5, 0.0, 0, "(")
    with pytest.raises(PlanError, match="two files would become"):
        for seed in range(20):  # the parts that are there already have files of one name
            divide(images(folder), 0.5, 0.0, seed, "folder")


def test_a_full_disk_is_noticed_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fill(tmp_path / "in", ["a.png", "b.png"])
    division = divide(images(folder), 0.3, 0.0, 0)
    monkeypatch.setattr("shutil.disk_usage", lambda path: _Usage())
    with pytest.raises(UsageError, match="free"):
        write_folders(division, tmp_path / "out", "copy")
    assert not (tmp_path / "out").exists()


class _Usage:
    free = 1000


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_pictures_of_a_list_are_named_below_the_folder_that_all_lie_in(
    tmp_path: Path, absolute: bool, direction: str
) -> None:
    """B/train/A/1.png would be the place of a picture of B."""
    root = f"{tmp_path}/raw/" if absolute else "raw/"
    rows = []
    for i in range(6):
        for side in "AB":
            touch(tmp_path / "raw" / side, [f"x/{i}.png"])
        rows.append(f"{root}A/x/{i}.png,{root}B/x/{i}.png")
    (tmp_path / "list.csv").write_text("source,target\n" + "\n".join(rows) + "\n")
    config = DataConfig(list=tmp_path / "list.csv", direction=direction)
    division = divide(config, 0.3, 0.0, 0)
    write_folders(division, tmp_path / "set", "copy")
    found = {p.relative_to(tmp_path / "set").parts for p in (tmp_path / "set").rglob("*.png")}
    assert {(side, name) for side, _, name in found} == {(s, f"{i}.png") for s in "AB" for i in range(6)}
    for side, part, name in found:
        (placed,) = (p for p in division.files if p.target.parts == (side, part, name))
        assert placed.source == tmp_path / "raw" / side / "x" / name
    lines = "\n".join(row.partition(",")[0] for row in rows)
    (tmp_path / "a.txt").write_text(lines)
    texts = DataConfig(unpaired=(tmp_path / "a.txt", tmp_path / "a.txt"))
    assert {len(placed.target.parts) for placed in divide(texts, 0.3, 0.0, 0).files} == {3}
