"""Image sequences (frame_%04d.png) into videos, and the frames of videos into them."""

import importlib.util
import json

import numpy as np
import pytest
from clips import Invert, look, make_clip

from img2img.batch import Rules, plan, run
from img2img.batch.fingerprint import Fingerprint
from img2img.errors import PlanError
from img2img.image import Image, read_image, write_image
from img2img.video import VideoOptions

needs_av = pytest.mark.skipif(importlib.util.find_spec("av") is None, reason="videos need PyAV")


def pictures(folder, numbers, dtype=np.uint8, size=(24, 32), name="frame_{:04d}.png", alpha=False):
    """Writes numbered pictures whose colours tell their numbers; returns the pattern."""
    folder.mkdir(parents=True, exist_ok=True)
    white = np.iinfo(dtype).max
    for number in numbers:
        pixels = np.full((*size, 3), white // 4, dtype)
        pixels[:, :number] = white // 2
        opacity = np.full(size, white // 3, dtype) if alpha else None
        write_image(Image(pixels, opacity), folder / name.format(number))
    return folder / name.replace("{:04d}", "%04d").replace("{}", "%d")


def result_of(source, output, process=None, overwrite=False, **options):
    """Converts one input; returns its only result."""
    planned = plan([source], output, Rules(video=VideoOptions(**options)))
    assert planned.reason is None, planned.reason
    (result,) = run(planned, process or Invert(), settings={"p": 1}, overwrite=overwrite, jobs=1)
    return result


@needs_av
def test_pictures_become_a_video_and_a_video_becomes_pictures(tmp_path):
    """Stands for renderers and editors that hand frames over as files."""
    from fractions import Fraction

    source = pictures(tmp_path / "in", range(7, 19))
    made = result_of(source, tmp_path / "out.mkv", codec="ffv1", fps=Fraction(24))
    assert made.status == "done", made.reason
    seen = look(made.output)
    assert np.allclose(np.diff(np.array(seen.times, float)), 1 / 24, atol=1e-3)
    expected = [255 - read_image(path).pixels for path in sorted((tmp_path / "in").iterdir())]
    np.testing.assert_array_equal(seen.frames, np.stack(expected))

    back = tmp_path / "frames" / "f_%03d.png"
    result = result_of(made.output, back)
    assert result.status == "done" and result.video["frames"] == 12, result.reason
    files = sorted((tmp_path / "frames").glob("*.png"))
    assert [path.name for path in files[:2]] == ["f_001.png", "f_002.png"] and len(files) == 12
    for path, pixels in zip(files, expected, strict=True):
        np.testing.assert_array_equal(read_image(path).pixels, 255 - pixels)
    process = Invert()
    assert result_of(made.output, back, process).status == "skipped" and not process.batches
    files[8].unlink()
    assert result_of(made.output, back, process).video["resumed"] == 8 and files[8].exists()


@needs_av
@pytest.mark.parametrize("alpha", [False, True])
def test_a_gap_is_held_or_fails_and_depth_and_alpha_are_kept_where_the_codec_has_them(tmp_path, alpha):
    source = pictures(tmp_path / "in", [1, 2, 4, 5], np.uint16, alpha=alpha)
    made = result_of(source, tmp_path / "out.mkv", codec="ffv1")
    assert made.video["held"] == [2] and "number 3 is missing" in " ".join(made.warnings), made
    seen = look(made.output, "rgba64le" if alpha else "rgb48le")
    assert len(seen.frames) == 5 and (seen.frames[2] == seen.frames[1]).all()
    assert seen.frames[0, 0, 20, 0] == 65535 - 65535 // 4
    if alpha:
        assert seen.frames[0, 0, 0, 3] == 65535 // 3
    failed = result_of(source, tmp_path / "strict.mkv", broken_frames="fail")
    assert failed.status == "failed" and "broken" in failed.reason


@needs_av
def test_sequences_that_cannot_be_one_say_why(tmp_path):
    mixed = pictures(tmp_path / "mixed", [1, 2])
    pictures(tmp_path / "mixed", [3], size=(10, 12))
    failed = result_of(mixed, tmp_path / "mixed.mp4")
    assert failed.status == "failed" and "size changes at frame 2" in failed.reason
    sparse = pictures(tmp_path / "sparse", [1, 50])
    failed = result_of(sparse, tmp_path / "sparse.mp4")
    assert failed.status == "failed" and "without gaps" in failed.reason
    with pytest.raises(PlanError, match=r"no file .*empty_0001.png"):
        plan([tmp_path / "empty_%04d.png"], tmp_path / "out.mp4")
    with pytest.raises(PlanError, match="alone"):
        plan([mixed, sparse], tmp_path / "out")
    with pytest.raises(PlanError, match="`fps`"):
        plan([tmp_path / "mixed"], tmp_path / "out", Rules(video=VideoOptions(fps=24)))


def test_no_picture_of_a_sequence_is_replaced_by_the_result(tmp_path):
    """Stands for outputs that are called like one of the many inputs which a pattern stands for."""
    source = pictures(tmp_path, [1, 2, 3])
    for output in (tmp_path / "frame_0002.png", tmp_path / "frame_0003.png"):
        with pytest.raises(PlanError, match="inputs are never written"):
            plan([source], output, Rules(video=VideoOptions(animated=True)))
    assert plan([source], tmp_path / "frame_0004.png", Rules(video=VideoOptions(animated=True))).items


def test_a_sequence_is_another_one_with_another_companion(tmp_path):
    source = pictures(tmp_path, [1, 2])
    mask = tmp_path / "mask.png"
    mask.write_bytes(b"one")
    before = Fingerprint.of(source, companions={"mask": mask})
    assert Fingerprint.from_json(json.loads(json.dumps(before.to_json()))) == before
    mask.write_bytes(b"another")
    assert not Fingerprint.of(source, companions={"mask": mask}).matches(before)


def test_pictures_become_pictures_with_their_numbers(tmp_path):
    source = pictures(tmp_path / "in", [3, 10, 200], name="a{}.png")
    planned = plan([source], tmp_path / "out" / "b_%05d.tif", Rules(video=VideoOptions(frames=(1, None))))
    assert [item.output.name for item in planned.items] == ["b_00010.tif", "b_00200.tif"]
    folder = plan([source], tmp_path / "out")
    assert [item.output.name for item in folder.items] == ["a3.png", "a10.png", "a200.png"]


@needs_av
@pytest.mark.slow
def test_frames_of_a_killed_run_are_not_made_again(tmp_path):
    import threading

    source = make_clip(tmp_path / "clip.mp4", frames=40)
    stop = threading.Event()

    class Stopping(Invert):
        def __call__(self, images):
            if sum(self.batches) > 15:
                stop.set()
            return super().__call__(images)

    planned = plan([source], tmp_path / "out" / "%d.jpg")
    assert not list(run(planned, Stopping(), settings={"p": 1}, stop=stop))
    process = Invert()
    result = result_of(source, tmp_path / "out" / "%d.jpg", process)
    assert result.video["frames"] == 40 and result.video["resumed"] + sum(process.batches) == 40
    assert result.video["resumed"] >= 8 and len(list((tmp_path / "out").glob("*.jpg"))) == 40


@needs_av
def test_frames_of_a_longer_result_of_before_do_not_stay_behind_the_last_one(tmp_path):
    """Stands for a film that was cut shorter and converted again: old frames would be its end."""
    source, back = tmp_path / "clip.mkv", tmp_path / "frames" / "f_%d.png"
    result_of(pictures(tmp_path / "a", range(1, 13)), source, codec="ffv1")
    assert result_of(source, back).video["frames"] == 12
    at = lambda number: tmp_path / "frames" / f"f_{number}.png"  # noqa: E731
    # edited, of somebody else, of another video, and not of the sequence
    write_image(Image(np.zeros((3, 3, 3), np.uint8), None), at(10))
    at(11).unlink()
    write_image(Image(np.ones((3, 3, 3), np.uint8), None), at(11))
    foreign = {at(10), at(11), at(40), at("07"), at("12b")}
    for path in foreign - {at(10), at(11)}:
        path.write_bytes(b"mine")
    kept = {path: path.read_bytes() for path in foreign}
    source.unlink()
    result_of(pictures(tmp_path / "b", range(1, 6)), source, codec="ffv1")
    result = result_of(source, back)
    assert result.status == "done" and result.video["frames"] == 5
    assert set((tmp_path / "frames").glob("*.png")) == {at(n) for n in range(1, 6)} | foreign
    assert {path: path.read_bytes() for path in foreign} == kept
    said = " ".join(result.warnings)
    assert "5 pictures (f_6.png to f_12.png) of an earlier, longer result were removed" in said
    assert "3 pictures (f_10.png to f_40.png) with higher numbers" in said and "not touched" in said
    assert result_of(source, back).status == "skipped"


@needs_av
def test_frames_of_another_video_stay(tmp_path):
    back = tmp_path / "frames" / "%03d.png"
    for name, frames in (("long", 6), ("short", 3)):
        result_of(pictures(tmp_path / name, range(1, 1 + frames)), tmp_path / f"{name}.mkv", codec="ffv1")
    assert result_of(tmp_path / "long.mkv", back).status == "done"
    result = result_of(tmp_path / "short.mkv", back, overwrite=True)
    assert result.status == "done" and len(list((tmp_path / "frames").glob("*.png"))) == 6
    assert any("3 pictures (004.png to 006.png) with higher numbers" in each for each in result.warnings)


def test_a_picture_may_be_called_like_a_pattern(tmp_path):
    pictures(tmp_path, [1], name="a{}.png")
    planned = plan([tmp_path / "a1.png"], tmp_path / "50%done.png")
    assert [item.output.name for item in planned.items] == ["50%done.png"]
    assert plan([tmp_path / "a1.png"], tmp_path / "100%done").items[0].output.parent.name == "100%done"


def test_what_a_sequence_is_made_of_with_companions_is_remembered(tmp_path):
    pattern = pictures(tmp_path, [1, 2])
    write_image(Image(np.zeros((2, 2, 3), np.uint8), None), tmp_path / "style.png")
    found = Fingerprint.of(pattern, companions={"style": tmp_path / "style.png", "age": (0.5,)})
    assert Fingerprint.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert found.matches(found) and not found.matches(Fingerprint.of(pattern, companions={"age": (0.5,)}))
