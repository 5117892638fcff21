"""Animated GIF, WebP and PNG files as short videos: frames as they are seen, their times, repetitions."""

import numpy as np
import pytest
from clips import Invert, convert
from PIL import Image as PillowImage
from PIL import ImageSequence

from img2img.batch import Rules, plan, run
from img2img.image import EncodeOptions
from img2img.image.xmp import GENERATED
from img2img.video import VideoOptions


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
