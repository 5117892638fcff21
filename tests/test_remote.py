"""Places that are no folders: what a store holds is converted as a folder is, and remembered as well."""

import json
import pickle
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

fsspec = pytest.importorskip("fsspec", reason="the extra remote is not installed")

from img2img.batch import Rules, claim, convert_folder, plan, run  # noqa: E402
from img2img.cli.main import cli  # noqa: E402
from img2img.errors import PlanError, UsageError  # noqa: E402
from img2img.image import Image, encode, read_image  # noqa: E402
from img2img.remote import Facts, RemotePath, is_remote, place, real_path  # noqa: E402


@pytest.fixture
def store():
    """Yields the store of memory://, which is empty."""
    files = fsspec.filesystem("memory", use_listings_cache=False)
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    yield files
    files.store.clear()


class Invert:
    def group_key(self, image):
        return image.pixels.shape

    def __call__(self, images):
        return [image.replace(pixels=255 - image.pixels) for image in images]


def picture(seed: int = 0) -> bytes:
    import numpy as np

    pixels = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    return encode(Image(pixels, None), ".png")


def fill(store, names, folder="in"):
    for i, name in enumerate(names):
        store.pipe_file(f"/{folder}/{name}", picture(i))


def names(store, folder="out"):
    found = store.find(f"/{folder}")
    return sorted(name.removeprefix(f"/{folder}/") for name in found if "/.img2img/" not in name)


def state(store, folder="out"):
    return sorted(name.rpartition("/")[2].partition(".")[0] for name in store.find(f"/{folder}/.img2img"))


def convert(source="memory://in", output="memory://out", **options):
    return convert_folder(source, output, Invert(), settings={}, **options)


NAMES = ["a/1.png", "a/2.png", "a/10.png", "b.png"]


def test_names_stay_what_they_are():
    for text in ("s3://bucket/in/a b.png", "gs://b", "memory://x/y", "abfs://c@account/d/e.png"):
        assert is_remote(text) and str(place(text)) == text and isinstance(place(text), RemotePath)
        assert real_path(text) == text and place(text).absolute() == place(text)
    for text in ("in", "/in", "C:/in", "C://in", "in/s3://x", "file:///x", "local:///x", "."):
        assert not is_remote(text) and not isinstance(place(text), RemotePath)
    assert place("file:///x/y") == Path("/x/y")
    path = place("s3://bucket/in") / "a" / "b.png"
    assert str(path) == "s3://bucket/in/a/b.png" and path.suffix == ".png" and path.name == "b.png"
    assert str(path.parent) == "s3://bucket/in/a" and str(path.with_name("c.jpg")) == "s3://bucket/in/a/c.jpg"
    assert str(path.with_stem("c")) == "s3://bucket/in/a/c.png"
    path.facts = Facts(3, 4, "tag")
    again = pickle.loads(pickle.dumps(path))  # noqa: S301  our own
    assert str(again) == str(path) and again.facts == path.facts
    assert (again.stat().st_size, again.stat().st_mtime_ns) == (3, 4)


def test_a_store_is_converted_as_a_folder_is(store, tmp_path):
    fill(store, [*NAMES, ".hidden/1.png", "@eaDir/1.png", "._b.png", "notes.txt"])
    store.pipe_file("/in/bad.png", b"no picture")
    summary = convert()
    assert (summary.done, summary.failed, summary.skipped) == (4, 1, 0)
    assert str(summary.failures[0][0]) == "memory://in/bad.png"
    assert names(store) == sorted(NAMES)
    for name in [*NAMES, "bad.png"]:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(store.cat_file(f"/in/{name}"))
    convert(tmp_path / "in", tmp_path / "out")
    for name in NAMES:
        assert store.cat_file(f"/out/{name}") == (tmp_path / "out" / name).read_bytes()
    assert state(store) == ["manifest"]


def test_order_is_that_of_folders(store, tmp_path):
    several = ["2.png", "10.png", "a/2.png", "a/10.png", "B/x.png", "a.png", "1/9/1.png"]
    fill(store, several)
    for name in several:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    there = plan([place("memory://in")], place("memory://out")).items
    assert [item.relative for item in there] == [i.relative for i in plan([tmp_path], Path("/o/u/t")).items]


@pytest.mark.parametrize(("source", "output"), [(True, False), (False, True)])
def test_between_store_and_folder(store, tmp_path, source, output):
    fill(store, NAMES)
    if not source:
        store.get("/in", str(tmp_path / "in"), recursive=True)
    one = "memory://in" if source else tmp_path / "in"
    other = "memory://out" if output else tmp_path / "out"
    assert convert(one, other).done == 4
    assert convert(one, other).skipped == 4
    found = names(store) if output else sorted(str(p.relative_to(other)) for p in other.rglob("*.png"))
    assert found == sorted(NAMES)


def test_up_to_date_changed_edited_foreign_and_removed(store):
    fill(store, NAMES)
    convert()
    assert convert().skipped == 4
    fill(store, ["a/1.png"])  # written again: another time
    store.pipe_file("/in/b.png", picture(9))
    again = convert()
    assert (again.done, again.skipped) == (2, 2)
    store.rm_file("/out/a/2.png")
    assert convert().done == 1
    store.pipe_file("/out/a/2.png", b"edited")
    store.pipe_file("/in/c.png", picture(3))
    store.pipe_file("/out/c.png", b"of somebody else")
    third = convert()
    assert third.failed == 1 and "did not write stands at memory://out/c.png" in third.failures[0][1]
    assert [warning for _, warning in third.warnings] == [
        "memory://out/a/2.png was changed after img2img wrote it; it was left as it is"
    ]
    assert store.cat_file("/out/c.png") == b"of somebody else"
    assert store.cat_file("/out/a/2.png") == b"edited"
    fourth = convert(overwrite=True)
    assert fourth.done == 2 and fourth.failed == 0


def test_killed_between_an_output_and_its_row(store):
    """All that was going to be stored is listed before the first; the rows come in heaps."""
    fill(store, NAMES)
    planned = plan([place("memory://in")], place("memory://out"))
    with claim(planned):
        results = run(planned, Invert(), settings={}, jobs=1)
        next(results)
        kept = {name: store.cat_file(name) for name in store.find("/out")}
        results.close()
    assert state_of(kept) == ["begun"] and any(name.endswith(".png") for name in kept)
    store.rm("/out", recursive=True)
    for name, data in kept.items():  # as the kill has left it
        store.pipe_file(name, data)
    again = convert()
    assert (again.done, again.failed) == (4, 0)
    assert state(store) == ["manifest"], "what the killed run was going to do is done"


def killed(store, results):
    """Leaves the store as a kill after the first of `results` does: with the object, without its row."""
    next(results)
    kept = {name: store.cat_file(name) for name in store.find("/out")}
    results.close()
    store.rm("/out", recursive=True)
    for name, data in kept.items():
        store.pipe_file(name, data)


def test_what_others_put_there_before_a_run_is_killed_stays(store):
    fill(store, NAMES)
    store.pipe_file("/out/b.png", b"of somebody else")
    planned = plan([place("memory://in")], place("memory://out"))
    killed(store, (r for r in run(planned, Invert(), settings={}, jobs=1) if r.status == "done"))
    again = convert()
    assert (again.done, again.failed) == (3, 1)
    assert store.cat_file("/out/b.png") == b"of somebody else"


def test_a_killed_run_is_remembered_until_its_work_is_done(store):
    """Also when the run after it is stopped at once."""
    fill(store, NAMES)
    planned = plan([place("memory://in")], place("memory://out"))
    killed(store, run(planned, Invert(), settings={}, jobs=1))
    stop = threading.Event()
    stop.set()
    assert list(run(planned, Invert(), settings={}, stop=stop)) == []
    assert state(store) == ["begun"]
    assert convert().done == 4
    assert state(store) == ["manifest"]


def state_of(kept):
    return sorted(name.rpartition("/")[2].partition(".")[0] for name in kept if "/.img2img/" in name)


def test_inputs_are_not_overwritten(store):
    fill(store, NAMES)
    for output, said in (
        ("memory://in", "is the input folder"),
        ("memory://in/out", "lies inside the input folder"),
    ):
        with pytest.raises(PlanError, match=said):
            convert("memory://in", output)
    with pytest.raises(PlanError, match=r"would replace the input memory://in/b\.png"):
        convert("memory://in/b.png", "memory://in/b.png")
    assert names(store, "in") == sorted(NAMES)


@pytest.mark.parametrize("key", ["x//b.png", "/b.png", "../b.png", "x/../../b.png", "x/./b.png"])
def test_names_that_no_file_can_have_are_told(store, tmp_path, key):
    """They are never taken for another object, and lead to no place outside of the output folder."""
    fill(store, ["b.png", "x/b.png"])
    store.store[f"/in/{key}"] = store.store["/in/b.png"]
    output = tmp_path / "deep" / "out"
    for place_of_results in ("memory://out", output):
        summary = convert(output=place_of_results, rules=Rules(hidden=True))
        assert (summary.done, summary.failed) == (2, 1)
        ((path, reason),) = summary.failures
        assert reason == f"{key} is no name that a file can have; name it otherwise"
        assert str(path).startswith("memory://in/")
    assert names(store) == ["b.png", "x/b.png"]
    assert sorted(path.relative_to(output).as_posix() for path in tmp_path.rglob("*.png")) == [
        "b.png",
        "x/b.png",
    ]


@pytest.mark.parametrize(
    "text", ["s3://b/x//y.png", "s3://b//x", "s3://b/x//", "s3://b/x/./y", "s3://b/x/../y"]
)
def test_a_place_that_would_become_another_one_is_refused(text):
    with pytest.raises(UsageError, match=r"cannot be named by a path.*one slash between two names"):
        place(text)


def test_places_that_are_named_with_slashes_at_their_ends():
    assert str(place("s3://b/x/")) == "s3://b/x"
    assert [str(place(text)) for text in ("memory:///x", "memory://x/")] == ["memory://x", "memory://x"]
    assert place("memory://") == RemotePath("memory://")


def test_the_command_refuses_such_places(store, tmp_path):
    fill(store, ["x/b.png"])
    for source, output in (("memory://in//x", tmp_path / "out"), ("memory://in", "memory://out//x")):
        result = CliRunner().invoke(cli, ["process", source, "-o", str(output), "--op", "flip"])
        assert result.exit_code == 2 and "one slash between two names" in " ".join(result.output.split())
    assert not names(store) and not (tmp_path / "out").exists()


def test_one_object(store, tmp_path):
    fill(store, NAMES)
    assert convert("memory://in/b.png", "memory://out/c.png").done == 1
    assert names(store) == ["c.png"]
    again = convert("memory://in/b.png", "memory://out/c.png")
    assert again.failed == 1 and "of a single file as output nothing" in again.failures[0][1]
    assert convert("memory://in/b.png", tmp_path / "c.jpg").done == 1
    assert read_image("memory://in/b.png").pixels.shape == (5, 7, 3)


def test_what_is_not_there_is_a_sentence(store):
    with pytest.raises(PlanError, match=r"there is no such file or folder: memory://in/nothing\."):
        convert("memory://in/nothing")
    with pytest.raises(UsageError, match=r"nonsense:// is no kind of place that fsspec knows; these are"):
        convert("nonsense://a")
    store.pipe_file("/in/x.txt", b"")
    with pytest.raises(PlanError, match=r"no extension of a picture: 1 \.txt"):
        convert()


def test_a_store_that_fails_is_told_by_name(store, monkeypatch):
    fill(store, NAMES)

    def cat_file(self, path, **options):
        if path.endswith("a/2.png"):
            raise RuntimeError("503 Slow Down")
        return type(self)._real(self, path, **options)

    kind = type(store)
    monkeypatch.setattr(kind, "_real", kind.cat_file, raising=False)
    monkeypatch.setattr(kind, "cat_file", cat_file)
    summary = convert()
    assert summary.done == 3
    assert [(str(path), reason) for path, reason in summary.failures] == [
        ("memory://in/a/2.png", "the file cannot be opened: 503 Slow Down")
    ]


def test_an_object_that_cannot_be_looked_at_is_made_anew(store, monkeypatch):
    fill(store, NAMES)
    lookup = RemotePath.lookup

    def fails_once(path):
        if path.name == "2.png" and str(path).startswith("memory://out"):
            raise OSError("503 Slow Down")
        return lookup(path)

    with monkeypatch.context() as patch:
        patch.setattr(RemotePath, "lookup", fails_once)
        first = convert()
    assert (first.done, first.failed, state(store)) == (3, 1, ["begun", "manifest"])
    store.pipe_file("/out/b.png", b"edited")
    again = convert()
    assert (again.done, again.failed) == (1, 0)
    assert store.cat_file("/out/b.png") == b"edited"
    assert set(state(store)) == {"manifest"}


class UnreachableError(OSError):
    """As libraries for the web raise it: with arguments of its own."""

    def __init__(self, key, reason):
        super().__init__(111, reason)


def test_errors_of_libraries_are_told(store, monkeypatch):
    fill(store, NAMES)

    def cat_file(self, path, **options):
        raise UnreachableError("key", "Connection refused")

    monkeypatch.setattr(type(store), "cat_file", cat_file)
    summary = convert()
    assert {reason for _, reason in summary.failures} == {"the file cannot be opened: Connection refused"}


def test_a_place_that_cannot_be_written(store, monkeypatch):
    fill(store, NAMES)
    monkeypatch.setattr(type(store), "pipe_file", refuse)
    with pytest.raises(PlanError, match=r"the output folder memory://out cannot be written: Forbidden\."):
        convert()


def refuse(*_, **__):
    raise PermissionError("Forbidden")


def test_patterns_shards_and_flat(store):
    fill(store, NAMES)
    assert convert(rules=Rules(include=("a/*",), exclude=("*10*",))).done == 2
    assert names(store) == ["a/1.png", "a/2.png"]
    store.rm("/out", recursive=True)
    assert convert(rules=Rules(recursive=False, extension="jpg", suffix="_x")).done == 1
    assert names(store) == ["b_x.jpg"]


def test_rows_are_put_in_heaps_and_joined(store, monkeypatch):
    monkeypatch.setattr("img2img.batch.remote_manifest._ROWS", 1)
    fill(store, [f"{i}.png" for i in range(9)])
    convert()
    (name,) = store.find("/out/.img2img")
    lines = [json.loads(line) for line in store.cat_file(name).splitlines()]
    assert sum("begin" in line for line in lines) == sum("done" in line for line in lines) == 9
    assert convert().skipped == 9
