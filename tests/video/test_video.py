"""Videos through the batch engine: what comes out, beside the frames, is what went in."""

import importlib.util
import pathlib
import subprocess
import threading

import numpy as np
import programs
import pytest
from clips import Invert, convert, look, make_clip

from img2img.batch import Rules, plan, run
from img2img.image import Image, Limits, read_image, write_image
from img2img.video import VideoOptions
from img2img.video.clip import frames, open_clip
from img2img.video.colour import ToPictures

pytestmark = pytest.mark.skipif(importlib.util.find_spec("av") is None, reason="videos need PyAV")


def test_a_folder_of_pictures_and_videos(tmp_path):
    """Stands for phones' folders: a turned video with sound beside a picture and files that are none."""
    source, output = tmp_path / "in", tmp_path / "out"
    make_clip(source / "turned.mp4", audio=1, turn=90)
    write_image(Image(np.full((8, 9, 3), 50, np.uint8)), source / "picture.png")
    (source / "text.mp4").write_text("no video")
    (source / "empty.mov").touch()
    process = Invert()
    results = convert(source, output, process, codec="libx264rgb", crf=0)
    assert {name: r.status for name, r in results.items()} == {
        "turned.mp4": "done",
        "picture.png": "done",
        "text.mp4": "failed",
        "empty.mov": "failed",
    }
    assert "not a video" in results["text.mp4"].reason and "empty" in results["empty.mov"].reason
    before, after = look(source / "turned.mp4"), look(output / "turned.mp4")
    assert before.packets == after.packets and before.times == after.times
    assert after.facts["rotation"] == 90 and after.facts["size"] == (64, 48)
    assert max(process.batches) > 1
    assert results["turned.mp4"].video["frames"] == 12 and results["turned.mp4"].video["fps"] == 25
    assert not (output / ".img2img" / "video").exists()
    again = convert(source, output, process, codec="libx264rgb", crf=0)
    assert again["turned.mp4"].status == "skipped"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format", "options", "seen"),
    [
        ("yuv420p", {"codec": "ffv1"}, "rgb24"),
        ("yuv420p", {"codec": "libx264", "crf": 0}, "rgb24"),
        ("yuv420p10le", {"codec": "ffv1"}, "rgb48le"),
    ],
)
def test_frames_stored_without_loss_are_those_of_the_folder_of_frames(tmp_path, format, options, seen):
    source = make_clip(tmp_path / "in" / "clip.mkv", format=format)
    clip, _ = open_clip(source, Limits())
    to_picture = ToPictures(clip.colours, clip.orientation)
    (tmp_path / "frames").mkdir()
    for raw in frames(clip, VideoOptions(), []):
        write_image(to_picture(raw.frame), tmp_path / "frames" / f"{raw.index:02d}.png")
    convert(tmp_path / "frames", tmp_path / "pictures")
    result = convert(source, tmp_path / "out", **options)["clip.mkv"]
    expected = [read_image(path).pixels for path in sorted((tmp_path / "pictures").glob("*.png"))]
    np.testing.assert_array_equal(look(result.output, seen).frames, np.stack(expected))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("odd.mp4", {"size": (63, 47), "format": "yuv444p"}),
        ("odd.webm", {"size": (63, 47), "codec": "libvpx-vp9", "audio": 1}),
        ("varying.mp4", {"times": [0, 10, 50, 51, 200, 333, 400, 1000, 1001, 1100, 1500, 2000]}),
        ("varying.mkv", {"times": [0, 10, 50, 51, 200, 333, 400, 1000, 1001, 1100, 1500, 2000]}),
        (
            "deep.mp4",
            {
                "format": "yuv420p10le",
                "color_primaries": 9,
                "color_trc": 16,
                "colorspace": 9,
                "color_range": 1,
            },
        ),
        ("two_tracks.mov", {"codec": "prores_ks", "format": "yuv422p10le", "audio": 2, "turn": 180}),
        ("wide_pixels.mp4", {"sample_aspect_ratio": "4:3"}),
        ("full_range.mp4", {"format": "yuvj420p", "color_range": 2}),
    ],
)
def test_what_a_video_says_stays(tmp_path, name, made):
    """Stands for sizes, rates, depths, colours and tracks as cameras and editors make them."""
    from fractions import Fraction

    if "sample_aspect_ratio" in made:
        made = made | {"sample_aspect_ratio": Fraction(4, 3)}
    source = make_clip(tmp_path / "in" / name, **made)
    result = convert(source.parent, tmp_path / "out")[name]
    assert result.status == "done" and result.output is not None, result.reason
    before, after = look(source), look(result.output)
    for facts in (before.facts, after.facts):
        del facts["metadata"]  # the brands of the container are the muxer's
    assert after.facts == before.facts
    assert after.times == before.times and after.packets == before.packets


@pytest.mark.slow
def test_a_file_that_is_cut_off_gives_what_is_there_or_fails(tmp_path):
    whole = make_clip(tmp_path / "whole.mkv", frames=120)
    cut = tmp_path / "in" / "cut.mkv"
    cut.parent.mkdir()
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    held = convert(cut.parent, tmp_path / "held")["cut.mkv"]
    assert held.status == "done" and any("cut off" in sentence for sentence in held.warnings)
    assert 0 < held.video["frames"] < 120
    failed = convert(cut.parent, tmp_path / "failed", broken_frames="fail")["cut.mkv"]
    assert failed.status == "failed" and not list((tmp_path / "failed").glob("*.mkv"))


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from clips import Invert, convert

class Telling(Invert):
    def __call__(self, images):
        print("frames", flush=True)
        return super().__call__(images)

convert(Path(sys.argv[1]), Path(sys.argv[2]), Telling(), smooth=float(sys.argv[3]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("smooth", ["0", "0.6"])
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path, smooth):
    source = make_clip(tmp_path / "in" / "clip.mp4", frames=330, audio=1)
    whole = convert(source, tmp_path / "whole", smooth=float(smooth))["clip.mp4"].output
    output = tmp_path / "out"
    here = str(pathlib.Path(__file__).parent)
    process = programs.start(["-c", SCRIPT, source, output, smooth, here], stdout=subprocess.PIPE)
    while not list(output.rglob("000000.json")):
        assert process.stdout is not None and process.stdout.readline()
    process.kill()
    process.wait()
    process.stdout.close()
    assert not (output / "clip.mp4").exists()
    result = convert(source, output, smooth=float(smooth))["clip.mp4"]
    assert result.video["resumed"] >= 100
    assert result.output.read_bytes() == whole.read_bytes()
    assert not (output / ".img2img" / "video").exists()


@pytest.mark.slow
def test_a_run_that_is_stopped_leaves_no_file_and_goes_on(tmp_path):
    source = make_clip(tmp_path / "in" / "clip.mp4", frames=250)
    stop = threading.Event()

    class Stopping(Invert):
        def __call__(self, images):
            if sum(self.batches) > 150:
                stop.set()
            return super().__call__(images)

    planned = plan([source], tmp_path / "out", Rules(video=VideoOptions()))
    assert not list(run(planned, Stopping(), settings={"process": "invert"}, stop=stop))
    assert not (tmp_path / "out" / "clip.mp4").exists()
    result = convert(source, tmp_path / "out")["clip.mp4"]
    assert result.video["resumed"] == 100 and result.video["frames"] == 250
