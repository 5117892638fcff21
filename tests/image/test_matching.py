"""Which file goes with which."""

from __future__ import annotations

from pathlib import Path

import pytest

from img2img.errors import PlanError
from img2img.image.matching import HIGH, LOW, File, find, match

NOTHING: frozenset[str] = frozenset()


def side(*names: str) -> list[File]:
    return [File(Path("somewhere") / name, Path(name)) for name in names]


def matched(targets: list[str], others: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    found = match(side(*targets), side(*others), "prediction")
    pairs = {a.name.as_posix(): b.name.as_posix() for a, b in found.pairs}
    return pairs, {path.name: reason for path, reason in found.problems}


@pytest.mark.parametrize(
    ("targets", "others"),
    [
        (["a.png", "b.png"], ["a.png", "b.png"]),
        (["a.bmp", "b.jpg"], ["a.png", "b.webp"]),
        (["baby.bmp", "bird.bmp"], ["baby_RCAN_BIX4.png", "bird_RCAN_BIX4.png"]),
        (["0801.png", "0802.png"], ["0801x4.png", "0802x4.png"]),
        (["0801x4.png"], ["0801.png"]),
        (["img_001_SRF_4_HR.png", "img_002_SRF_4_HR.png"], ["img_001_SRF_4_LR.png", "img_002_SRF_4_LR.png"]),
        (["img_001_SRF_4_HR.png", "img_002_SRF_4_HR.png"], ["sr-001.png", "sr-002.png"]),
        (["baby.png", "baby_2.png"], ["baby_x4.png", "baby_2_x4.png"]),
        (["test/a.png", "train/a.png"], ["test/a_out.png", "train/a_out.png"]),
        (["1.png", "10.png", "11.png"], ["1_fake.png", "10_fake.png", "11_fake.png"]),
        (["Ä b.png", "c.png"], ["ä b_x2.png", "c_x2.png"]),
        (["a.png", "a.jpg"], ["a.png", "a.jpg"]),
        (["\u00e9.png", "b.png"], ["e\u0301.png", "b.png"]),  # as Linux and as macOS writes it
        (["caf\u00e9_1.png", "the\u0301_1.png"], ["cafe\u0301_1_x4.png", "th\u00e9_1_x4.png"]),
        (["IMG_1.JPG", "IMG_2.JPG"], ["img_1.png", "img_2.png"]),
        (["Test/a.png", "b.png"], ["test/A.PNG", "b.png"]),
        (["\u00c9/a.png", "b.png"], ["e\u0301/a_x4.png", "b_x4.png"]),
    ],
)
def test_partners(targets: list[str], others: list[str]) -> None:
    pairs, problems = matched(targets, others)
    assert pairs == dict(zip(targets, others, strict=True))
    assert not problems


def test_the_order_is_that_of_the_targets() -> None:
    found = match(side("a.png", "b.png", "c.png"), side("c_x4.png", "a.png", "b_x4.png"), "prediction")
    assert [target.name.name for target, _ in found.pairs] == ["a.png", "b.png", "c.png"]
    assert found.notes == ["2 of 3 pairs have different names: b_x4.png goes with b.png, and so on."]


def test_what_is_left_over_is_named() -> None:
    pairs, problems = matched(["a.png", "b.png", "c.png"], ["a.png", "c.png", "z.png"])
    assert pairs == {"a.png": "a.png", "c.png": "c.png"}
    assert problems == {"b.png": "no prediction matches its name", "z.png": "no target matches its name"}


def test_folders_must_be_the_same() -> None:
    found = match(side("b.png"), side("sub/b.png"), "input")
    assert not found.pairs
    assert [(path.as_posix(), reason) for path, reason in found.problems] == [
        ("somewhere/b.png", "no input matches its name"),
        ("somewhere/sub/b.png", "no target matches its name"),
    ]


def test_rivals_are_named_and_left_out() -> None:
    pairs, problems = matched(["a.png", "b.png"], ["a_x2.png", "a_x4.png", "b_x4.png"])
    assert pairs == {"b.png": "b_x4.png"}
    assert problems == {
        "a.png": "several predictions match its name: a_x2.png, a_x4.png",
        "a_x2.png": "another file matches the target a.png, too",
        "a_x4.png": "another file matches the target a.png, too",
    }
    pairs, problems = matched(["a.png"], ["a.jpg", "a.webp"])
    assert not pairs and set(problems) == {"a.png", "a.jpg", "a.webp"}


def test_letter_case_decides_where_it_has_to() -> None:
    assert matched(["a.png", "A.png"], ["A.png", "a.png"])[0] == {"a.png": "a.png", "A.png": "A.png"}
    assert matched(["a.png"], ["A.png", "a.jpg"])[0] == {"a.png": "a.jpg"}
    pairs, problems = matched(["aa.png", "b.png"], ["aA.png", "Aa.png", "b.png"])
    assert pairs == {"b.png": "b.png"} and "several predictions match" in problems["aa.png"]


def test_strangers_do_not_become_partners() -> None:
    assert matched(["cat.png"], ["car.png"])[0] == {}
    assert matched(["scene_1.png"], ["scene_10.png"])[0] == {}
    assert matched(["a.png", "b.png"], ["c.png", "d.png"])[0] == {}


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_both_resolutions_in_one_folder(tmp_path: Path) -> None:
    touch(tmp_path, "img_1_HR.png", "img_1_LR.png", "img_2_HR.png", "img_2_LR.png", "lr_alone.png")
    targets, inputs = find(tmp_path, "target", HIGH, LOW), find(tmp_path, "input", LOW, HIGH)
    assert [file.name.name for file in targets.found] == ["img_1_HR.png", "img_2_HR.png", "lr_alone.png"]
    assert [file.name.name for file in inputs.found] == ["img_1_LR.png", "img_2_LR.png", "lr_alone.png"]
    assert "2 files such as img_1_LR.png are not taken as target" in targets.notes[0]
    assert len(find(tmp_path, "prediction", NOTHING, NOTHING).found) == 5


def test_places_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="no such folder or file"):
        find(tmp_path / "nothing", "target", HIGH, LOW)
    touch(tmp_path, "notes.txt")
    with pytest.raises(PlanError, match="no picture here"):
        find(tmp_path, "target", HIGH, LOW)


def test_links_are_followed(tmp_path: Path) -> None:
    touch(tmp_path / "store", "1.png", "2.png")
    (tmp_path / "set").mkdir()
    try:
        (tmp_path / "set" / "1.png").symlink_to(tmp_path / "store" / "1.png")
        (tmp_path / "set" / "more").symlink_to(tmp_path / "store", target_is_directory=True)
    except OSError:
        pytest.skip("this system lets nobody make links")
    found = find(tmp_path / "set", "target", HIGH, LOW)
    assert [file.name.as_posix() for file in found.found] == ["1.png"]
    assert "1 link to a folder" in found.notes[0] and "`follow_symlinks`" in found.notes[0]
    found = find(tmp_path / "set", "target", HIGH, LOW, follow_symlinks=True)
    assert [file.name.as_posix() for file in found.found] == ["1.png", "more/1.png", "more/2.png"]
    assert not found.problems and not found.notes
