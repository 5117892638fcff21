import json
import os
import shutil
import time
from pathlib import Path

import pytest
from folders import Fake, convert, fill, picture, statuses

from img2img.batch import Summary, exit_code, manifest, plan, run
from img2img.batch.manifest import Manifest
from img2img.errors import ImageWriteError
from img2img.files import part_beside
from img2img.image import EncodeOptions, Image, files, read_image, write_image

NAMES = ["a.png", "b.png", "sub/c.png"]


@pytest.fixture
def done(tmp_path):
    """An input folder and an output folder that is up to date."""
    fill(tmp_path / "in", NAMES)
    assert set(statuses(convert(tmp_path / "in", tmp_path / "out")).values()) == {"done"}
    return tmp_path / "in", tmp_path / "out"


def again(done, **options):
    return statuses(convert(*done, **options))


def killed(*_: object) -> None:
    raise OSError(5, "killed here")


UP_TO_DATE = {"a.png": "skipped", "b.png": "skipped", "c.png": "skipped"}


def test_a_second_run_does_nothing(done):
    before = {p: p.stat().st_mtime_ns for p in done[1].rglob("*.png")}
    fake = Fake()
    assert again(done, process=fake) == UP_TO_DATE
    assert fake.calls == []
    assert {p: p.stat().st_mtime_ns for p in done[1].rglob("*.png")} == before
    assert again(done, overwrite=True) == UP_TO_DATE


def test_what_is_missing_is_done(done):
    (done[1] / "b.png").unlink()
    fill(done[0], ["new.png"])
    assert again(done) == UP_TO_DATE | {"b.png": "done", "new.png": "done"}
    assert again(done) == UP_TO_DATE | {"new.png": "skipped"}


def test_a_changed_source_is_done_again(done):
    write_image(picture(seed=77), done[0] / "a.png")
    assert again(done) == UP_TO_DATE | {"a.png": "done"}
    assert (read_image(done[1] / "a.png").pixels == picture(seed=77).pixels).all()
    assert again(done) == UP_TO_DATE


def test_changed_settings_and_encoding_mean_everything(done):
    everything = dict.fromkeys(UP_TO_DATE, "done")
    assert again(done, settings={"model": "x"}) == everything
    assert again(done, settings={"model": "x"}) == UP_TO_DATE
    assert again(done, settings={"model": "y", "tile": 3}) == everything
    assert again(done, settings={"tile": 3, "model": "y"}) == UP_TO_DATE
    assert again(done, settings={"tile": 3, "model": "y"}, options=EncodeOptions(png_level=1)) == everything


def test_checksum_sees_what_size_and_time_do_not(tmp_path):
    folders = fill(tmp_path / "in", ["a.bmp", "b.bmp"]), tmp_path / "out"
    assert again(folders) == {"a.bmp": "done", "b.bmp": "done"}
    assert again(folders, checksum=True) == {"a.bmp": "done", "b.bmp": "done"}, "no checksums were known"
    source = folders[0] / "a.bmp"
    before = source.stat()
    write_image(picture(seed=5), source)
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert source.stat().st_size == before.st_size
    os.utime(folders[0] / "b.bmp", ns=(1, 1))
    assert again(folders) == {"a.bmp": "skipped", "b.bmp": "done"}
    os.utime(folders[0] / "b.bmp", ns=(2, 2))
    assert again(folders, checksum=True) == {"a.bmp": "done", "b.bmp": "done"}, "b was last done without one"
    os.utime(folders[0] / "b.bmp", ns=(3, 3))
    assert again(folders, checksum=True) == {"a.bmp": "skipped", "b.bmp": "skipped"}


def test_a_moved_folder_is_recognised_a_different_one_is_not(done, tmp_path):
    moved = done[0].rename(tmp_path / "moved")
    assert again((moved, done[1])) == UP_TO_DATE
    moved.rename(done[0])
    other = fill(tmp_path / "other", ["x.png", "a.png"])
    result = convert(other, done[1])["a.png"]
    assert result.status == "failed" and "another file" in result.reason
    assert convert(other, done[1], overwrite=True)["a.png"].status == "done"


def test_a_copied_output_folder_is_recognised(done, tmp_path):
    shutil.copytree(done[1], tmp_path / "copy", copy_function=shutil.copy)
    for path in (tmp_path / "copy").rglob("*.png"):
        os.utime(path, ns=(5, 5))
    assert again((done[0], tmp_path / "copy")) == UP_TO_DATE


def test_a_foreign_file_is_never_replaced(tmp_path):
    fill(tmp_path / "in", ["a.png", "b.png"])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").write_bytes(b"mine")
    fake = Fake()
    results = convert(tmp_path / "in", tmp_path / "out", fake)
    assert statuses(results) == {"a.png": "failed", "b.png": "done"}
    assert "`overwrite`" in results["a.png"].reason
    assert sum(map(len, fake.calls)) == 1, "it was told before any work"
    assert (tmp_path / "out" / "a.png").read_bytes() == b"mine"
    assert again((tmp_path / "in", tmp_path / "out")) == {"a.png": "failed", "b.png": "skipped"}
    assert again((tmp_path / "in", tmp_path / "out"), overwrite=True) == {"a.png": "done", "b.png": "skipped"}
    assert again((tmp_path / "in", tmp_path / "out")) == {"a.png": "skipped", "b.png": "skipped"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_links_and_folders_in_the_place_of_an_output(tmp_path, overwrite):
    fill(tmp_path / "in", ["dangling.png", "folder.png", "link.png"])
    (tmp_path / "out" / "folder.png").mkdir(parents=True)
    (tmp_path / "precious.png").write_bytes(b"precious")
    (tmp_path / "out" / "link.png").symlink_to(tmp_path / "precious.png")
    (tmp_path / "out" / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    results = statuses(convert(tmp_path / "in", tmp_path / "out", overwrite=overwrite))
    links = "done" if overwrite else "failed"
    assert results == {"dangling.png": links, "folder.png": "failed", "link.png": links}
    assert (tmp_path / "precious.png").read_bytes() == b"precious"
    assert not (tmp_path / "nowhere.png").exists()


def test_an_edited_output(done):
    edited = done[1] / "a.png"
    edited.write_bytes(b"retouched by hand")
    results = convert(*done)
    assert statuses(results) == UP_TO_DATE
    assert any("changed after" in warning for warning in results["a.png"].warnings)
    write_image(picture(seed=9), done[0] / "a.png")
    result = convert(*done)["a.png"]
    assert result.status == "failed" and "`overwrite`" in result.reason
    assert edited.read_bytes() == b"retouched by hand"
    assert convert(*done, overwrite=True)["a.png"].status == "done"
    assert again(done) == UP_TO_DATE


def test_an_edited_output_is_replaced_on_request(done):
    (done[1] / "a.png").write_bytes(b"retouched by hand")
    assert again(done, overwrite=True) == UP_TO_DATE | {"a.png": "done"}


def test_what_failed_is_tried_again(tmp_path):
    fill(tmp_path / "in", ["a.png", "b.png"])
    good = (tmp_path / "in" / "a.png").read_bytes()
    (tmp_path / "in" / "a.png").write_bytes(good[:50])
    folders = tmp_path / "in", tmp_path / "out"
    assert again(folders) == {"a.png": "failed", "b.png": "done"}
    (tmp_path / "in" / "a.png").write_bytes(good)
    assert again(folders) == {"a.png": "done", "b.png": "skipped"}


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("first", [True, False])
def test_a_run_that_ends_between_begin_and_done(tmp_path, monkeypatch, moment, first):
    """As a kill would leave it: "begin" without "done", with the old or the new output there."""
    fill(tmp_path / "in", ["a.png"])
    folders = tmp_path / "in", tmp_path / "out"
    if not first:
        convert(*folders)
        write_image(picture(seed=8), tmp_path / "in" / "a.png")
    with monkeypatch.context() as patched:
        patched.setattr(Manifest, "done", lambda *_: None)
        if moment == "before":
            patched.setattr(
                files.Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(5, "killed here"))
            )
        convert(*folders)
    expected = "skipped" if moment == "after" else "done"
    assert again(folders) == {"a.png": expected}
    assert again(folders) == {"a.png": "skipped"}
    assert (read_image(folders[1] / "a.png").pixels == read_image(folders[0] / "a.png").pixels).all()


def test_begun_and_then_replaced_by_hand_is_foreign(tmp_path, monkeypatch):
    fill(tmp_path / "in", ["a.png"])
    with monkeypatch.context() as patched:
        patched.setattr(files.Path, "replace", killed)
        convert(tmp_path / "in", tmp_path / "out")
    (tmp_path / "out" / "a.png").write_bytes(b"mine")
    assert again((tmp_path / "in", tmp_path / "out")) == {"a.png": "failed"}


def test_a_file_that_appears_while_it_is_encoded_is_kept(tmp_path, monkeypatch):
    fill(tmp_path / "in", ["a.png"])
    fsync = os.fsync

    def slow(descriptor):
        (tmp_path / "out" / "a.png").write_bytes(b"mine")
        fsync(descriptor)

    monkeypatch.setattr(files.os, "fsync", slow)
    assert again((tmp_path / "in", tmp_path / "out")) == {"a.png": "failed"}
    assert (tmp_path / "out" / "a.png").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-30],
        lambda data: data + b'{"begin":"a.png","sour',
        lambda data: b"\xff\xfe garbage\n[]\n5\nnull\n" + data + b"{}\n" + b"\n\n",
        lambda data: data + b'{"begin":5}\n{"done":[],"time_ns":"x"}\n{"begin":"../../x","planned":"y"}\n',
        lambda data: b"[" * 100_000 + b"\n" + data,
        lambda data: data + data,
    ],
)
def test_damage_to_the_manifest(done, damage):
    path = done[1] / manifest.STATE_FOLDER / "manifest.jsonl"
    path.write_bytes(damage(path.read_bytes()))
    assert again(done) == UP_TO_DATE  # a lost "done" is made up for by the digest in "begin"
    write_image(picture(seed=50), done[0] / "a.png")
    assert again(done) == UP_TO_DATE | {"a.png": "done"}
    assert again(done) == UP_TO_DATE, "what was appended after the damage is read"


def test_a_lost_manifest_makes_everything_foreign(done):
    shutil.rmtree(done[1] / manifest.STATE_FOLDER)
    assert again(done) == dict.fromkeys(UP_TO_DATE, "failed")
    assert again(done, overwrite=True) == dict.fromkeys(UP_TO_DATE, "done")


def test_a_manifest_that_cannot_be_written_fails_the_file_not_the_run(tmp_path):
    fill(tmp_path / "in", ["a.png", "b.png"])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / manifest.STATE_FOLDER).write_text("in the way")
    results = convert(tmp_path / "in", tmp_path / "out")
    assert set(statuses(results).values()) == {"failed"}
    assert list((tmp_path / "out").glob("*.png")) == list((tmp_path / "out").rglob("*.part")) == []


def test_a_full_disk_does_not_tear_the_line_after(done, monkeypatch):
    write = os.write
    calls = []

    def short(descriptor, data):
        calls.append(data)
        if len(calls) == 1:
            return write(descriptor, data[:10])
        return write(descriptor, data)

    for name in ("a.png", "b.png"):
        write_image(picture(seed=60), done[0] / name)
    monkeypatch.setattr(manifest.os, "write", short)
    first = again(done, jobs=1)
    monkeypatch.undo()
    assert sorted(first.values()) == ["done", "failed", "skipped"]
    assert sorted(again(done).values()) == ["done", "skipped", "skipped"]
    assert again(done) == UP_TO_DATE


def test_lines_are_plain_json_with_relative_names(done):
    text = (done[1] / manifest.STATE_FOLDER / "manifest.jsonl").read_text(encoding="ascii")
    lines = [json.loads(line) for line in text.splitlines()]
    assert [sorted(line)[0] for line in lines].count("begin") == 3
    assert {line.get("begin") or line.get("done") for line in lines} == set(NAMES)


def test_part_files_of_dead_processes_are_swept(done):
    """A part file's name holds the machine and the process; that process does not exist."""
    own = part_beside(done[1] / "a.png").name
    parts = [done[1] / own.replace(f"-{os.getpid()}-", f"-{2**22 + 5}-"), done[1] / "sub" / "mine.part"]
    for part in parts:
        part.write_bytes(b"half")
    again(done)
    assert [part.exists() for part in parts] == [False, True]


def test_relative_and_absolute_output_are_the_same_folder(done, monkeypatch):
    monkeypatch.chdir(done[0].parent)
    assert again((Path("in"), Path("out"))) == UP_TO_DATE
    monkeypatch.chdir(done[1])
    assert again((done[0], Path())) == UP_TO_DATE


def test_an_earlier_output_of_the_same_item_under_another_name(tmp_path):
    fill(tmp_path / "in", ["a.jpg"])
    the_plan = plan([tmp_path / "in"], tmp_path / "out")

    def alpha(image: Image) -> Image:
        return image.replace(alpha=image.pixels[..., 0].copy())

    (first,) = run(the_plan, Fake(alpha), settings={"v": 1})
    (second,) = run(the_plan, Fake(), settings={"v": 2})
    (third,) = run(the_plan, Fake(), settings={"v": 2})
    assert [r.output.name for r in (first, second, third)] == ["a.jpg.png", "a.jpg", "a.jpg"]
    assert third.status == "skipped"


def test_the_writer_is_the_atomic_one(tmp_path, monkeypatch):
    fill(tmp_path / "in", ["a.png"])

    def refuse(*_, **__):
        raise ImageWriteError("refused by the test")

    monkeypatch.setattr("img2img.batch.journal.write_file", refuse)
    assert convert(tmp_path / "in", tmp_path / "out")["a.png"].reason == "refused by the test"


@pytest.mark.parametrize("what", ["out", "out/.img2img"])
def test_an_output_folder_that_is_removed_while_it_is_filled_is_filled_anew(tmp_path, what):
    """What is gone is told at the end, and the same command again does that and nothing else."""
    source, output = fill(tmp_path / "in", [f"{i}/{i}.png" for i in range(12)]), tmp_path / "out"
    convert(fill(tmp_path / "in", ["0/0.png"]), output)  # an earlier run
    calls = 0

    def work(image: Image) -> Image:
        nonlocal calls
        calls += 1
        if calls == 6:
            while len(list(output.rglob("*.png"))) < 2:
                time.sleep(0.01)
            while (tmp_path / what).exists():  # a file that is written meanwhile ends one attempt
                shutil.rmtree(tmp_path / what, ignore_errors=True)
        return image

    summary = Summary()
    for result in run(plan([source], output), Fake(work), settings={"new": 1}, jobs=1, batch_size=1):
        summary.add(result)
    there = list(output.rglob("*.png"))
    assert summary.done == len(there) and summary.done + summary.failed == 12
    assert (summary.failed > 0) == (what == "out")
    assert all("removed" in reason for _, reason in summary.failures)
    fake = Fake()
    again = statuses(convert(source, output, fake, settings={"new": 1}))
    assert list(again.values()).count("skipped") == len(there), again
    assert sum(map(len, fake.calls)) == 12 - len(there) and "failed" not in again.values()


def test_an_output_folder_that_is_removed_at_the_very_end_is_told(tmp_path):
    source, output = fill(tmp_path / "in", ["a.png", "b.png"]), tmp_path / "out"
    summary = Summary()
    for result in run(plan([source], output), Fake(), jobs=1):
        summary.add(result)
        if summary.done == 2:
            shutil.rmtree(output)
    assert (summary.done, summary.failed) == (0, 2) and exit_code(summary, matched=True) == 1
    assert not output.exists()


def test_a_manifest_from_before_companions_is_read(done):
    """Its lines as they were written then."""
    path = done[1] / manifest.STATE_FOLDER / "manifest.jsonl"
    keys = ["begin", "source", "source_size", "source_mtime_ns", "settings", "size", "sha256", "time_ns"]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [list(line) for line in lines if "begin" in line] == [keys] * 3, "and without companions still are"
    assert again(done) == UP_TO_DATE
