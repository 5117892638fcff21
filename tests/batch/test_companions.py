"""A picture is processed with what belongs to it: found by name, missing by itself, known to the next run."""

from __future__ import annotations

import os
import threading
import unicodedata
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner
from folders import fill, picture

import img2img
from img2img.batch import Result, Rules, Summary, convert_folder, exit_code, plan, run
from img2img.cli.convert import convert
from img2img.cli.options import WITH, BatchOptions, batch_options
from img2img.errors import PlanError, UsageError
from img2img.image import Image, Limits, read_image, write_image


class Blend:
    """Black where the mask is black; records which pictures came together."""

    def __init__(self, *conditions: str) -> None:
        self.conditions = conditions or ("mask",)
        self.calls: list[int] = []

    def group_key(self, image: Image) -> Hashable:
        return image.pixels.shape[2]

    def __call__(self, images: Sequence[Image], **given: Sequence[Any]) -> list[Image]:
        assert set(given) == set(self.conditions)
        self.calls.append(len(images))
        results = []
        for number, image in enumerate(images):
            pixels = image.pixels
            if "mask" in given:
                pixels = np.where(given["mask"][number].pixels > 127, pixels, 0)
            if "gain" in given:
                pixels = (pixels * given["gain"][number][0]).astype(np.uint8)
            results.append(image.replace(pixels=pixels))
        return results


def mask(height: int = 6, width: int = 8, seed: int = 0) -> Image:
    rng = np.random.default_rng(seed + 100)
    return Image((rng.random((height, width, 1)) > 0.5).astype(np.uint8) * 255)


def masks(folder: Path, names: Sequence[str], **size: int) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(mask(seed=number, **size), folder / name)
    return folder


def go(
    source: Path, output: Path, process: Any, companions: Mapping[str, Any], **options: Any
) -> dict[str, Result]:
    results = run(plan([source], output, Rules(), companions), process, **options)
    return {result.source.relative_to(source).as_posix(): result for result in results}


def statuses(results: Mapping[str, Result]) -> dict[str, str]:
    return {name: result.status for name, result in sorted(results.items())}


def test_companions_are_found_by_tree_and_name_whatever_the_extension(tmp_path: Path) -> None:
    """Also when one file system writes é as two characters and the other as one."""
    composed, decomposed = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    names = ["a.png", "sub/a.jpg", f"{composed}.bmp", "b.gif.png"]
    source = fill(tmp_path / "in", names)
    found = masks(tmp_path / "masks", ["a.tif", "sub/a.png", f"{decomposed}.png", "b.gif.png"])
    process = Blend()
    results = go(source, tmp_path / "out", process, {"mask": found})
    assert set(statuses(results).values()) == {"done"}, results
    for name, mask_name in (("a.png", "a.tif"), (f"{composed}.bmp", f"{decomposed}.png")):
        expected = np.where(read_image(found / mask_name).pixels > 127, read_image(source / name).pixels, 0)
        assert (read_image(tmp_path / "out" / name).pixels == expected).all()
    assert sum(process.calls) == 4 and len(process.calls) < 4, "equal sizes share a call"


def test_letter_case_counts_only_where_there_are_several(tmp_path: Path) -> None:
    source = fill(tmp_path / "in", ["IMG_1.PNG", "img_2.png", "Img_3.png"])
    found = masks(tmp_path / "masks", ["img_1.png", "img_2.png", "IMG_2.tif", "img_3.png", "IMG_3.png"])
    results = go(source, tmp_path / "out", Blend(), {"mask": found})
    expected = np.where(mask(seed=1).pixels > 127, read_image(source / "img_2.png").pixels, 0)
    assert (read_image(tmp_path / "out" / "img_2.png").pixels == expected).all()
    assert statuses(results) == {"IMG_1.PNG": "done", "Img_3.png": "failed", "img_2.png": "done"}
    assert "can have one mask, and there are 2" in results["Img_3.png"].reason


def test_what_others_made_of_a_picture_is_found_under_its_whole_name(tmp_path: Path) -> None:
    """Results for a.gif are called a.gif.png."""
    source = fill(tmp_path / "in", ["a.png"])
    (source / "a.png").rename(source / "a.gif")  # the content decides what it is
    assert set(
        statuses(
            go(source, tmp_path / "out", Blend(), {"mask": masks(tmp_path / "m", ["a.gif.png"])})
        ).values()
    ) == {"done"}


def test_one_missing_and_one_double_companion_fail_by_themselves(tmp_path: Path) -> None:
    source = fill(tmp_path / "in", [f"{i}.png" for i in range(12)])
    found = masks(tmp_path / "masks", [f"{i}.png" for i in range(11)])
    masks(found, ["3.tif"])
    (found / "5.png").write_bytes((found / "5.png").read_bytes()[:40])
    summary = convert_folder(source, tmp_path / "out", Blend(), companions={"mask": found})
    reasons = {path.name: reason for path, reason in summary.failures}
    assert summary.done == 9 and set(reasons) == {"3.png", "5.png", "11.png"}
    assert "no mask" in reasons["11.png"] and "masks/11.png" in reasons["11.png"]
    assert "can have one mask, and there are 2" in reasons["3.png"] and "3.tif" in reasons["3.png"]
    assert "its mask" in reasons["5.png"] and "masks/5.png" in reasons["5.png"]
    assert exit_code(summary, matched=True) == 1


@pytest.mark.parametrize("place", ["masks", "masks.csv"])
def test_a_place_without_a_companion_for_any_file_is_one_sentence_and_no_work(
    tmp_path: Path, place: str
) -> None:
    source = fill(tmp_path / "in", ["a.png", "sub/b.png"])
    masks(tmp_path / "masks", ["a_mask.png", "sub/b_mask.png"])
    (tmp_path / "masks.csv").write_text("file,mask\nx/a.png,masks/a_mask.png\n")
    with pytest.raises(PlanError, match=rf"{place} has no mask for any of the 2 files\. .* a\.png, there "):
        plan([source], tmp_path / "out", companions={"mask": tmp_path / place})
    masks(tmp_path / "masks", ["sub/b.png"])
    with (tmp_path / "masks.csv").open("a") as file:
        file.write("sub/b.png,masks/a_mask.png\n")
    work = plan([source], tmp_path / "out", companions={"mask": tmp_path / place})
    assert len(work.items) == len(work.unreadable) == 1, "one that lacks it fails by itself"


def test_one_file_and_numbers_serve_all(tmp_path: Path) -> None:
    source = fill(tmp_path / "in", ["a.png", "sub/b.png"])
    write_image(mask(), tmp_path / "mask.png")
    places = {"mask": tmp_path / "mask.png", "gain": [0.5]}
    results = go(source, tmp_path / "out", Blend("mask", "gain"), places)
    assert statuses(results) == {"a.png": "done", "sub/b.png": "done"}
    expected = np.where(mask().pixels > 127, read_image(source / "sub/b.png").pixels, 0) // 2
    assert (read_image(tmp_path / "out/sub/b.png").pixels == expected).all()


CSV = "file,gain,mask\na.png,0.5,masks/x.png\nsub/b.jpg,0.25,masks/x.png\n"
COLUMNS = "source,split,gain\nin/a.png,train,0.5\nin/sub/b.jpg,val,0.25\n"
JSON = '{"file": "a", "gain": [0.5]}\n\n{"file": "sub/b.png", "gain": 0.25}\n'


@pytest.mark.parametrize(("name", "text"), [("t.csv", CSV), ("t.csv", COLUMNS), ("t.jsonl", JSON)])
def test_a_table_holds_numbers_and_paths(tmp_path: Path, name: str, text: str) -> None:
    """By the place in the tree, with or without extension, or by the path as in the table of a training."""
    source = fill(tmp_path / "in", ["a.png", "sub/b.jpg"])
    masks(tmp_path / "masks", ["x.png"])
    (tmp_path / name).write_text(text)
    places = dict.fromkeys(["gain", "mask"] if "masks" in text else ["gain"], tmp_path / name)
    results = go(source, tmp_path / "out", Blend(*places), places)
    assert set(statuses(results).values()) == {"done"}, results
    expected = read_image(source / "a.png").pixels // 2
    if "mask" in places:
        expected = np.where(read_image(tmp_path / "masks" / "x.png").pixels > 127, expected, 0)
    assert (read_image(tmp_path / "out" / "a.png").pixels == expected).all()
    (tmp_path / name).write_text(text.replace("0.25", "0.75"))
    assert statuses(go(source, tmp_path / "out", Blend(*places), places)) == {
        "a.png": "skipped",
        "sub/b.jpg": "done",
    }


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("t.csv", "file,gain\n,1\n", "line 2: names no file"),
        ("t.csv", "file,gain\na.png,\n", "line 2: gain is empty"),
        ("t.csv", "file,hat\na.png,red\nb.png,blue\n", "line 2: has neither .* all 2 lines"),
        ("t.csv", "file,gain\n", "no rows"),
        ("t.csv", "file,gain,gain\na.png,1,2\n", "line 1: the column gain is there twice"),
        ("t.csv", "file,gain\na.png,1,5\n", "line 2: has 3 cells"),
        ("t.jsonl", "[1]\n", "line 1"),
        ("t.jsonl", "{\n", "line 1"),
        ("t.jsonl", '{"file": "a", "gain": 1, "gain": 2}', "line 1: the column gain is there twice"),
    ],
)
def test_a_table_that_says_nothing_is_told(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(PlanError, match=words):
        plan([fill(tmp_path / "in", ["a.png"])], tmp_path / "out", companions={"gain": tmp_path / name})


def test_the_paths_in_a_table_are_found_whatever_their_case_form_and_slashes(tmp_path: Path) -> None:
    """Tables are written on other systems; a path that leads nowhere is the failure of its file."""
    composed, apart = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    source = fill(tmp_path / "in", [f"{number}.png" for number in range(6)])
    masks(tmp_path / "Masks", ["0.png", "1.png", f"{composed}.png"])
    cells = ["Masks/0.png", "Masks\\1.png", f"masks/{apart}.PNG", "Masks/9.png", "m\0.png", "x" * 5000]
    lines = [f"{number}.png;{cell}" for number, cell in enumerate(cells)]
    (tmp_path / "t.csv").write_bytes("\r\n".join(["\ufefffile;mask", *lines]).encode())
    results = go(source, tmp_path / "out", Blend(), {"mask": tmp_path / "t.csv"})
    assert list(statuses(results).values()) == ["done"] * 3 + ["failed"] * 3
    reasons = [results[f"{number}.png"].reason for number in (3, 4, 5)]
    assert "Masks/9.png, which does not exist" in reasons[0] and "no name that a file can have" in reasons[1]
    assert "unexpected" not in " ".join(reasons)
    (tmp_path / "t.csv").write_text("file,mask\n0.png,mask/0.png\n1.png,mask/1.png\n")
    with pytest.raises(
        PlanError, match=r"line 2: mask is .*/mask/0.png, which does not exist\. .* all 2 lines"
    ):
        go(source, tmp_path / "none", Blend(), {"mask": tmp_path / "t.csv"})


@pytest.mark.parametrize("checksum", [False, True])
def test_a_changed_companion_makes_its_output_stale(tmp_path: Path, checksum: bool) -> None:
    source, output = fill(tmp_path / "in", ["a.bmp", "b.bmp"]), tmp_path / "out"
    found = masks(tmp_path / "masks", ["a.bmp", "b.bmp"])

    def again(gain: float = 1.0) -> dict[str, str]:
        places = {"mask": found, "gain": [gain]}
        return statuses(go(source, output, Blend("mask", "gain"), places, checksum=checksum))

    assert again() == {"a.bmp": "done", "b.bmp": "done"}
    assert again() == {"a.bmp": "skipped", "b.bmp": "skipped"}
    before = {name: (found / name).stat().st_mtime_ns for name in ("a.bmp", "b.bmp")}
    write_image(mask(seed=9), found / "a.bmp")
    os.utime(found / "a.bmp", ns=(1, before["a.bmp"] + (not checksum)))
    os.utime(found / "b.bmp", ns=(1, before["b.bmp"] + checksum))
    assert again() == {"a.bmp": "done", "b.bmp": "skipped"}
    assert again() == {"a.bmp": "skipped", "b.bmp": "skipped"}
    assert again(gain=0.5) == {"a.bmp": "done", "b.bmp": "done"}
    (found / "b.bmp").rename(found / "b.png")  # the same file under another name
    assert again(gain=0.5) == {"a.bmp": "skipped", "b.bmp": "skipped"}


def test_with_and_without_companions_are_different_results(tmp_path: Path) -> None:
    source, output = fill(tmp_path / "in", ["a.png"]), tmp_path / "out"
    white = tmp_path / "white.png"
    write_image(Image(np.full((6, 8, 1), 255, np.uint8)), white)
    plain = Blend("nothing")
    plain.conditions = ()
    assert statuses(go(source, output, plain, {})) == {"a.png": "done"}
    assert statuses(go(source, output, Blend(), {"mask": white})) == {"a.png": "done"}
    assert statuses(go(source, output, plain, {})) == {"a.png": "done"}


def test_companions_of_different_sizes_do_not_share_a_call(tmp_path: Path) -> None:
    source = fill(tmp_path / "in", [f"{i}.png" for i in range(6)])
    found = masks(tmp_path / "masks", [f"{i}.png" for i in range(6)])
    for i in (1, 4):
        write_image(mask(1, 1), found / f"{i}.png")
    process = Blend()
    assert set(statuses(go(source, tmp_path / "out", process, {"mask": found}, jobs=1)).values()) == {"done"}
    assert sorted(process.calls) == [2, 4]


def test_a_companion_is_an_input_and_never_written(tmp_path: Path) -> None:
    source, found = fill(tmp_path / "in", ["a.png", "m/a.png"]), masks(tmp_path / "masks", ["a.png"])
    for output in (found, found / "deeper"):
        with pytest.raises(PlanError, match="input folder"):
            plan([source], output, companions={"mask": found})
    with pytest.raises(PlanError, match="would replace the input"):
        plan(
            [source / "a.png"],
            tmp_path / "out.png",
            companions={"mask": masks(tmp_path, ["out.png"]) / "out.png"},
        )
    inside = masks(tmp_path / "out", ["m/a.png", "m/m/a.png"]) / "m"
    with pytest.raises(PlanError, match="inputs are never written"):
        plan([source], tmp_path / "out", companions={"mask": inside})


def as_table(path: Path, rows: Mapping[str, str]) -> Path:
    path.write_text("file,mask\n" + "".join(f"{file},{place}\n" for file, place in rows.items()))
    return path


def test_a_companion_that_a_table_names_is_never_written(tmp_path: Path) -> None:
    """Neither by its name, nor through links, nor where its row is of another picture; nor the table."""
    source = fill(tmp_path / "in", ["a.png"])
    one = masks(tmp_path / "out", ["a.png", "keep.png"]) / "a.png"
    before = one.read_bytes()
    (tmp_path / "link.png").symlink_to(one)
    (tmp_path / "again").symlink_to(tmp_path / "out")
    for rows in (
        {"a.png": "out/a.png"},
        {"a.png": "again/a.png"},
        {"a.png": "link.png"},
        {"a.png": "out/keep.png", "other.png": "out/A.PNG"},
    ):
        found = as_table(tmp_path / "masks.csv", rows)
        with pytest.raises(PlanError, match="would replace the input"):
            convert_folder(source, tmp_path / "out", Blend(), companions={"mask": found}, overwrite=True)
        with pytest.raises(PlanError, match="would replace the input"):
            plan([source / "a.png"], one, companions={"mask": found})
    assert one.read_bytes() == before

    found = as_table(tmp_path / "masks.csv", {"a.png": "out/keep.png"})
    one.unlink()
    one.symlink_to(found)
    with pytest.raises(PlanError, match="would replace the input"):
        convert_folder(source, tmp_path / "out", Blend(), companions={"mask": found}, overwrite=True)


def test_a_report_takes_the_place_of_no_table(tmp_path: Path) -> None:
    """Both may be JSON lines that begin with the source."""
    report = tmp_path / "report.jsonl"
    with img2img.batch.Report(report) as lines:
        lines.add(Result(tmp_path / 'a "quoted" name.png', None, "failed", "because"))
    img2img.batch.check_report(report)
    table = tmp_path / "masks.jsonl"
    table.write_text('{"source": "a.png", "mask": "b.png"}\n')
    with pytest.raises(UsageError, match="no report"):
        img2img.batch.check_report(table)


@pytest.mark.parametrize("text", ["s3://bucket/report.jsonl", "file:///tmp/report.jsonl"])
def test_a_report_is_no_folder_that_is_called_like_a_store(tmp_path: Path, monkeypatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"lies on this machine and is named by a path, not by (s3|file)://"):
        img2img.batch.check_report(Path(text))
    (tmp_path / "s3:").mkdir()  # somebody's own
    img2img.batch.check_report(Path("s3:/report.jsonl"))


def test_companions_of_a_table_that_lie_among_the_inputs_are_no_inputs(tmp_path: Path) -> None:
    """Unless the table has a row for them: pictures may be each other's companions."""
    source = fill(tmp_path / "in", ["a.png", "b.png", "c.png"])
    masks(source, ["a_mask.png", "masks/b.png"])
    rows = {"a.png": "in/a_mask.png", "b.png": "in/masks/b.png", "c.png": "in/a.png"}
    made = plan([source], tmp_path / "out", companions={"mask": as_table(tmp_path / "masks.csv", rows)})
    assert [item.relative for item in made.items] == ["a.png", "b.png", "c.png"] and not made.unreadable
    assert "2 files are no inputs" in made.notes[-1]


def test_companions_that_lie_among_the_inputs_are_no_inputs(tmp_path: Path) -> None:
    source = fill(tmp_path / "in", ["a.png", "sub/b.png"])
    masks(source / "masks", ["a.png", "sub/b.png"])
    made = plan([source], tmp_path / "out", companions={"mask": source / "masks"})
    assert [item.relative for item in made.items] == ["a.png", "sub/b.png"] and not made.unreadable
    assert "2 files are no inputs" in made.notes[-1]
    write_image(mask(), source / "mask.png")
    made = plan(
        [source / "sub", source / "mask.png"], tmp_path / "out", companions={"mask": source / "mask.png"}
    )
    assert [item.relative for item in made.items] == ["b.png"]


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ({}, "more than a picture: mask; not given: mask. Give `companions` mask=DIR"),
        ({"msk": "masks"}, "did you mean 'mask'"),
        ({"mask": "masks", "depth": "masks"}, "no condition 'depth'; known are: mask"),
        ({"mask": "nowhere"}, "does not exist"),
        ({"mask": "empty"}, "It is empty"),
    ],
)
def test_what_is_missing_or_unknown_is_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, places: dict[str, str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "in", ["a.png"])
    masks(tmp_path / "masks", ["a.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=words):
        img2img.convert_folder("in", "out", Blend(), companions=places)
    assert not (tmp_path / "out").exists()


def test_what_takes_no_companions_gets_none(tmp_path: Path) -> None:
    source = fill(tmp_path / "in", ["a.png"])
    write_image(picture(), tmp_path / "mask.png")

    class Plain:
        def group_key(self, image: Image) -> Hashable:
            return None

        def __call__(self, images: Sequence[Image]) -> list[Image]:
            return list(images)

    with pytest.raises(UsageError, match="picture alone"):
        img2img.convert_folder(source, tmp_path / "out", Plain(), companions={"mask": tmp_path / "mask.png"})


# the command line


@click.command()
@click.argument("inputs", nargs=-1, type=click.Path(path_type=Path))
@WITH
@batch_options
def blend(inputs: tuple[Path, ...], companions: dict[str, Any], options: BatchOptions) -> int:
    names = tuple(companions) if "gain" in companions else ("mask",)
    return convert(inputs, options, lambda: (Blend(*names), {}), companions=companions)


def command(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(blend, [str(each) for each in arguments], standalone_mode=False)
    if isinstance(result.exception, UsageError):
        return 2, str(result.exception)
    return (2 if result.exception else int(result.return_value)), result.output + str(result.exception or "")


def test_companions_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fill(Path("in"), ["a.png", "b.png"])
    masks(Path("masks"), ["a.png"])
    code, output = command("in", "-o", "out", "--with", "mask=masks")
    assert code == 1 and "in/b.png: there is no mask for it" in output and Path("out/a.png").is_file()
    masks(Path("masks"), ["b.png"])
    assert command("in", "-o", "out", "--with", "mask=masks", "--with", "gain=0.5")[0] == 0
    expected = np.where(read_image("masks/b.png").pixels > 127, read_image("in/b.png").pixels, 0) // 2
    assert (read_image("out/b.png").pixels == expected).all()


def test_one_file_to_stdout_takes_companions_and_fails_as_in_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fill(Path("in"), ["a.png"])
    code, output = command("in/a.png", "-o", "-", "--with", "mask=masks")
    assert code == 2 and "does not exist" in output
    masks(Path("masks"), ["b.png", ".hidden/a.png"])
    code, output = command("in/a.png", "-o", "-", "--with", "mask=masks")
    assert code == 1 and "in/a.png: there is no mask for it: masks/a.png" in output
    masks(Path("masks"), [".a.png"])
    fill(Path("in"), [".a.png"])
    assert command("in/.a.png", "-o", "-", "--with", "mask=masks")[0] == 1
    arguments = ["in/.a.png", "-o", "-", "--with", "mask=masks", "--hidden"]
    result = CliRunner().invoke(blend, arguments, standalone_mode=False)
    assert result.return_value == 0
    expected = np.where(read_image("masks/.a.png").pixels > 127, read_image("in/.a.png").pixels, 0)
    Path("made.png").write_bytes(result.stdout_bytes)
    assert (read_image("made.png").pixels == expected).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "not given: mask"),
        (["--with", "mask"], "NAME=DIR"),
        (["--with", "=masks"], "NAME=DIR"),
        (["--with", "mask=masks", "--with", "mask=in"], "given twice"),
        (["--with", "mask=nowhere"], "does not exist"),
    ],
)
def test_companions_that_make_no_sense_are_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    fill(Path("in"), ["a.png"])
    masks(Path("masks"), ["a.png"])
    code, output = command("in", "-o", "out", *arguments)
    assert code == 2 and words in output and not Path("out").exists()


def test_the_summary_counts_a_missing_companion_as_a_failure(tmp_path: Path) -> None:
    source = fill(tmp_path / "in", ["a.png", "b.png"])
    found = masks(tmp_path / "masks", ["a.png"])
    summary: Summary = convert_folder(source, tmp_path / "out", Blend(), companions={"mask": found})
    assert (summary.done, summary.failed) == (1, 1)
    masks(found, ["b.png"])
    summary = convert_folder(source, tmp_path / "out", Blend(), companions={"mask": found})
    assert (summary.done, summary.skipped, summary.failed) == (1, 1, 0), "and the next run does only that one"


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_mask_for_all_is_let_go_of_with_every_source_that_cannot_be_read(tmp_path: Path, jobs: int) -> None:
    """Counted for ever, it had filled the memory, and all threads waited."""
    names = ["a.png", *(f"b{number:02}.png" for number in range(30)), "z0.png", "z1.png"]
    source = fill(tmp_path / "in", names, 64, 64)
    for path in source.glob("b*.png"):
        path.write_bytes(path.read_bytes()[:-40])
    write_image(mask(64, 64), tmp_path / "mask.png")
    work = plan([source], tmp_path / "out", companions={"mask": tmp_path / "mask.png"})
    stop = threading.Event()
    watchdog = threading.Timer(60, stop.set)
    watchdog.start()
    results = list(run(work, Blend(), jobs=jobs, memory=60_000, stop=stop))
    watchdog.cancel()
    by_status = Counter(result.status for result in results)
    assert by_status == {"done": 3, "failed": 30}


def test_a_companion_beyond_the_limits_is_named(tmp_path: Path) -> None:
    source = fill(tmp_path / "in", ["a.png"], 10, 10)
    found = masks(tmp_path / "masks", ["a.png"], height=100, width=100)
    work = plan([source], tmp_path / "out", companions={"mask": found})
    (result,) = run(work, Blend(), limits=Limits(max_pixels=1000))
    assert result.status == "failed" and "its mask" in result.reason and "100 x 100" in result.reason
