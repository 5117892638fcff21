"""What is found before the work: an output that cannot be written, and another run in the same folder."""

import json
import os
import subprocess
from pathlib import Path

import programs
import pytest
from folders import Fake, convert, fill, picture, statuses

import img2img
from img2img.batch import Rules, Shard, claim, plan
from img2img.batch.manifest import Manifest
from img2img.errors import PlanError
from img2img.image import write_image

OTHER = """
import sys, time
from pathlib import Path
from img2img.batch import Rules, Shard, claim, plan
shard = Shard.parse(sys.argv[3]) if sys.argv[3] else None
with claim(plan([Path(sys.argv[1])], Path(sys.argv[2]), Rules(shard=shard))):
    print("ready", flush=True)
    sys.stdin.read()
"""


def other_run(source: Path, output: Path, shard: str = "") -> programs.Program:
    command = ["-c", OTHER, source, output, shard]
    process = programs.start(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == "ready\n"
    return process


def end(process: programs.Program, kill: bool = False) -> None:
    if kill:
        process.kill()
    process.communicate()


def claimed(source: Path, output: Path, shard: Shard | None = None) -> bool:
    try:
        with claim(plan([source], output, Rules(shard=shard))):
            return True
    except PlanError as error:
        assert "another run is at work" in str(error)
        return False


def test_two_runs_in_one_folder_say_so_at_the_start(tmp_path):
    source, output = fill(tmp_path / "in", [f"{i}.png" for i in range(12)]), tmp_path / "out"
    process = other_run(source, output)
    with pytest.raises(PlanError, match=rf"process {process.pid} on .*, started 2\d\d\d-"):
        img2img.convert_folder(source, output, Fake())
    assert not claimed(source, output, Shard(1, 2))
    assert claimed(source, tmp_path / "elsewhere")
    end(process, kill=True)
    assert claimed(source, output), "what a killed run leaves behind does not stand in the way"
    assert not list(output.rglob("lock*"))


def test_shards_of_one_count_share_a_folder_and_others_do_not(tmp_path):
    source, output = fill(tmp_path / "in", [f"{i}.png" for i in range(12)]), tmp_path / "out"
    process = other_run(source, output, "1/2")
    assert claimed(source, output, Shard(2, 2))
    assert not claimed(source, output, Shard(1, 2))
    assert not claimed(source, output, Shard(2, 3))
    assert not claimed(source, output)
    end(process)
    assert claimed(source, output)


def test_nothing_is_left_of_a_claim_without_work(tmp_path):
    source = fill(tmp_path / "in", ["a.png"])
    with claim(plan([source], tmp_path / "new" / "out")):
        assert not claimed(source, tmp_path / "new" / "out")
    with claim(plan([source / "a.png"], tmp_path / "new" / "b.png")):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


@pytest.mark.parametrize("output", ["a file/out", "out", "dangling/out", "out with a file"])
def test_an_output_that_cannot_be_written_is_found_before_the_first_picture(tmp_path, monkeypatch, output):
    source = fill(tmp_path / "in", ["a.png", "sub/b.png"])
    (tmp_path / "a file").touch()
    (tmp_path / "dangling").symlink_to("nowhere/at/all")
    (tmp_path / "out with a file").mkdir()
    (tmp_path / "out with a file" / "sub").touch()
    if output == "out":  # whoever runs the tests may write everywhere
        (tmp_path / "out").mkdir()
        monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / "out")
    fake = Fake()
    with pytest.raises(PlanError):
        img2img.convert_folder(source, tmp_path / output, fake)
    assert not fake.calls


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no file system here that nobody may write to")
def test_file_systems_that_take_no_files(tmp_path):
    source = fill(tmp_path / "in", ["a.png"])
    for inputs, output in ((source, "/proc/out"), (source / "a.png", "/proc/out.png")):
        with pytest.raises(PlanError, match="cannot be written"):
            img2img.convert_folder(inputs, output, Fake())


def test_a_full_disk_is_found_before_the_first_picture(tmp_path, monkeypatch):
    source, fake = fill(tmp_path / "in", ["a.png"]), Fake()

    def full(path: Path, *more: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(PlanError, match="No space left"):
        img2img.convert_folder(source, tmp_path / "out", fake)
    assert not fake.calls and not (tmp_path / "out").exists()


def test_a_name_that_is_too_long_fails_by_itself_and_before_the_work(tmp_path):
    source = fill(tmp_path / "in", ["a.png", "é" * 120 + ".png"])
    made = plan([source], tmp_path / "out", Rules(suffix="_enlarged four times"))
    assert len(made.items) == 1 and "too long" in made.unreadable[0].reason
    assert len(plan([source], tmp_path / "out").items) == 2


# the manifest of earlier runs


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "device", "dangling link", "unreadable"])
def test_a_manifest_that_is_something_else_is_told_before_the_work(tmp_path, monkeypatch, kind):
    source, output, fake = fill(tmp_path / "in", ["a.png"]), tmp_path / "out", Fake()
    before = (source / "a.png").read_bytes()
    path = output / ".img2img" / "manifest.jsonl"
    path.parent.mkdir(parents=True)
    if kind == "link":
        path.symlink_to(source / "a.png")
    elif kind == "dangling link":
        path.symlink_to(source / "new")
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.touch()
        real = os.open

        def refuse(name, *more):
            if os.fspath(name).endswith("manifest.jsonl"):
                raise PermissionError(13, "Permission denied", name)
            return real(name, *more)

        monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PlanError, match=r"manifest\.jsonl .*cannot be used"):
        img2img.convert_folder(source, output, fake)
    if kind != "unreadable":  # whoever does not ask before gets no further either
        (result,) = convert(source, output, fake).values()
        assert result.status == "failed"
    assert (source / "a.png").read_bytes() == before and list(source.iterdir()) == [source / "a.png"]


def test_the_folder_of_the_manifest_may_be_no_link(tmp_path):
    source, output = fill(tmp_path / "in", ["a.png"]), tmp_path / "out"
    output.mkdir()
    (output / ".img2img").symlink_to(source)
    with pytest.raises(PlanError, match="symbolic link"):
        img2img.convert_folder(source, output, Fake())
    assert statuses(convert(source, output)) == {"a.png": "failed"}
    assert list(source.iterdir()) == [source / "a.png"]


def test_a_manifest_with_a_second_name_is_copied_and_not_appended_to(tmp_path):
    source, output = fill(tmp_path / "in", ["a.png", "b.png"]), tmp_path / "out"
    (output / ".img2img").mkdir(parents=True)
    (output / ".img2img" / "manifest.jsonl").hardlink_to(source / "a.png")
    before = (source / "a.png").read_bytes()
    assert set(statuses(convert(source, output)).values()) == {"done"}
    assert (source / "a.png").read_bytes() == before
    assert set(statuses(convert(source, output)).values()) == {"skipped"}


def test_a_manifest_that_is_too_large_is_told(tmp_path):
    path = tmp_path / "out" / ".img2img" / "manifest.jsonl"
    path.parent.mkdir(parents=True)
    path.touch()
    os.truncate(path, 10 * 2**30)
    with pytest.raises(PlanError, match="10,737,418,240 bytes"):
        Manifest.check(tmp_path / "out")
    Manifest(tmp_path / "out")  # and nobody reads it


NONSENSE = [
    '{"done":"a.png","time_ns":Infinity,"mtime_ns":1}',
    '{"done":"a.png","time_ns":1e999,"mtime_ns":1}',
    '{"done":"a.png","time_ns":NaN,"mtime_ns":-1e999}',
    '{"begin":"a.png","source":"x","source_size":1e999,"time_ns":1,"size":1}',
    '{"begin":"a.png","time_ns":' + "9" * 5000 + "}",
    '{"begin":"../../a.png","planned":"a.png","source":"x","source_size":1,"source_mtime_ns":1,'
    '"settings":"","size":1,"sha256":"","time_ns":1}',
    '{"begin":"a.png","source":"\\ud800\\u0000","source_size":1,"source_mtime_ns":1,"settings":"","size":1,'
    '"sha256":"","time_ns":1}',
    "[" * 100_000,
    '{"a":' * 50_000,
    "x" * 2_000_000,
    "null", "7", '"text"', "\\x00\\x00", "",
]  # fmt: skip


def test_lines_that_are_not_ours_are_passed_over(tmp_path):
    source, output = fill(tmp_path / "in", ["a.png", "b.png"]), tmp_path / "out"
    convert(source, output)
    path = output / ".img2img" / "manifest.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*NONSENSE, *lines, *NONSENSE]))
    assert set(statuses(convert(source, output)).values()) == {"skipped"}
    (source / "a.png").unlink()
    write_image(picture(seed=9), source / "a.png")
    assert statuses(convert(source, output)) == {"a.png": "done", "b.png": "skipped"}
    assert set(statuses(convert(source, output)).values()) == {"skipped"}
    assert all(json.loads(line) for line in path.read_text().splitlines()[-2:])


def test_an_output_that_is_a_link_is_never_written_through(tmp_path):
    source, output = fill(tmp_path / "in", ["a.png"]), tmp_path / "out"
    output.mkdir()
    victim = fill(tmp_path, ["victim.png"]) / "victim.png"
    before = victim.read_bytes()
    (output / "a.png").symlink_to(victim)
    assert statuses(convert(source, output)) == {"a.png": "failed"}
    assert statuses(convert(source, output, overwrite=True)) == {"a.png": "done"}
    assert victim.read_bytes() == before and not (output / "a.png").is_symlink()
