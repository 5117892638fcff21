"""One picture in, one out: its whole depth in the file, little of it in the browser, else a sentence."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from img2img.errors import Img2ImgError
from img2img.image import Image, Limits, read_image, write_image
from img2img.ui.models import Models, Settings
from img2img.ui.pictures import Pictures
from img2img.ui.places import Roots
from img2img.ui.worker import Worker


@pytest.fixture
def pictures(tmp_path: Path) -> Iterator[Pictures]:
    (tmp_path / "results").mkdir()
    worker = Worker()
    yield Pictures(Models(Roots([tmp_path]), "cpu"), worker, Limits(max_pixels=10**6), tmp_path / "results")
    worker.close()


def scene(dtype: type, height: int = 20, width: int = 31, channels: int = 3) -> np.ndarray:
    values = np.random.default_rng(0).random((height, width, channels))
    return (values if dtype == np.float32 else values * np.iinfo(dtype).max).astype(dtype)


def drawn(height: int, width: int, rows: slice) -> bytes:
    """A layer of the canvas: opaque where somebody painted, colours elsewhere that nobody sees."""
    layer = np.zeros((height, width, 4), np.uint8)
    layer[rows, :, 3] = 255
    buffer = io.BytesIO()
    PIL.Image.fromarray(layer).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("dtype", "suffix", "stored"),
    [
        (np.uint8, ".jpg", ".png"),
        (np.uint16, ".png", ".png"),
        (np.uint16, ".tif", ".png"),
        (np.float32, ".tif", ".tif"),
    ],
)
def test_the_file_has_all_of_the_depth(
    pictures: Pictures, tmp_path: Path, dtype: type, suffix: str, stored: str
) -> None:
    write_image(Image(scene(dtype)), tmp_path / f"in{suffix}")
    before = read_image(tmp_path / f"in{suffix}")
    done = pictures.convert(tmp_path / f"in{suffix}", Settings("telea"), layers=[drawn(10, 16, slice(0, 3))])
    after = read_image(done.file)
    assert done.file.suffix == stored
    assert after.pixels.dtype == dtype
    np.testing.assert_array_equal(after.pixels[6:], before.pixels[6:])
    assert (after.pixels[:6] != before.pixels[:6]).any()


def test_the_browser_gets_two_small_pictures_of_one_size(pictures: Pictures, tmp_path: Path) -> None:
    write_image(
        Image(scene(np.uint16, 6, 4000, 1), scene(np.uint16, 6, 4000, 1)[..., 0]), tmp_path / "in.png"
    )
    done = pictures.convert(tmp_path / "in.png", Settings("telea"), layers=[drawn(6, 4000, slice(0, 2))])
    for path in (done.before, done.after, pictures.look(tmp_path / "in.png")[0]):
        shown = read_image(path)
        assert (shown.pixels.shape, shown.pixels.dtype, shown.alpha) == ((2, 1600, 3), np.uint8, None)
    assert "16 bits" in done.note and "transparency" in done.note


def test_black_may_be_the_hole_and_a_mask_may_come_as_a_file(pictures: Pictures, tmp_path: Path) -> None:
    write_image(Image(scene(np.uint8)), tmp_path / "in.png")
    mask = np.full((20, 31, 1), 255, np.uint8)
    mask[:4] = 0
    write_image(Image(mask), tmp_path / "mask.png")
    inverted = Settings("telea", invert=True)
    by_file = pictures.convert(tmp_path / "in.png", inverted, mask=tmp_path / "mask.png")
    by_hand = pictures.convert(tmp_path / "in.png", inverted, layers=[drawn(20, 31, slice(0, 4))])
    np.testing.assert_array_equal(read_image(by_file.file).pixels, read_image(by_hand.file).pixels)


def bomb() -> bytes:
    """A PNG file that says it has 30000 x 30000 pixels."""
    head = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(9 * 10**6))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("notes.png", b"a text\n" * 50, "not an image"),
        ("empty.jpg", b"", "empty"),
        ("bomb.png", bomb(), "900,000,000 pixels"),
        ("half.png", bomb()[:40], "half.png"),
        ("none.png", None, "cannot be opened"),
    ],
)
def test_what_is_no_picture_is_a_sentence_with_its_name(
    pictures: Pictures, tmp_path: Path, name: str, content: bytes | None, told: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    for call in (
        lambda: pictures.look(tmp_path / name),
        lambda: pictures.convert(tmp_path / name, Settings("telea")),
    ):
        with pytest.raises(Img2ImgError, match=told) as error:
            call()
        assert str(error.value).startswith(f"{name}: ")
    assert not list((tmp_path / "results").iterdir())


@pytest.mark.parametrize(
    ("layers", "told"),
    [
        ([], "Paint"),
        ([drawn(20, 31, slice(0, 0))], "Paint"),
        ([b"x"], "not an image"),
        ([drawn(5, 5, slice(0, 5))], "whole picture"),
    ],
)
def test_drawings_that_do_not_mark_a_hole(
    pictures: Pictures, tmp_path: Path, layers: list[bytes], told: str
) -> None:
    write_image(Image(scene(np.uint8)), tmp_path / "in.png")
    with pytest.raises(Img2ImgError, match=told):
        pictures.convert(tmp_path / "in.png", Settings("telea"), layers=layers)


def test_a_result_may_be_too_large_where_its_picture_is_not(pictures: Pictures, tmp_path: Path) -> None:
    write_image(Image(np.zeros((200, 200, 3), np.uint8)), tmp_path / "in.png")
    with pytest.raises(Img2ImgError, match="smaller factor"):
        pictures.convert(tmp_path / "in.png", Settings("upscale", factor=8.0))


def test_old_results_are_removed(pictures: Pictures, tmp_path: Path) -> None:
    write_image(Image(scene(np.uint8)), tmp_path / "in.png")
    for _ in range(40):
        shown, _ = pictures.look(tmp_path / "in.png")
    assert shown.is_file()
    assert len(list((tmp_path / "results").iterdir())) == 32
