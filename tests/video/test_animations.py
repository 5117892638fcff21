"""Animated GIF, WebP and PNG files as short videos: frames as they are seen, their times, repetitions."""

import importlib.util
import re
import struct
import zlib

import cv2
import numpy as np
import pytest
from clips import Invert, convert, look
from PIL import Image as PillowImage
from PIL import ImageSequence

from img2img.batch import Rules, plan, run
from img2img.image import EncodeOptions
from img2img.image.xmp import GENERATED
from img2img.video import VideoOptions

needs_av = pytest.mark.skipif(importlib.util.find_spec("av") is None, reason="videos need PyAV")


def moving(path, count=5, alpha=False, durations=(40, 70, 100, 200, 50), loop=0, size=(33, 21), **more):
    """Writes an animation of which most of every frame is left out, since the one before shows it."""
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 6, (size[1], size[0], 3), np.uint8) * 40
    frames = []
    for index in range(count):
        pixels = scene.copy()
        pixels[3:9, 2 + 3 * index : 8 + 3 * index] = (10 + index, 200, 90)
        if alpha:
            opacity = np.full((*pixels.shape[:2], 1), 255, np.uint8)
            opacity[12:, 4 * index : 4 * index + 9] = 0
            pixels = np.concatenate((pixels, opacity), 2)
        frames.append(PillowImage.fromarray(pixels))
    path.parent.mkdir(parents=True, exist_ok=True)
    words = {"duration": list(durations[:count]), **more} | ({} if loop is None else {"loop": loop})
    frames[0].save(path, save_all=True, append_images=frames[1:], **words)
    return path


def stored(path, colours=4, dtype=np.uint16, leaves=0, hidden=False, key=None):
    """Writes six frames by the specification: parts that lie over what is there, and leave what is said.

    `colours` is 0 for a palette; `key` is the value of a transparent colour. Files of 8 bits show what those
    of 16 do.
    """
    rng = np.random.default_rng(colours)
    white, (height, width) = int(np.iinfo(dtype).max), (12, 16)

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    def data_of(height, width):
        pixels = (rng.integers(0, 65536, (height, width, max(colours, 1))) // (65536 // (white + 1))).astype(
            dtype
        )
        if key is not None:
            pixels[::2, ::3] = key
        if colours == 4:  # transparent, in between and opaque
            pixels[..., 3] = rng.choice(np.array([0, white // 3, white // 5, white], dtype), (height, width))
        rows = pixels.astype(pixels.dtype.newbyteorder(">")).reshape(height, -1).view(np.uint8)
        return zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))

    kind = {0: 3, 1: 0, 3: 2, 4: 6}[colours]
    out = b"\x89PNG\r\n\x1a\n"
    out += chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8 * np.dtype(dtype).itemsize, kind, 0, 0, 0))
    out += chunk(b"acTL", struct.pack(">II", 6, 3))
    if colours == 0:
        out += chunk(b"PLTE", rng.integers(0, 256, 768, np.uint8).tobytes())
        out += chunk(b"tRNS", rng.choice(np.array([0, 80, 255], np.uint8), 256).tobytes())
    elif key is not None:
        out += chunk(b"tRNS", struct.pack(f">{colours}H", *[key] * colours))
    if hidden:
        out += chunk(b"IDAT", data_of(height, width))
    number = 0
    for index in range(6):
        place = (5, 7, 2 * index - 1, index) if index else (height, width, 0, 0)
        area = struct.pack(">IIIII", number, place[1], place[0], place[2], place[3])
        out += chunk(b"fcTL", area + struct.pack(">HHBB", 40 + index, 1000, leaves, index > 0))
        data, first = data_of(*place[:2]), index == 0 and not hidden
        out += chunk(b"IDAT", data) if first else chunk(b"fdAT", struct.pack(">I", number + 1) + data)
        number += 1 if first else 2
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(out + chunk(b"IEND", b""))
    return path


def by_opencv(path):
    """Returns six frames (H, W, 4) in RGB order."""
    _, found = cv2.imdecodeanimation(np.frombuffer(path.read_bytes(), np.uint8))
    frames = [np.atleast_3d(frame) for frame in found.frames[-6:]]
    colours = [frame[..., 2::-1] if frame.shape[2] > 1 else np.repeat(frame, 3, 2) for frame in frames]
    opaque = np.full((*frames[0].shape[:2], 1), np.iinfo(frames[0].dtype).max)
    alphas = [frame[..., 3:] if frame.shape[2] == 4 else opaque for frame in frames]
    return np.concatenate((colours, alphas), 3).astype(float)


class AsTheyAre(Invert):
    """Keeps what it gets."""

    def __call__(self, images):
        self.seen = [*getattr(self, "seen", []), *images]
        return images


def seen_by_a_model(path, output, **options):
    """Returns the result of one animation, and the frames that a processor got."""
    process = AsTheyAre()
    planned = plan([path], output, Rules(video=VideoOptions(animated=True, **options)))
    (result,) = run(planned, process, settings={"p": 1}, jobs=1)
    return result, process.seen


def shown(path):
    """Returns what Pillow shows of a file: frames as RGBA, how long each is seen, and how often all are."""
    with PillowImage.open(path) as file:
        frames, times = [], []
        for frame in ImageSequence.Iterator(file):
            frame.load()
            frames.append(np.array(frame.convert("RGBA")))
            times.append(round(frame.info.get("duration", 0)))
        return np.stack(frames), times, file.info.get("loop")


def inverted(frames):
    """Returns RGBA frames whose colours are taken back; what is transparent has none."""
    made = np.concatenate((255 - frames[..., :3], frames[..., 3:]), 3)
    return made * (made[..., 3:] > 0)


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize(
    ("name", "more"),
    [("a.gif", {"disposal": 2}), ("a.webp", {"lossless": True}), ("a.png", {}), ("a.apng", {"disposal": 1})],
)
def test_frames_times_and_repetitions_of_an_animation_stay(tmp_path, monkeypatch, name, more, alpha):
    """Stands for stickers and screen recordings; frames are those that are seen, and not the stored parts."""
    source = moving(tmp_path / "in" / name, alpha=alpha, loop=3, **more)
    result = convert(source.parent, tmp_path / "out", animated=True)[name]
    assert result.status == "done" and result.output == tmp_path / "out" / name, result.reason
    before, after = shown(source), shown(result.output)
    assert after[1:] == before[1:]
    if name != "a.webp":  # which is stored with loss
        np.testing.assert_array_equal(after[0] * (after[0][..., 3:] > 0), inverted(before[0]))
    assert result.video["frames"] == 5
    assert convert(source.parent, tmp_path / "out", animated=True)[name].status == "skipped"


@pytest.mark.parametrize("strip", [False, True])
@pytest.mark.parametrize("name", ["r.gif", "r.webp", "r.png"])
def test_what_a_network_made_says_so_without_other_metadata_too(tmp_path, name, strip):
    class Marking(Invert):
        def __call__(self, images):
            return [
                image.replace(metadata=image.metadata.replace(source_type=GENERATED))
                for image in super().__call__(images)
            ]

    source = moving(tmp_path / "a.png", count=2)
    planned = plan([source], tmp_path / name, Rules(video=VideoOptions(animated=True)))
    (result,) = run(planned, Marking(), settings={"m": 1}, options=EncodeOptions(strip_metadata=strip))
    assert result.status == "done" and len(shown(result.output)[0]) == 2, result.reason
    assert GENERATED.encode() in result.output.read_bytes()


def test_a_still_among_animations_and_an_animation_without_the_option(tmp_path):
    moving(tmp_path / "in" / "moves.gif")
    PillowImage.new("RGB", (9, 7)).save(tmp_path / "in" / "still.gif")
    PillowImage.new("RGB", (9, 7)).save(tmp_path / "in" / "still.png")
    results = convert(tmp_path / "in", tmp_path / "first")
    assert results["moves.gif"].output.name == "moves.gif.png"
    assert "only the first was used" in " ".join(results["moves.gif"].warnings)
    outputs = {r.output.name for r in convert(tmp_path / "in", tmp_path / "all", animated=True).values()}
    assert outputs == {"moves.gif", "still.gif.png", "still.png"}


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp"])
def test_an_animation_that_is_cut_off_is_named(tmp_path, name):
    whole = moving(tmp_path / name)
    cut = tmp_path / "in" / name
    cut.parent.mkdir()
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    result = convert(cut.parent, tmp_path / "out", animated=True)[name]
    if result.status == "done":
        assert 0 < result.video["frames"] < 5 and "cut off or broken" in " ".join(result.warnings)
    else:
        assert "truncated" in result.reason or "cut" in result.reason, result.reason
    failed = convert(cut.parent, tmp_path / "failed", animated=True, broken_frames="fail")[name]
    assert failed.status == "failed" and not list((tmp_path / "failed").glob("a*"))


def test_times_and_repetitions_that_one_kind_holds_and_another_does_not(tmp_path):
    """Stands for slide shows, and for last frames without a time."""
    place = tmp_path / "in"
    moving(place / "a.apng", count=3, durations=(50, 70, 70_000), loop=70_000)
    moving(place / "b.webp", count=2, durations=(50, 700_000), loop=3)
    moving(place / "c.gif", count=3, durations=(50, 70, 0))
    made = {}
    for extension in ("apng", "webp", "gif"):
        results = convert(place, tmp_path / extension, animated=True, extension=f".{extension}")
        assert {result.status for result in results.values()} == {"done"}, results
        made[extension] = {
            name[0]: (*shown(result.output)[1:], result.warnings) for name, result in results.items()
        }
    assert [made[kind]["a"][:2] for kind in made] == [
        ([50, 70, 70_000], 70_000),
        ([50, 70, 70_000], 65_535),
        ([50, 70, 70_000], 65_535),
    ]
    assert [made[kind]["b"][0] for kind in made] == [[50, 700_000], [50, 700_000], [50, 655_350]]
    assert "1 of its frames are shown for 655.35 seconds, and not longer" in made["gif"]["b"][2]
    assert made["gif"]["c"][0] == [50, 70, 0]


def test_a_picture_before_the_animation_is_none_of_its_frames(tmp_path):
    """PNG files may hold one for programs that show no animations."""
    source = moving(tmp_path / "in" / "a.png", default_image=True, durations=(40, 70, 100, 200))
    result = convert(source.parent, tmp_path / "out", animated=True, broken_frames="fail")["a.png"]
    assert result.status == "done" and not result.warnings, (result.reason, result.warnings)
    assert result.video["frames"] == 4


@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_frames_of_an_animation_are_upright_as_the_first_picture_is(tmp_path, name):
    """The tag says 1 in the result, so the pixels have to be turned."""
    turned = PillowImage.Exif()
    turned[274] = 6
    more = {"lossless": True} if name == "a.webp" else {}
    source = moving(tmp_path / "in" / name, exif=turned, **more)
    result = convert(source.parent, tmp_path / "out", animated=True)[name]
    before, after = shown(source)[0], shown(result.output)[0]
    off = [np.abs(after.astype(int) - inverted(np.rot90(before, way, (1, 2)))).mean() for way in (-1, 1)]
    assert off[0] == 0 or (name == "a.webp" and off[0] < 0.8 * off[1]), off  # which is stored with loss
    with PillowImage.open(result.output) as file:
        assert file.size == (21, 33) and file.getexif().get(274, 1) == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("leaves", [0, 1, 2])
@pytest.mark.parametrize("colours", [1, 3, 4])
def test_frames_of_a_png_file_are_what_is_seen_in_its_own_depth(tmp_path, colours, leaves, dtype):
    """As OpenCV shows them, in 8 bits where it forgets in 16 what leaves no trace; and so they are stored."""
    source = stored(tmp_path / "a.png", colours, dtype, leaves, hidden=leaves == 1)
    result, frames = seen_by_a_model(source, tmp_path / "out" / "a.png")
    assert result.status == "done" and not result.warnings, (result.reason, result.warnings)
    assert len(frames) == 6 and all(frame.pixels.dtype == dtype for frame in frames)
    fine = dtype == np.uint8 or leaves != 1
    known = source if fine else stored(tmp_path / "8.png", colours, np.uint8, leaves, hidden=True)
    for ours, theirs in zip(frames, by_opencv(known), strict=True):
        unit = 1 if fine else 257
        alpha = ours.alpha if colours == 4 else np.full((12, 16), np.iinfo(dtype).max)
        assert np.abs(alpha / unit - theirs[..., 3]).max() <= 3
        assert np.abs(ours.pixels / unit - theirs[..., :3])[alpha > 0].max() <= 3
    again, kept = seen_by_a_model(result.output, tmp_path / "again" / "a.png")
    assert again.status == "done" and len(kept) == 6
    for one, two in zip(frames, kept, strict=True):
        np.testing.assert_array_equal(one.pixels, two.pixels)
        assert (one.alpha is None) == (two.alpha is None)
        assert one.alpha is None or (one.alpha == two.alpha).all()
    assert shown(result.output)[1:] == ([40, 41, 42, 43, 44, 45], 3)


def test_frames_with_a_palette_lie_over_each_other(tmp_path):
    source = stored(tmp_path / "a.png", 0, np.uint8)
    _, frames = seen_by_a_model(source, tmp_path / "out" / "a.png")
    for ours, theirs in zip(frames, by_opencv(source), strict=True):
        assert np.abs(ours.alpha - theirs[..., 3]).max() <= 3
        assert np.abs(ours.pixels - theirs[..., :3])[ours.alpha > 0].max() <= 3


@pytest.mark.parametrize("colours", [1, 3])
def test_a_transparent_colour_of_16_bits_is_one_in_every_frame(tmp_path, colours):
    _, frames = seen_by_a_model(stored(tmp_path / "a.png", colours, key=4321), tmp_path / "out" / "a.png")
    assert len(frames) == 6 and not frames[0].alpha[::2, ::3].any()
    assert (frames[0].alpha[1::2] == 65535).all()


def test_16_bits_for_a_kind_that_holds_8_are_said(tmp_path):
    result, frames = seen_by_a_model(stored(tmp_path / "a.png"), tmp_path / "out" / "a.webp")
    assert frames[0].pixels.dtype == np.uint16
    assert result.warnings == ("16 bits became 8, which is all that .webp files hold",)


@pytest.mark.parametrize("damage", ["cut", "checksum", "number", "place"])
def test_a_broken_frame_ends_its_animation_with_a_sentence(tmp_path, damage):
    source = stored(tmp_path / "a.png")
    data = bytearray(source.read_bytes())
    at = [found.start() for found in re.finditer(b"fcTL", data)][3]  # of the fourth frame
    if damage == "cut":
        del data[at + 60 :]
    elif damage == "checksum":
        data[at + 50] ^= 1
    elif damage == "number":
        data[at + 7] += 1
    else:
        data[at + 16 + 3] = 200
    if damage in ("number", "place"):
        data[at + 30 : at + 34] = struct.pack(">I", zlib.crc32(data[at : at + 30]))
    source.write_bytes(data)
    result, frames = seen_by_a_model(source, tmp_path / "out" / "a.png")
    count = 2 if damage == "number" else 3  # the end of the third is not known then
    assert result.status == "done" and len(frames) == count
    assert f"cut off or broken: {count} of 6 pictures can be read" in " ".join(result.warnings)


@needs_av
def test_frames_of_16_bits_become_a_video_of_16(tmp_path):
    """The codec that has them keeps every bit."""
    source = stored(tmp_path / "a.png", 3)
    result, frames = seen_by_a_model(source, tmp_path / "out.mkv", codec="ffv1")
    assert result.status == "done" and not result.warnings, (result.reason, result.warnings)
    found = look(result.output, "rgb48le").frames
    np.testing.assert_array_equal(found, np.stack([frame.pixels for frame in frames]))
