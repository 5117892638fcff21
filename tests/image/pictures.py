"""Generated pictures, and files of every format made of them by Pillow, OpenCV and img2img itself."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache

import cv2
import numpy as np
from PIL import Image as Pillow
from PIL import ImageCms

from img2img.image import WRITABLE, Image, encode, fit_reason

HEIGHT, WIDTH = 33, 47


def smooth(channels: int, dtype: str = "uint8", height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Returns (H, W, channels) with soft structure, no symmetry, and the whole range of the dtype."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    planes = [
        0.5
        + 0.5 * np.sin(x / (5 + c) + 0.7 * c) * np.cos(y / (7 + c) - 0.3 * c)
        + 0.2 * (x + 2 * y) / 140
        - 0.15
        for c in range(channels)
    ]
    values = np.stack(planes, axis=2).clip(0, 1)
    if dtype == "float32":
        return values.astype(np.float32)
    white = np.iinfo(dtype).max
    return np.rint(values * white).astype(dtype)


def picture(channels: int = 3, dtype: str = "uint8", alpha: bool = False, **size: int) -> Image:
    plane = smooth(channels + 1, dtype, **size)
    return Image(
        np.ascontiguousarray(plane[:, :, :-1]), np.ascontiguousarray(plane[:, :, -1]) if alpha else None
    )


KINDS = {
    f"{channels} channels{' and alpha' if alpha else ''}, {dtype}": (channels, dtype, alpha)
    for channels in (1, 3, 2, 6)
    for dtype in ("uint8", "uint16", "float32")
    for alpha in (False, True)
}


@cache  # it holds the time at which it was made
def profile(space: str = "sRGB") -> bytes:
    if space == "GRAY":  # a valid header is all that is looked at
        icc = bytearray(profile())
        icc[16:20] = b"GRAY"
        return bytes(icc)
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif_block(orientation: int = 1, order: str = "<") -> bytes:
    """Returns an EXIF block with sizes, a place, notes of a camera maker, and a thumbnail."""
    exif = Pillow.Exif()
    exif.endian = order
    exif[0x0112] = orientation
    exif[0x010F] = "Maker of cameras"
    exif[0x0100], exif[0x0101] = 4000, 3000
    details = exif.get_ifd(0x8769)
    details[0xA002], details[0xA003] = 4000, 3000
    details[0x927C] = b"MAKERNOTE\0" + bytes(range(200))
    details[0x9003] = "2024:02:29 12:34:56"
    place = exif.get_ifd(0x8825)
    place[1], place[2] = "N", (52.0, 31.0, 12.0)
    block = bytearray(exif.tobytes()[6:])
    thumbnail = b"\xff\xd8\xffTHUMBNAIL\xff\xd9"
    second = len(block)
    lines = [(0x0103, 3, 1, 6), (0x0201, 4, 1, second + 2 + 36 + 4), (0x0202, 4, 1, len(thumbnail))]
    block += struct.pack(order + "H", 3)
    for tag, kind, count, value in lines:
        block += struct.pack(order + ("HHIHxx" if kind == 3 else "HHII"), tag, kind, count, value)
    block += bytes(4) + thumbnail
    (first,) = struct.unpack_from(order + "I", block, 4)
    (count,) = struct.unpack_from(order + "H", block, first)
    struct.pack_into(order + "I", block, first + 2 + 12 * count, second)
    return bytes(block)


def from_pillow(array: np.ndarray | Pillow.Image, kind: str, **options: object) -> bytes:
    image = array if isinstance(array, Pillow.Image) else Pillow.fromarray(array.squeeze())
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with(data: bytes, *chunks: bytes) -> bytes:
    """Returns a PNG file with more chunks, right after its header."""
    return data[:33] + b"".join(chunks) + data[33:]


def jpeg_with(data: bytes, *segments: tuple[int, bytes]) -> bytes:
    """Returns a JPEG file with more segments at its beginning."""
    return data[:2] + b"".join(struct.pack(">BBH", 0xFF, m, len(b) + 2) + b for m, b in segments) + data[2:]


def corpus() -> dict[str, bytes]:
    """Returns small files of every format, depth and compression that can be made here, by name."""
    files: dict[str, bytes] = {}
    for extension in sorted(WRITABLE - {".jpeg", ".jpe", ".jfif", ".dib", ".tiff", ".pnm"}):
        for name, (channels, dtype, alpha) in KINDS.items():
            image = picture(channels, dtype, alpha)
            if fit_reason(image, extension) is None:
                files[f"{extension} {name}"] = encode(image, extension)
    rgb = smooth(3)
    frames = [Pillow.new("RGB", (WIDTH, HEIGHT), (60 * i, 10, 0)) for i in range(1, 4)]
    colours = Pillow.fromarray(rgb).quantize(16)
    bilevel = Pillow.fromarray(rgb).convert("1")
    files |= {
        "jpeg progressive": from_pillow(rgb, "JPEG", progressive=True),
        "jpeg cmyk": from_pillow(Pillow.fromarray(rgb).convert("CMYK"), "JPEG"),
        "jpeg restart": cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_RST_INTERVAL, 2])[1].tobytes(),
        "mpo": from_pillow(rgb, "MPO", save_all=True, append_images=frames),
        "gif": from_pillow(rgb, "GIF"),
        "gif animated": from_pillow(rgb, "GIF", save_all=True, append_images=frames),
        "apng": from_pillow(rgb, "PNG", save_all=True, append_images=frames),
        "png palette": from_pillow(colours, "PNG"),
        "png bilevel": from_pillow(bilevel, "PNG"),
        "webp animated": from_pillow(rgb, "WEBP", save_all=True, append_images=frames),
        "webp lossless": from_pillow(rgb, "WEBP", lossless=True),
        "bmp palette": from_pillow(colours, "BMP"),
        "j2k": from_pillow(rgb, "JPEG2000", no_jp2=True),
        "pbm": from_pillow(bilevel, "PPM"),
    }
    for compression in ("raw", "tiff_lzw", "packbits", "tiff_deflate", "jpeg"):
        files[f"tiff {compression}"] = from_pillow(rgb, "TIFF", compression=compression)
    for compression in ("group3", "group4"):
        files[f"tiff {compression}"] = from_pillow(bilevel, "TIFF", compression=compression)
    return files
