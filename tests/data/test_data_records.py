"""Which files make samples: matching, lists, folders that are held out, sentences for what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from worlds import fill, noise, pairs, write

from img2img.data import DataConfig
from img2img.data.records import find_records
from img2img.errors import PlanError
from img2img.fields import PAIRED, UNPAIRED
from img2img.image.discovery import collision_key


def names(records: tuple) -> list[str]:  # type: ignore[type-arg]
    return [record.key for record in records]


def test_partners_share_their_relative_name_whatever_the_extension(tmp_path: Path) -> None:
    fill(tmp_path / "A", ["1.png", "deep/2.png", "deep/3.bmp"])
    fill(tmp_path / "B", ["deep/2.tif", "1.bmp", "deep/3.png"])
    records = find_records(DataConfig(paired=(tmp_path / "A", tmp_path / "B"), validation_fraction=0)).train[
        0
    ]
    assert [(r.files["source"].name, r.files["target"].name) for r in records] == [  # type: ignore[union-attr]
        ("1.png", "1.bmp"),
        ("2.png", "2.tif"),
        ("3.bmp", "3.png"),
    ]
    assert names(records) == ["1.png", "deep/2.png", "deep/3.bmp"]


def test_missing_partners_are_named_before_a_run_or_left_out(tmp_path: Path) -> None:
    a, b = pairs(tmp_path, 3)
    write(a, "lonely.png", noise(0))
    write(b, "widow.png", noise(0))
    with pytest.raises(PlanError, match=r"2 files .*no partner.*lonely\.png.*widow\.png.*unmatched: skip"):
        find_records(DataConfig(paired=(a, b)))
    records = find_records(DataConfig(paired=(a, b), unmatched="skip", validation_fraction=0))
    assert len(records.train[0]) == 3
    assert "lonely.png" in records.notes[0]


NFC, NFD = "\u00e9", "e\u0301"  # the same letter as Linux and as macOS writes it


def test_letter_case_and_unicode_form_keep_no_partners_apart(tmp_path: Path) -> None:
    a = fill(tmp_path / "A", [f"{NFC}.png", f"{NFD}tude/1.png", "IMG_2.PNG", "Deep/3.png", "x.png"])
    b = fill(tmp_path / "B", [f"{NFD}.png", f"{NFC}tude/1.bmp", "img_2.png", "deep/3.PNG", "x.png"])
    records = find_records(DataConfig(paired=(a, b), validation_fraction=0)).train[0]
    assert len(records) == 5
    for record in records:
        assert record.files["target"] is not None
        one, other = (
            collision_key(str(p.with_suffix("").relative_to(tmp_path))) for p in record.files.values()
        )
        assert (one[0], other[0]) == ("a", "b") and one[1:] == other[1:]
    fill(a, ["y.png", "Y.png"])
    fill(b, ["y.png", "Y.png"])
    records = find_records(DataConfig(paired=(a, b), validation_fraction=0)).train[0]
    assert [
        (r.files["source"].name, r.files["target"].name)
        for r in records
        if r.files["target"] and r.key.lower() == "y.png"
    ] == [
        ("Y.png", "Y.png"),
        ("y.png", "y.png"),
    ]
    (b / "Y.png").rename(b / "z.png")
    (b / "y.png").unlink()
    with pytest.raises(PlanError, match="3 files"):  # which of two it goes with is not for us to say
        find_records(DataConfig(paired=(a, b)))


def test_a_list_may_name_files_in_another_letter_case_and_unicode_form(tmp_path: Path) -> None:
    fill(tmp_path / "Bilder", [f"{NFD}.PNG", "b.png"])
    rows = ["source,target", f"bilder/{NFC}.png,Bilder/B.png"]
    (tmp_path / "list.csv").write_text("\n".join(rows), "utf-8")
    (record,) = find_records(DataConfig(list=tmp_path / "list.csv", validation_fraction=0)).train[0]
    assert record.files["source"] == tmp_path / "Bilder" / f"{NFD}.PNG"
    assert record.files["target"] == tmp_path / "Bilder" / "b.png"
    fill(tmp_path / "Bilder", ["c.png", "C.png"])
    (tmp_path / "list.txt").write_text(f"Bilder/{NFC}.png\n", "utf-8")
    config = DataConfig(unpaired=(tmp_path / "list.txt", tmp_path / "list.txt"), validation_fraction=0)
    assert find_records(config).train[0][0].files["source"].name == f"{NFD}.PNG"


def test_kinds_that_are_not_read_are_told_by_number_and_name(tmp_path: Path) -> None:
    """Not as files without a partner, and not in silence."""
    a, b = pairs(tmp_path, 5)
    for i in (3, 4):
        (a / f"{i}.png").unlink()
        (a / f"{i}.PSD").write_bytes(b"8BPS" + bytes(30))
    with pytest.raises(PlanError) as caught:
        find_records(DataConfig(paired=(a, b)))
    assert "2 files are PSD, which is not read" in str(caught.value)
    assert "partner of the same name" not in str(caught.value) and "unmatched: skip" in str(caught.value)
    records = find_records(DataConfig(paired=(a, b), unmatched="skip", validation_fraction=0))
    assert len(records.train[0]) == 3 and len(records.notes) == 1 and "2 files are PSD" in records.notes[0]
    records = find_records(DataConfig(images=a, validation_fraction=0))
    assert len(records.train[0]) == 3 and "2 files are PSD" in records.notes[0]
    for path in a.glob("*.png"):
        path.unlink()
    with pytest.raises(PlanError, match="2 files are PSD"):
        find_records(DataConfig(images=a))


def test_trash_links_and_hidden_files_are_treated_as_everywhere(tmp_path: Path) -> None:
    a, b = pairs(tmp_path, 3)
    write(a, ".ipynb_checkpoints/1-checkpoint.png", noise(0))
    write(a, ".Trash-1000/files/old.png", noise(0))
    write(a, ".hidden.png", noise(0))
    stored = write(tmp_path, "store/s.png", noise(7))
    for folder in (a, b):
        (folder / "linked.png").symlink_to(stored)
    (a / "more").symlink_to(tmp_path / "store")
    records = find_records(DataConfig(paired=(a, b), validation_fraction=0))
    assert [record.key for record in records.train[0]] == ["0.png", "1.png", "2.png", "linked.png"]
    assert len(records.notes) == 2
    assert "data.hidden=true" in records.notes[0] and "data.follow_symlinks=true" in records.notes[1]
    config = DataConfig(paired=(a, b), follow_symlinks=True, hidden=True, unmatched="skip")
    assert {path.name for path in find_records(config).alone} == {".hidden.png", "s.png"}


def test_a_name_for_two_files_is_an_error_with_both(tmp_path: Path) -> None:
    a, b = pairs(tmp_path, 3)
    write(a, "1.bmp", noise(0))
    with pytest.raises(PlanError, match=r"one name stands for several files: .*1\.bmp.*1\.png"):
        find_records(DataConfig(paired=(a, b)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("img{}_A.png", "img{}_B.png"),
        ("photo-{}.jpg", "photo-{}_mask.png"),
        ("real_{:03}.png", "fake_{:03}.png"),
        ("{}.input.png", "{}.output.png"),
        ("sub/{}-edges.png", "sub/{}.png"),
        ("A_scene2_{}_x.png", "B_scene2_{}_y.png"),
        ("Photo{}.PNG", "photo{}_Label.png"),
        ("IMG_{}\u00e9.png", "IMG_{}e\u0301_depth.png"),
    ],
)
def test_partners_may_differ_in_what_a_whole_folder_shares(tmp_path: Path, one: str, other: str) -> None:
    numbers = (1, 2, 10, 11, 12)
    a = fill(tmp_path / "A", [one.format(n) for n in numbers])
    b = fill(tmp_path / "B", [other.format(n) for n in numbers])
    records = find_records(DataConfig(paired=(a, b), validation_fraction=0))
    assert [
        (str(r.files["source"].relative_to(a)), str(r.files["target"].relative_to(b)))
        for r in records.train[0]
        if r.files["target"]
    ] == [(one.format(n), other.format(n)) for n in numbers]
    (note,) = records.notes
    assert "goes with" in note and "5 pairs" in note


def test_a_lone_file_among_partners_of_other_names_is_named(tmp_path: Path) -> None:
    a = fill(tmp_path / "A", [f"{n}_A.png" for n in range(5)])
    b = fill(tmp_path / "B", [f"{n}_B.png" for n in range(4)])
    with pytest.raises(PlanError, match=r"1 file with no partner .*4_A\.png.*unmatched: skip"):
        find_records(DataConfig(paired=(a, b)))


def test_where_names_are_equal_nothing_is_left_out_of_them(tmp_path: Path) -> None:
    """Three strays that share a word on each side are strays."""
    a = fill(tmp_path / "A", ["1.png", "old 1.png", "old 2.png"])
    b = fill(tmp_path / "B", ["1.png", "new 1.png", "new 2.png"])
    assert len(find_records(DataConfig(paired=(a, b), unmatched="skip")).alone) == 4


def test_words_that_several_files_have_decide_nothing(tmp_path: Path) -> None:
    a = fill(tmp_path / "A", ["x-1_A.png", "x_1_A.png", "x_2_A.png"])
    b = fill(tmp_path / "B", ["x_1_B.png", "x_2_B.png"])
    records = find_records(DataConfig(paired=(a, b), unmatched="skip", validation_fraction=0))
    assert [r.files["source"].name for r in records.train[0]] == ["x_2_A.png"]


def test_folders_that_do_not_match_at_all(tmp_path: Path) -> None:
    fill(tmp_path / "A", ["a1.png"])
    fill(tmp_path / "B", ["b1.png"])
    with pytest.raises(PlanError, match=r"no file in .* has a partner .*a1\.png and b1\.png.*data\.list"):
        find_records(DataConfig(paired=(tmp_path / "A", tmp_path / "B")))


@pytest.mark.parametrize("kind", ["aligned", "images", "unpaired", "paired"])
def test_folders_that_are_missing_or_empty(tmp_path: Path, kind: str) -> None:
    (tmp_path / "empty").mkdir()
    good = fill(tmp_path / "good", ["1.png"])
    for bad, sentence in (
        (tmp_path / "nowhere", "there is no folder"),
        (tmp_path / "empty", "holds no pictures"),
    ):
        given = (good, bad) if kind in ("paired", "unpaired") else bad
        with pytest.raises(PlanError, match=sentence):
            find_records(DataConfig(**{kind: given}))


def test_training_and_held_out_folders_are_found(tmp_path: Path) -> None:
    fill(tmp_path / "train", ["1.png", "2.png"])
    fill(tmp_path / "test", ["4.png"])
    records = find_records(DataConfig(aligned=tmp_path))
    assert names(records.train[0]) == ["1.png", "2.png"]
    assert names(records.validation[0]) == ["4.png"]
    fill(tmp_path / "val", ["3.png"])
    records = find_records(DataConfig(aligned=tmp_path))
    assert names(records.validation[0]) == ["3.png"]
    assert records.origin.endswith("val")
    fill(tmp_path / "own", ["5.png"])
    records = find_records(DataConfig(aligned=tmp_path, validation=tmp_path / "own"))
    assert names(records.validation[0]) == ["5.png"]


@pytest.mark.parametrize(
    ("train", "test"),
    [(("A/train", "B/train"), ("A/val", "B/val")), (("trainA", "trainB"), ("testA", "testB"))],
)
@pytest.mark.parametrize("kind", ["paired", "unpaired"])
def test_one_folder_that_holds_both(
    tmp_path: Path, kind: str, train: tuple[str, str], test: tuple[str, str]
) -> None:
    for folder in train:
        fill(tmp_path / folder, ["1.png", "2.png"])
    for folder in test:
        fill(tmp_path / folder, ["7.png"])
    records = find_records(DataConfig(**{kind: tmp_path}))
    assert (names(records.train[0]), names(records.validation[0])) == (["1.png", "2.png"], ["7.png"])
    assert records.train[0][0].paths[0].is_relative_to(tmp_path / train[0])
    second = (
        records.train[1][0].files["target"] if kind == "unpaired" else records.train[0][0].files["target"]
    )
    assert second is not None and second.is_relative_to(tmp_path / train[1])
    assert "held out in" in records.origin


@pytest.mark.parametrize(
    ("kind", "train", "beside"),
    [
        ("unpaired", ("trainA", "trainB"), ("testA", "testB")),
        ("paired", ("trainA", "trainB"), ("valA", "valB")),
        ("aligned", ("train",), ("val",)),
    ],
)
def test_folders_for_training_named_themselves(
    tmp_path: Path, kind: str, train: tuple[str, ...], beside: tuple[str, ...]
) -> None:
    for folder in train:
        fill(tmp_path / folder, ["1.png", "2.png"])
    for folder in beside:
        fill(tmp_path / folder, ["7.png"])
    records = find_records(DataConfig(**{kind: tuple(tmp_path / folder for folder in train)}))
    assert (names(records.train[0]), names(records.validation[0])) == (["1.png", "2.png"], ["7.png"])


def test_unpaired_pictures_are_all_trained_on(tmp_path: Path) -> None:
    fill(tmp_path / "a", [f"{i}.png" for i in range(30)])
    fill(tmp_path / "b", [f"{i}.png" for i in range(20)])
    records = find_records(DataConfig(unpaired=(tmp_path / "a", tmp_path / "b")))
    assert (len(records.train[0]), len(records.train[1]), records.validation) == (30, 20, ())
    records = find_records(DataConfig(unpaired=(tmp_path / "a", tmp_path / "b"), validation_fraction=0.2))
    assert records.has_validation


@pytest.mark.parametrize("form", ["unpaired", "fields", "list"])
def test_nothing_is_split_off_where_the_fields_have_no_partners(tmp_path: Path, form: str) -> None:
    a, b = pairs(tmp_path, 12)
    (tmp_path / "l.csv").write_text("source,target\n" + "".join(f"A/{i}.png,B/{i}.png\n" for i in range(12)))
    given: dict[str, Any] = {
        "unpaired": {"unpaired": (a, b)},
        "fields": {"fields": {"source": a, "target": b}},
        "list": {"list": tmp_path / "l.csv"},
    }[form]
    records = find_records(DataConfig(**given), UNPAIRED)
    assert [len(part) for part in records.train] == [12, 12] and not records.has_validation
    records = find_records(DataConfig(**given, validation_fraction=0.3), UNPAIRED)
    assert records.has_validation and sum(map(len, records.train)) < 24
    if form != "unpaired":
        assert find_records(DataConfig(**given), PAIRED).has_validation


def test_one_folder_without_two_inside(tmp_path: Path) -> None:
    fill(tmp_path, ["1.png"])
    with pytest.raises(PlanError, match="no two folders A and B"):
        find_records(DataConfig(paired=tmp_path))


def test_a_part_is_split_off_by_name(tmp_path: Path) -> None:
    fill(tmp_path / "here", [f"{i}.png" for i in range(30)], height=2, width=2)
    records = find_records(DataConfig(aligned=tmp_path / "here", validation_fraction=0.2))
    held_out = set(names(records.validation[0]))
    assert held_out and not held_out & set(names(records.train[0]))
    assert len(held_out) + len(records.train[0]) == 30
    fill(tmp_path / "here", [f"new {i}.png" for i in range(10)], height=2, width=2)
    more = find_records(DataConfig(aligned=tmp_path / "here", validation_fraction=0.2))
    assert held_out <= set(names(more.validation[0]))
    assert not set(names(records.train[0])) & set(names(more.validation[0]))
    assert "split off" in more.origin


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_lists(tmp_path: Path, suffix: str) -> None:
    pairs(tmp_path, 4)
    rows = [{"source": f"A/{i}.png", "target": f"B/{(i + 1) % 4}.png"} for i in range(4)]
    rows[3]["split"] = "val"
    for row in rows[:3]:
        row["split"] = "train"
    path = tmp_path / f"pairs{suffix}"
    if suffix == ".csv":
        path.write_text("source,target,split\n" + "".join(f"{','.join(row.values())}\n" for row in rows))
    else:
        path.write_text("\n".join(map(json.dumps, rows)))
    records = find_records(DataConfig(list=path))
    assert [(r.files["source"].name, r.files["target"].name) for r in records.train[0]] == [  # type: ignore[union-attr]
        ("0.png", "1.png"),
        ("1.png", "2.png"),
        ("2.png", "3.png"),
    ]
    assert names(records.validation[0]) == ["A/3.png"]


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("l.csv", "source,target\nA/0.png,B/no.png\n", r"do not exist: .*no\.png"),
        (
            "l.csv",
            "input,output\nA/0.png,B/0.png\n",
            "line 2: source and target is missing or empty; .* has input, output",
        ),
        ("l.csv", "source,target\nA/0.png,\n", "line 2: target is missing or empty; .* this one has source"),
        ("l.csv", "source,target,split\nA/0.png,B/0.png,dev\n", "split is 'dev'"),
        ("l.jsonl", '{"source": "A/0.png"\n', "line 1: is not"),
        ("l.jsonl", "", "names no samples"),
        ("nowhere.csv", None, "cannot be read"),
    ],
)
def test_lists_that_are_wrong(tmp_path: Path, name: str, text: str | None, sentence: str) -> None:
    pairs(tmp_path, 2)
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(PlanError, match=sentence):
        find_records(DataConfig(list=tmp_path / name))


def test_heaps_from_text_files(tmp_path: Path) -> None:
    fill(tmp_path / "x", ["1.png", "2.png"])
    for domain in "AB":
        (tmp_path / f"{domain}.txt").write_text("# mine\nx/1.png\n\nx/2.png\n")
    records = find_records(
        DataConfig(unpaired=(tmp_path / "A.txt", tmp_path / "B.txt"), validation_fraction=0)
    )
    assert names(records.train[0]) == names(records.train[1]) == ["x/1.png", "x/2.png"]
    (tmp_path / "A.txt").write_text("x/9.png\n")
    with pytest.raises(PlanError, match=r"do not exist: .*9\.png"):
        find_records(DataConfig(unpaired=(tmp_path / "A.txt", tmp_path / "B.txt")))


def test_several_folders_keep_their_names_apart(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        fill(tmp_path / folder, ["1.png"])
    records = find_records(DataConfig(images=(tmp_path / "one", tmp_path / "two"), validation_fraction=0))
    assert names(records.train[0]) == ["one/1.png", "two/1.png"]
    for folder in ("one", "two"):
        for part in ("train", "val"):
            fill(tmp_path / "deep" / folder / part, ["1.png"])
    records = find_records(DataConfig(images=(tmp_path / "deep" / "one", tmp_path / "deep" / "two")))
    assert names(records.train[0]) == ["one/train/1.png", "two/train/1.png"]
    assert names(records.validation[0]) == ["one/val/1.png", "two/val/1.png"]
