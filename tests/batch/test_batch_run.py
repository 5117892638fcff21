import errno
import gc
import logging
import os
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
from folders import Fake, convert, fill, picture, statuses

from img2img.batch import Rules, Shard, plan, run
from img2img.errors import ProcessingError, UsageError
from img2img.image import EncodeOptions, Image, Limits, files, read_image, write_image


def test_a_tree_comes_out_as_it_went_in(tmp_path):
    names = ["a.png", "sub/b.png", "sub/deep/c.tif"]
    fill(tmp_path / "in", names)
    before = {name: (tmp_path / "in" / name).read_bytes() for name in names}
    results = convert(tmp_path / "in", tmp_path / "out")
    assert set(statuses(results).values()) == {"done"}
    for name in names:
        assert (tmp_path / "in" / name).read_bytes() == before[name]
        result = results[Path(name).name]
        assert result.output == tmp_path / "out" / name
        assert set(result.ms) == {"decode", "process", "encode"} and result.pixels == 48
        source, output = read_image(tmp_path / "in" / name), read_image(tmp_path / "out" / name)
        np.testing.assert_array_equal(source.pixels, output.pixels)


@pytest.mark.parametrize("jobs", [1, 4])
def test_images_with_one_key_share_calls_in_one_thread(tmp_path, jobs):
    fill(tmp_path / "in", [f"a{i}.png" for i in range(8)])
    fill(tmp_path / "in", [f"b{i}.png" for i in range(5)], height=3)
    fake = Fake()
    convert(tmp_path / "in", tmp_path / "out", fake, jobs=jobs, batch_size=4)
    assert all(len(set(shapes)) == 1 and len(shapes) <= 4 for shapes in fake.calls)
    assert sorted(len(shapes) for shapes in fake.calls) == [1, 4, 4, 4]
    assert len(fake.threads) == 1 and fake.threads != {threading.get_ident()}


def test_images_without_a_key_stay_alone(tmp_path):
    fill(tmp_path / "in", [f"a{i}.png" for i in range(5)])
    fake = Fake()
    fake.group_key = lambda image: None
    convert(tmp_path / "in", tmp_path / "out", fake, batch_size=4)
    assert [len(shapes) for shapes in fake.calls] == [1] * 5


def test_no_image_waits_for_ever_for_company(tmp_path):
    for i in range(40):  # every size only once: the window fills with groups of one
        fill(tmp_path / "in", [f"{i}.png"], height=i + 1)
    fake = Fake()
    results = convert(tmp_path / "in", tmp_path / "out", fake, batch_size=8, jobs=1)
    assert len(results) == len(fake.calls) == 40


def test_large_pictures_are_not_grouped_by_default(tmp_path):
    fill(tmp_path / "in", [f"a{i}.png" for i in range(6)], 64, 64)
    small, large = Fake(), Fake()
    convert(tmp_path / "in", tmp_path / "out1", small)
    convert(tmp_path / "in", tmp_path / "out2", large, memory=200_000)
    assert max(map(len, small.calls)) == 6 and max(map(len, large.calls)) == 1


def test_a_bad_file_fails_alone(tmp_path):
    fill(tmp_path / "in", ["a.png", "b.png", "truncated.png", "z.png"])
    whole = (tmp_path / "in" / "truncated.png").read_bytes()
    (tmp_path / "in" / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "in" / "empty.jpg").touch()
    (tmp_path / "in" / "text.jpg").write_text("no picture")
    results = convert(tmp_path / "in", tmp_path / "out")
    bad = {"empty.jpg", "text.jpg", "truncated.png"}
    assert {name for name, result in results.items() if result.status == "failed"} == bad
    assert all(results[name].reason and results[name].output is None for name in bad)
    assert sorted(p.name for p in (tmp_path / "out").glob("*.png")) == ["a.png", "b.png", "z.png"]


@pytest.mark.parametrize("error", [ValueError("odd"), MemoryError(), ZeroDivisionError("x")])
def test_only_the_culprit_of_a_group_fails(tmp_path, error):
    fill(tmp_path / "in", [f"{i}.png" for i in range(6)])
    bad = read_image(tmp_path / "in" / "3.png").pixels

    def work(image: Image) -> Image:
        if np.array_equal(image.pixels, bad):
            raise error
        return image

    results = convert(tmp_path / "in", tmp_path / "out", Fake(work), batch_size=6)
    assert [name for name, r in results.items() if r.status == "failed"] == ["3.png"]
    assert ("memory" in results["3.png"].reason) == isinstance(error, MemoryError)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (lambda images: images[:-1], "0 images for 1"),
        (lambda images: [None] * len(images), "NoneType instead of an image"),
        (lambda images: None, "NoneType instead of a list"),
        (lambda images: [image.pixels for image in images], "ndarray instead of an image"),
    ],
)
def test_a_processor_that_breaks_its_promise(tmp_path, answer, sentence):
    class Broken(Fake):
        def __call__(self, images):
            return answer(images)

    fill(tmp_path / "in", ["a.png", "b.png"])
    results = convert(tmp_path / "in", tmp_path / "out", Broken())
    assert statuses(results) == {"a.png": "failed", "b.png": "failed"}
    assert all(sentence in result.reason for result in results.values())


@pytest.mark.parametrize("key", [lambda image: [1], lambda image: 1 / 0])
def test_a_group_key_that_fails(tmp_path, key):
    fake = Fake()
    fake.group_key = key
    fill(tmp_path / "in", ["a.png", "b.png"])
    assert set(statuses(convert(tmp_path / "in", tmp_path / "out", fake)).values()) == {"failed"}


def test_unexpected_errors_keep_their_traceback_in_the_log(tmp_path, caplog):
    def work(image: Image) -> Image:
        raise KeyError("surprise")

    fill(tmp_path / "in", ["a.png"])
    with caplog.at_level(logging.DEBUG, logger="img2img"):
        results = convert(tmp_path / "in", tmp_path / "out", Fake(work))
    assert "surprise" in results["a.png"].reason
    assert any(record.exc_info and record.exc_info[0] is KeyError for record in caplog.records)


def test_an_exit_in_a_processor_reaches_the_caller(tmp_path):
    def work(image: Image) -> Image:
        raise SystemExit(5)

    fill(tmp_path / "in", [f"{i}.png" for i in range(9)])
    with pytest.raises(SystemExit):
        convert(tmp_path / "in", tmp_path / "out", Fake(work))


def test_unreadable_folders_become_failed_results(tmp_path, monkeypatch):
    fill(tmp_path / "in", ["a.png", "secret/b.png"])
    scandir = os.scandir

    def guarded(path):
        if os.fspath(path).endswith("secret"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    results = convert(tmp_path / "in", tmp_path / "out")
    assert statuses(results) == {"a.png": "done", "secret": "failed"}


def test_pictures_in_flight_are_bounded(tmp_path):
    fill(tmp_path / "in", [f"{i:03}.png" for i in range(60)], 100, 100)
    alive: weakref.WeakSet[Image] = weakref.WeakSet()
    most = 0

    def work(image: Image) -> Image:
        nonlocal most
        result = image.replace(pixels=image.pixels.copy())
        alive.update((image, result))
        most = max(most, len(alive))
        time.sleep(0.001)
        return result

    size = 100 * 100 * 3
    convert(tmp_path / "in", tmp_path / "out", Fake(work), jobs=4, batch_size=1, memory=5 * size)
    # Five by the budget; one result more, because its size is only known when it is there, and its source.
    assert most <= 7
    gc.collect()
    assert len(alive) == 0


def test_what_is_to_be_found_out_of_each_source_is_in_its_result(tmp_path):
    fill(tmp_path / "in", ["a.png"], 9, 7)
    fill(tmp_path / "in", ["b.png"], 5, 7)
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")

    def work(image: Image) -> Image:
        if image.height == 5:
            raise ProcessingError("no")
        return image.replace(pixels=image.pixels[:2])

    results = convert(
        tmp_path / "in", tmp_path / "out", Fake(work), inspect=lambda image: {"rows": image.height}
    )
    found = {name: (result.status, result.to_json().get("input")) for name, result in results.items()}
    assert found == {
        "a.png": ("done", {"rows": 9}),
        "b.png": ("failed", {"rows": 5}),
        "broken.png": ("failed", None),
    }


def test_a_picture_larger_than_the_memory_passes_alone(tmp_path):
    fill(tmp_path / "in", [f"{i:03}.png" for i in range(6)], 50, 50)
    fill(tmp_path / "in", ["003b.png"], 400, 400)
    results = convert(tmp_path / "in", tmp_path / "out", jobs=3, memory=20_000)
    assert len(results) == 7 and set(statuses(results).values()) == {"done"}


def test_stop_finishes_what_is_in_flight_and_reports_nothing_else(tmp_path):
    fill(tmp_path / "in", [f"{i:03}.png" for i in range(80)])
    stop = threading.Event()
    results = []
    for result in run(plan([tmp_path / "in"], tmp_path / "out"), Fake(), stop=stop, jobs=2):
        results.append(result)
        if len(results) == 5:
            stop.set()
    assert 5 <= len(results) < 80 and {r.status for r in results} == {"done"}
    assert {r.output for r in results} == set((tmp_path / "out").glob("*.png"))
    rest = convert(tmp_path / "in", tmp_path / "out")
    assert sum(r.status == "skipped" for r in rest.values()) == len(results)


def test_stop_before_the_start_does_nothing(tmp_path):
    fill(tmp_path / "in", ["a.png"])
    stop = threading.Event()
    stop.set()
    assert list(run(plan([tmp_path / "in"], tmp_path / "out"), Fake(), stop=stop)) == []
    assert not (tmp_path / "out").exists()


def test_stop_during_a_long_call(tmp_path):
    fill(tmp_path / "in", [f"{i:03}.png" for i in range(30)])
    stop = threading.Event()

    def work(image: Image) -> Image:
        stop.set()
        return image

    fake = Fake(work)
    results = convert(tmp_path / "in", tmp_path / "out", fake, stop=stop, batch_size=1)
    assert len(fake.calls) == len(results) == 1


def test_max_failures(tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(50):
        (tmp_path / "in" / f"{i:03}.png").write_bytes(b"bad")
    results = convert(tmp_path / "in", tmp_path / "out", max_failures=3, jobs=2)
    assert 3 <= len(results) <= 5


@pytest.mark.parametrize("take", [0, 1, 7])
def test_closing_early_ends_the_threads(tmp_path, take):
    fill(tmp_path / "in", [f"{i:03}.png" for i in range(40)])
    results = run(plan([tmp_path / "in"], tmp_path / "out"), Fake(), jobs=3)
    for _ in range(take):
        next(results)
    results.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("img2img")]
    assert not list((tmp_path / "in").parent.rglob("*.part"))
    assert set(statuses(convert(tmp_path / "in", tmp_path / "out")).values()) <= {"done", "skipped"}


def test_results_that_nobody_fetches_stop_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr("img2img.batch.flow._UNREAD_RESULTS", 5)
    fill(tmp_path / "in", [f"{i:03}.png" for i in range(60)])
    fake = Fake()
    results = run(plan([tmp_path / "in"], tmp_path / "out"), fake, jobs=2, batch_size=1)
    next(results)
    time.sleep(0.3)
    assert len(fake.calls) < 30
    assert len(list(results)) == 59


@pytest.mark.parametrize("option", ["jobs", "batch_size", "memory", "max_failures"])
def test_numbers_must_make_sense(tmp_path, option):
    with pytest.raises(UsageError, match=option):
        run(plan([fill(tmp_path / "in", ["a.png"])], tmp_path / "out"), Fake(), **{option: 0})


def with_alpha(image: Image) -> Image:
    return image.replace(alpha=np.full(image.pixels.shape[:2], 7, image.pixels.dtype))


def as_float(image: Image) -> Image:
    return Image(image.pixels.astype(np.float32) / 255)


def with_five_channels(image: Image) -> Image:
    return Image(np.repeat(image.pixels[..., :1], 5, axis=2))


@pytest.mark.parametrize(
    ("work", "expected"),
    [(with_alpha, "a.jpg.png"), (as_float, "a.jpg.tif"), (with_five_channels, "a.jpg.tif")],
)
@pytest.mark.parametrize("rules", [Rules(), Rules(extension="jpg")])
def test_a_format_that_cannot_hold_the_result(tmp_path, work, expected, rules):
    fill(tmp_path / "in", ["a.jpg"])
    the_plan = plan([tmp_path / "in"], tmp_path / "out", rules)
    (result,) = run(the_plan, Fake(work))
    assert (result.status, result.output) == ("done", tmp_path / "out" / expected)
    assert any(expected in warning for warning in result.warnings)
    assert read_image(result.output).pixels.shape[:2] == (6, 8)
    (again,) = run(the_plan, Fake(work))
    assert (again.status, again.output) == ("skipped", result.output)


def test_a_fallback_name_that_is_another_file_s(tmp_path):
    fill(tmp_path / "in", ["a.jpg", "a.jpg.png"])
    results = convert(tmp_path / "in", tmp_path / "out", Fake(with_alpha))
    assert statuses(results) == {"a.jpg": "failed", "a.jpg.png": "done"}
    assert "a.jpg.png" in results["a.jpg"].reason


def test_a_fallback_name_never_replaces_a_source(tmp_path):
    fill(tmp_path, ["b.jpg", "b_x.jpg.png"])
    before = (tmp_path / "b_x.jpg.png").read_bytes()
    the_plan = plan([tmp_path / "b.jpg", tmp_path / "b_x.jpg.png"], tmp_path, Rules(suffix="_x"))
    results = {r.source.name: r for r in run(the_plan, Fake(with_alpha), overwrite=True)}
    assert results["b.jpg"].status == "failed"
    assert (tmp_path / "b_x.jpg.png").read_bytes() == before


def test_limits_and_encoding_are_used(tmp_path):
    fill(tmp_path / "in", ["a.jpg"], 64, 64)
    assert (
        "pixels; at most"
        in convert(tmp_path / "in", tmp_path / "1", limits=Limits(max_pixels=99))["a.jpg"].reason
    )
    low, high = (
        convert(tmp_path / "in", tmp_path / f"q{q}", options=EncodeOptions(quality=q))["a.jpg"]
        for q in (10, 95)
    )
    assert low.output.stat().st_size < high.output.stat().st_size


def test_warnings_come_from_source_processor_and_encoder(tmp_path):
    fill(tmp_path / "in", ["a.bmp"])

    def work(image: Image) -> Image:
        return image.replace(exif=b"II*\0\x08\0\0\0\0\0\0\0\0\0").warn("the processor said so")

    result = convert(tmp_path / "in", tmp_path / "out", Fake(work))["a.bmp"]
    assert "the processor said so" in result.warnings
    assert len(result.warnings) == len(set(result.warnings)) == 2


def test_a_single_file(tmp_path):
    fill(tmp_path, ["a.png"])
    the_plan = plan([tmp_path / "a.png"], tmp_path / "new" / "b.webp")
    assert [r.status for r in run(the_plan, Fake())] == ["done"]
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["b.webp"]
    (again,) = run(the_plan, Fake())
    assert again.status == "failed" and "overwrite" in again.reason
    assert [r.status for r in run(the_plan, Fake(), overwrite=True)] == ["done"]


NAMES = [
    os.fsdecode(b"caf\xe9.png"),
    "naïve 日本.png",
    "tab\tnew\nline.png",
    "x" * 251 + ".png",
    "-rf.png",
    "%s{}.png",
]


def test_every_name_survives(tmp_path):
    fill(tmp_path / "in", ["seed.png"])
    data = (tmp_path / "in" / "seed.png").read_bytes()
    for name in NAMES:
        (tmp_path / "in" / name).write_bytes(data)
    results = convert(tmp_path / "in", tmp_path / "out")
    assert set(statuses(results).values()) == {"done"}
    assert {p.name for p in (tmp_path / "out").glob("*.png")} == {*NAMES, "seed.png"}
    assert set(statuses(convert(tmp_path / "in", tmp_path / "out")).values()) == {"skipped"}


def test_a_name_that_becomes_too_long_fails_with_a_sentence(tmp_path):
    fill(tmp_path, ["a.png"])
    long = tmp_path / ("x" * 251 + ".gif")
    long.write_bytes((tmp_path / "a.png").read_bytes())
    for _ in range(2):  # the second time its folder is there, which must not change anything
        results = {r.source: r for r in run(plan([tmp_path / "a.png", long], tmp_path / "out"), Fake())}
        assert results[long].status == "failed" and "too long" in results[long].reason.lower()
        assert results[tmp_path / "a.png"].status in ("done", "skipped")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_disk_errors_leave_nothing_behind(tmp_path, monkeypatch, code):
    fill(tmp_path / "in", ["a.png", "b.png"])

    def broken(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.os, "fsync", broken)
    results = convert(tmp_path / "in", tmp_path / "out")
    monkeypatch.undo()
    assert statuses(results) == {"a.png": "failed", "b.png": "failed"}
    assert all("written" in result.reason for result in results.values())
    assert [p for p in (tmp_path / "out").rglob("*") if p.is_file()] == []
    assert set(statuses(convert(tmp_path / "in", tmp_path / "out")).values()) == {"done"}


def test_an_output_folder_that_cannot_be_made(tmp_path):
    fill(tmp_path / "in", ["sub/a.png", "b.png"])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").write_text("a file is in the way")
    results = convert(tmp_path / "in", tmp_path / "out")
    assert statuses(results) == {"a.png": "failed", "b.png": "done"}
    assert (tmp_path / "out" / "sub").read_text() == "a file is in the way"


def test_a_source_that_vanishes_or_turns_into_a_pipe(tmp_path):
    fill(tmp_path / "in", ["a.png", "b.png", "c.png"])
    the_plan = plan([tmp_path / "in"], tmp_path / "out")
    for name in ("a.png", "b.png"):
        (tmp_path / "in" / name).unlink()
    os.mkfifo(tmp_path / "in" / "b.png")
    for checksum in (False, True):
        results = {r.source.name: r for r in run(the_plan, Fake(), checksum=checksum, overwrite=True)}
        assert [results[n].status for n in ("a.png", "b.png")] == ["failed", "failed"]
        assert "pipe" in results["b.png"].reason


def test_shards_share_an_output_folder(tmp_path):
    fill(tmp_path / "in", [f"{i}.png" for i in range(30)])
    plans = [plan([tmp_path / "in"], tmp_path / "out", Rules(shard=Shard(i, 3))) for i in (1, 2, 3)]
    runs = [run(part, Fake(), jobs=1) for part in plans]
    counts = [0, 0, 0]
    for i, results in enumerate(runs):  # side by side
        counts[i] += next(results).status == "done"
    for i, results in enumerate(runs):
        counts[i] += sum(r.status == "done" for r in results)
    assert counts == [len(part.items) for part in plans] and sum(counts) == 30
    whole = convert(tmp_path / "in", tmp_path / "out")
    assert set(statuses(whole).values()) == {"skipped"}
    assert len(list((tmp_path / "out" / ".img2img").iterdir())) == 3


def test_pictures_of_every_kind_of_result(tmp_path):
    write = {
        "grey.png": picture(channels=1),
        "alpha.png": picture(alpha=True),
        "grey_alpha.png": picture(channels=1, alpha=True),
        "deep.png": Image(picture().pixels.astype(np.uint16) * 257),
        "float.tif": as_float(picture()),
    }
    (tmp_path / "in").mkdir()
    for name, image in write.items():
        write_image(image, tmp_path / "in" / name)
    results = convert(tmp_path / "in", tmp_path / "out")
    for name, image in write.items():
        assert results[name].output == tmp_path / "out" / name
        np.testing.assert_array_equal(read_image(tmp_path / "out" / name).pixels, image.pixels)
