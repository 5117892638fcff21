"""Every odd file of the shared collection against Pillow: size, orientation, depth, alpha, content.

Where the two differ on purpose, the file stands in a table below with the reason.
"""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageOps

from img2img.errors import ImageReadError
from img2img.image import decode, discover, encode, fit_reason

# Pillow opens them and we do not.
REFUSED = {
    "la.tga": "Targa is not read",
    "p_16.tga": "Targa is not read",
    "crash-0da013a13571cc8eb457a39fee8db18f8a3c7127.tif": "a fax whose lines have other lengths than it says",
    "crash-74d2a78403a5a59db1fb0a2b8735ac068a75f6e3.tif": "the same",
    "ycbcr_lzw_broken.tif": "its coefficients give green no weight, which libtiff refuses, too",
    "xcsn0g01.png": "its checksums are wrong, by intention of the test suite",
    "b55977028a3a574336966b6536640fc9.jpg": "its first scan is 3 bytes long, most of the picture is missing",
    "5482a54657765056f1a94116a8dbffe7.jpg": "its data end early, the last rows are missing",
    "28c74d9284d9836017fd519f6932efd8.jpg": "its scan of mean colours is missing",
    "1cbb1bb37d62c44f67374cd451643dc4.jpg": "libjpeg: premature end of data segment",
    "7997b6b229f25315d33f5c7085e37500.jpg": "the same",
    "fd44dc63fa7bdd12ee34fc602231ef02.jpg": "the same",
    "c3018ebe53d0046eecb58858ca869a99.jpg": "libjpeg: bad Huffman code",
    "3976a754ef0aca80e84e2c403d714579.jpg": "a quantization table holds zeros",
    "hopper_bad_exif.jpg": "libjpeg: extraneous bytes before a restart marker; the rows are torn",
    "8e5e74dbf9b68a322fbb9512db837329.jpg": "613 bytes for 6 megapixels: scans are missing",
    **dict.fromkeys(
        ("badrle.bmp", "badrlebis.bmp", "badrleter.bmp", "badrle4.bmp", "badrle4bis.bmp", "badrle4ter.bmp"),
        "its runs leave the picture, by intention of the test suite",
    ),
    "pal4rlecut.bmp": "its data end early, one of its rows is missing",
    "f6b4389c3cf0f5997b2e5a4b905aea8d.jpg": "the same 613 bytes under another size",
}
# Both open them and see different colours.
COLOURS = {
    "ycbcr_lzw_bt709.tif": "its coefficients are those of BT.709, which Pillow does not look at",
    "12bit.cropped.tif": "white is 4095 in 12 bits and becomes 65535; Pillow keeps the numbers",
    "tiff_16bit_RGBa.tiff": "divided by alpha in 16 bits; Pillow cuts to 8 before",
    "tiff_strip_planar_16bit_RGBa.tiff": "the same",
    "tiff_tiled_planar_16bit_RGBa.tiff": "the same",
    "pal4rle.bmp": "ours equals pal4.bmp, which has no runs; Pillow 12.3 is lost in those of 4 bits",
    "pal4rletrns.bmp": "the same for what its runs do not jump over",
}
# Both open them and see different alpha.
ALPHA = {
    "rgba16-5551.bmp": "its header names a bit of alpha",
    "1_trns.png": "one level is transparent; Pillow does not apply that to 1-bit grey",
    "i_trns.png": "the same for 16-bit grey",
    "tbwn0g16.png": "the same",
    "tbbn0g04.png": "the transparent level counts in 4 bits; Pillow compares it with 8",
}
# Pillow's pixels for these are only nearly ours: CMYK is rounded differently.
NEARLY = {"pil_sample_cmyk.jpg": 2}
PROFILE = {
    "icc-after-SOF.jpg": "its profile is 7 bytes long and no profile",
    "rgb24prof.bmp": "Pillow reads no profiles in bitmaps",
    "rgb24prof2.bmp": "the same",
}
MAX_PIXELS = 210_000_000


def _pillow(data: bytes) -> tuple[np.ndarray, np.ndarray | None, bytes | None]:
    picture = Pillow.open(io.BytesIO(data))
    if picture.width * picture.height > MAX_PIXELS:
        raise ValueError("a bomb")
    picture.load()
    icc = picture.info.get("icc_profile") if picture.mode not in ("CMYK",) else None
    picture = ImageOps.exif_transpose(picture)
    keyed = "transparency" in picture.info
    mode = {
        "P": "RGBA" if keyed else "RGB", "PA": "RGBA", "1": "L", "CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB",
        "L": "LA" if keyed else "L", "RGB": "RGBA" if keyed else "RGB",
    }.get(picture.mode, picture.mode)  # fmt: skip
    array = np.asarray(picture.convert(mode))
    array = array[:, :, None] if array.ndim == 2 else array
    if array.shape[2] in (2, 4):
        return array[:, :, :-1], array[:, :, -1], icc
    return array, None, icc


def _files(folder: Path) -> list[Path]:
    return [found.path for found in discover(folder / "data" / "odd")]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("part", range(8))
def test_every_file_against_pillow(test_data: Path, part: int) -> None:
    problems, read, refused = [], 0, 0
    for path in _files(test_data)[part::8]:
        data, name = path.read_bytes(), path.name
        try:
            image = decode(data)
            read += 1
        except ImageReadError:
            image = None
            refused += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                pixels, alpha, icc = _pillow(data)
            except Exception:  # noqa: BLE001  whatever Pillow's plugins raise
                continue
        if image is None:
            if name not in REFUSED:
                problems.append(f"{name}: Pillow opens it")
            continue
        ours = image.pixels.astype(np.float64)
        if ours.shape[:2] != pixels.shape[:2]:
            problems.append(f"{name}: {ours.shape} and not {pixels.shape}")
            continue
        if image.pixels.dtype == np.uint16 and pixels.dtype == np.uint8:  # Pillow cuts 16-bit colours
            ours = ours / 257
        elif image.pixels.dtype.itemsize < min(pixels.dtype.itemsize, 2):
            problems.append(f"{name}: {image.pixels.dtype} and not {pixels.dtype}")
        error = np.abs(ours - pixels)  # grey and three equal channels are the same content
        if alpha is not None:
            error = error * (alpha[:, :, None] > 0)
        if error.max() > NEARLY.get(name, 1) and name not in COLOURS:
            problems.append(f"{name}: colours differ by {error.max()}")
        if name not in ALPHA:
            if (alpha is None) != (image.alpha is None):
                problems.append(f"{name}: one of the two sees alpha")
            elif alpha is not None and image.alpha is not None:
                scale = 257 if image.alpha.dtype == np.uint16 and alpha.dtype == np.uint8 else 1
                if np.abs(image.alpha / scale - alpha).max() > 1:
                    problems.append(f"{name}: alpha differs")
        if (icc or None) != image.icc and name not in PROFILE:
            problems.append(f"{name}: another profile")
    assert problems == []
    assert read + refused in (93, 94) and refused < 30  # an eighth of 747, and of those Pillow refuses, too


@pytest.mark.slow
def test_every_file_can_be_stored_again(test_data: Path) -> None:
    """In its own format or as PNG or TIFF, with its size, depth, alpha and metadata."""
    for path in _files(test_data):
        try:
            image = decode(path.read_bytes())
        except ImageReadError:
            continue
        own = path.suffix.lower()
        extension = next(e for e in (own, ".png", ".tif") if fit_reason(image, e) is None)
        back = decode(encode(image, extension))
        assert (back.pixels.shape[:2], back.pixels.dtype) == (image.pixels.shape[:2], image.pixels.dtype), (
            path
        )
        opaque = image.alpha is None or bool((image.alpha == image.white).all())  # WebP then drops it
        assert back.alpha is not None or opaque, path
        if extension in (".jpg", ".png", ".webp", ".avif", ".tif") and back.channels == image.channels:
            assert back.icc == image.icc, path
            assert (back.exif is None) == (image.exif is None), path


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the peak of a process is asked from Linux"
)
def test_all_of_them_take_little_memory(test_data: Path) -> None:
    code = (
        "import re, sys\n"
        "from pathlib import Path\n"
        "from img2img.errors import ImageReadError\n"
        "from img2img.image import discover, read_image\n"
        "for found in discover(sys.argv[1]):\n"
        "    try:\n        read_image(found.path)\n"
        "    except ImageReadError:\n        pass\n"
        "status = Path('/proc/self/status').read_text()\n"
        "print(re.search(r'VmHWM:\\s+([0-9]+) kB', status)[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(test_data / "data" / "odd")],
        check=True,
        capture_output=True,
        text=True,
    )
    assert int(done.stdout) < 512 * 1024  # kilobytes
