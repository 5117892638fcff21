"""Videos where something is missing, full, interrupted or changes on the way."""

import importlib.util
import json
import os
import pathlib
import signal
import sys

import numpy as np
import programs
import pytest
from clips import Invert, convert, look, make_clip

from img2img.batch import plan, run
from img2img.image import EncodeOptions, Image, read_image, write_image
from img2img.image.xmp import GENERATED

pytestmark = pytest.mark.skipif(importlib.util.find_spec("av") is None, reason="videos need PyAV")
HERE = str(pathlib.Path(__file__).parent)


def test_without_pyav_each_video_says_what_to_install_and_pictures_go_on(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "clip.mp4").write_bytes(b"whatever")
    write_image(Image(np.zeros((8, 9, 3), np.uint8)), tmp_path / "in" / "picture.png")
    monkeypatch.setitem(sys.modules, "av", None)
    results = convert(tmp_path / "in", tmp_path / "out", codec="h264")
    assert "pip install img2img[video]" in results["clip.mp4"].reason
    assert results["picture.png"].status == "done"


class Marking(Invert):
    def __call__(self, images):
        return [
            image.replace(metadata=image.metadata.replace(source_type=GENERATED))
            for image in super().__call__(images)
        ]


def test_what_a_network_made_says_so_and_places_are_left_out(tmp_path):
    """Stands for phones' videos, which say where they were made."""
    import av

    plain = make_clip(tmp_path / "plain.mp4", frames=3)
    source = tmp_path / "in" / "clip.mp4"
    source.parent.mkdir()
    with av.open(str(plain)) as old, av.open(str(source), "w") as new:
        copy = new.add_stream_from_template(old.streams.video[0])
        new.metadata.update({"comment": "at home", "location": "+52.5+013.4/", "title": "cat"})
        for packet in old.demux():
            if packet.size:
                packet.stream = copy
                new.mux(packet)
    results = {}
    for name, options in (("kept", {}), ("gps", {"strip_gps": True}), ("none", {"strip_metadata": True})):
        planned = plan([source.parent], tmp_path / name)
        (result,) = run(planned, Marking(), settings={"m": 1}, options=EncodeOptions(**options))
        assert result.status == "done", result.reason
        results[name] = look(result.output).facts["metadata"]
    assert results["kept"]["comment"].startswith("at home") and GENERATED in results["kept"]["comment"]
    assert results["kept"]["location"].startswith("+52.5") and results["kept"]["title"] == "cat"
    assert "location" not in results["gps"] and results["gps"]["title"] == "cat"
    assert not {"location", "title"} & results["none"].keys() and GENERATED in results["none"]["comment"]


def test_facts_of_a_video_stand_in_the_manifest(tmp_path):
    make_clip(tmp_path / "in" / "clip.mkv", frames=5)
    result = convert(tmp_path / "in", tmp_path / "out")["clip.mkv"]
    lines = (tmp_path / "out" / ".img2img" / "manifest.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["video"] == {**result.video, "broken": 0}
    assert result.video["frames"] == 5 and result.video["seconds"] == 0.2


def test_frames_of_an_hdr_video_become_pictures_that_say_so(tmp_path):
    made = {"format": "yuv420p10le", "color_primaries": 9, "color_trc": 16, "colorspace": 9}
    source = make_clip(tmp_path / "hdr.mp4", frames=2, **made)
    (result,) = run(plan([source], tmp_path / "out" / "f_%d.png"), Invert(), settings={"p": 1})
    assert result.status == "done" and "PQ" in " ".join(result.warnings), result
    picture = read_image(tmp_path / "out" / "f_1.png")
    assert picture.pixels.dtype == np.uint16 and picture.space is not None
    assert (picture.space.primaries, picture.space.transfer) == (9, 16)


def test_one_model_is_chosen_for_all_frames(tmp_path):
    class Choosing(Invert):
        def __init__(self, chosen=None):
            super().__init__()
            self.chosen, self.seen = chosen, []

        def settled(self, images):
            self.seen = [float(image.pixels.mean()) for image in images]
            return Choosing("one")

        def __call__(self, images):
            assert self.chosen == "one"
            return [image.replace(made_by="one") for image in super().__call__(images)]

    make_clip(tmp_path / "in" / "clip.mkv", frames=12)
    process = Choosing()
    result = convert(tmp_path / "in", tmp_path / "out", process)["clip.mkv"]
    assert result.made_by == "one" and len(process.seen) == 5


@pytest.mark.slow
def test_a_size_that_changes_in_the_middle_fails_with_the_frame(tmp_path):
    source = tmp_path / "in" / "clip.ts"
    source.parent.mkdir()
    parts = [make_clip(tmp_path / f"{side}.ts", size=(side, side), frames=6) for side in (64, 96)]
    source.write_bytes(b"".join(path.read_bytes() for path in parts))
    result = convert(source.parent, tmp_path / "out")["clip.ts"]
    assert result.status == "failed" and "size changes at frame 6, from 64 x 64 to 96 x 96" in result.reason


FULL = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from clips import Invert, convert
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), int(sys.argv[4])))
(result,) = convert(Path(sys.argv[1]), Path(sys.argv[2]), codec="ffv1").values()
print(result.status, result.reason)
"""


@pytest.mark.slow
@pytest.mark.parametrize("limit", [20_000, 600_000])
def test_a_full_disk_leaves_no_video(tmp_path, limit):
    """A limit on file size stands for a disk that fills up: in a part, or when parts are put together."""
    source = make_clip(tmp_path / "in" / "clip.mkv", frames=250)
    done = programs.run(["-c", FULL, source, tmp_path / "out", HERE, str(limit)])
    assert done.stdout.startswith("failed"), (done.stdout, done.stderr)
    assert "too large" in done.stdout.lower() or "space" in done.stdout, done.stdout
    assert not [path for path in (tmp_path / "out").rglob("*") if path.suffix == ".mkv"]
    assert not list((tmp_path / "out").rglob("*.part"))
    assert convert(source, tmp_path / "out", codec="ffv1")["clip.mkv"].status == "done"


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_keeps_what_is_finished(tmp_path):
    import pty

    source = make_clip(tmp_path / "in" / "clip.mp4", frames=250)
    command = [sys.executable, "-m", "img2img", "process", str(source), "-o", str(tmp_path / "out")]
    command += ["--op", "denoise"]
    child, terminal = pty.fork()
    if child == 0:
        os.execv(command[0], command)
    said, pressed = b"", False
    while True:
        try:
            said += os.read(terminal, 4096)
        except OSError:  # the other end is closed
            break
        if not pressed and list((tmp_path / "out").rglob("000000.json")):
            os.write(terminal, b"\x03")
            pressed = True
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert pressed and os.waitstatus_to_exitcode(status) in (130, -signal.SIGINT), said
    assert b"Traceback" not in said and not (tmp_path / "out" / "clip.mp4").exists()
    report = tmp_path / "report.jsonl"
    done = programs.run(["-m", "img2img", *command[3:], "--report", report])
    assert done.returncode == 0, done.stderr
    assert json.loads(report.read_text())["video"]["resumed"] >= 100


LONG = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from clips import Invert, convert

held = []

class Measuring(Invert):
    def __call__(self, images):
        before = sum(self.batches)
        made = super().__call__(images)
        if before // 500 < sum(self.batches) // 500:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            held.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
        return made

source, output, _, extension = sys.argv[1:]
(result,) = convert(Path(source), Path(output), Measuring(), extension=extension, animated=True).values()
print(result.status, result.video.get("frames"), *held)
"""


@pytest.mark.slow
@pytest.mark.skipif(not pathlib.Path("/proc/self/statm").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("extension", ["mkv", "gif", "apng"])
def test_memory_does_not_grow_with_the_length(tmp_path, extension):
    """The last 1500 of these frames would be 41 MiB."""
    source = make_clip(tmp_path / "in" / "clip.mkv", frames=2000, size=(112, 84))
    done = programs.run(["-c", LONG, source, tmp_path / "out", HERE, extension], timeout=600)
    status, count, *held = done.stdout.split()
    assert (status, count) == ("done", "2000"), (done.stdout, done.stderr)
    assert float(held[-1]) - float(held[0]) < 7, held
