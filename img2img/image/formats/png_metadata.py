"""What a PNG file says beside its pixels: colours, EXIF, XMP, IPTC, resolution and text."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable

from img2img.image.colour import ColourSpace, encoding_of
from img2img.image.formats.base import Header
from img2img.image.image import Image, Metadata

BUDGET = 16 * 2**20  # bytes of everything that is inflated, and of all text
_MAX_TEXTS = 1000
_INCH = 0.0254  # metres
_XMP_KEY = "XML:com.adobe.xmp"
_XMP_IN_JPEG = b"http://ns.adobe.com/xap/1.0/\0"
_RAW_NAMES = frozenset(("exif", "APP1", "xmp", "iptc", "8bim", "icc", "icm"))
_RAW = "Raw profile type "  # ImageMagick's and ExifTool's way to keep blocks: as hexadecimal digits
_UNTRUE = re.compile(  # keywords that speak of pixels that were other ones, or not yet turned
    r"Thumb::|(exif|tiff):(\w*Orientation|\w*ImageWidth|\w*Image(Length|Height)|PixelXDimension|PixelYDimension)$"
    r"|exif:thumbnail:|png:IHDR"
)
_SPACE = frozenset((b"cICP", b"gAMA", b"cHRM", b"sRGB"))
_UNSPECIFIED = 2
_SRGB_CHROMATICITIES = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
_SRGB_GAMMA = 45455
_HUNDRED_THOUSAND = 100_000  # gAMA and cHRM are numbers of so many parts


class MetadataReader:
    """Takes the chunks of one file and writes down in its header what they say.

    Of chunks that may be there once, the first counts. All that is inflated has one budget.

    Args:
        header: Gets profile, space, EXIF, XMP, IPTC, resolution, text and warnings.
    """

    def __init__(self, header: Header) -> None:
        self._header = header
        self._budget = BUDGET
        self._texts = 0
        self._has_profile = False
        self._space: dict[bytes, bytes] = {}
        self._later: dict[str, bytes] = {}  # EXIF and so on in text; the chunks that are made for them win
        self._readers: dict[bytes, Callable[[bytes], None]] = {
            b"iCCP": self._profile,
            b"eXIf": self._exif,
            b"pHYs": self._resolution,
            b"tEXt": self._text,
            b"zTXt": self._packed_text,
            b"iTXt": self._international_text,
        }

    def knows(self, kind: bytes) -> bool:
        """Returns whether chunks of this kind are read here."""
        return kind in self._readers or kind in _SPACE

    def take(self, kind: bytes, body: bytes) -> None:
        """Reads one chunk of a kind that it knows."""
        if kind in _SPACE:
            self._space.setdefault(kind, body)
        else:
            self._readers[kind](body)

    def warn(self, sentence: str) -> None:
        """Adds a warning, once for each sentence."""
        if sentence not in self._header.warnings:
            self._header.warnings.append(sentence)

    def finish(self) -> None:
        """Decides between what was said twice. Call it after the last chunk."""
        header = self._header
        for name, block in self._later.items():
            if name in ("exif", "APP1") and block.startswith(_XMP_IN_JPEG):
                name, block = "xmp", block[len(_XMP_IN_JPEG) :]
            if name in ("exif", "APP1"):
                header.exif = header.exif or block or None
            elif name == "xmp":
                header.xmp = header.xmp or block or None
            elif name in ("iptc", "8bim"):
                header.iptc = header.iptc or iptc_of(block)
            else:
                header.icc = header.icc or block or None
        space = self._told_space()
        if header.icc is not None and space is not None and space.by_code_points:
            if encoding_of(space) is None:
                which = "are not known, and the profile counts"
            else:
                header.icc = None
                which = "count, and the profile was dropped"
            self.warn(
                f"the PNG file tells its colours by code points (cICP) and by a profile; the former {which}"
            )
        header.space = None if header.icc is not None else space

    def _told_space(self) -> ColourSpace | None:
        """Returns what cICP says or, without it, gAMA and cHRM; None for sRGB."""
        cicp = self._space.get(b"cICP", b"")
        if len(cicp) == 4:
            if cicp[2] != 0 or cicp[3] != 1:
                self.warn("the PNG file says that its levels are of narrow range, which was ignored")
            return ColourSpace(primaries=cicp[0], transfer=cicp[1])
        if b"sRGB" in self._space:
            return None
        gamma = _numbers(self._space.get(b"gAMA", b""), 1)
        points = _numbers(self._space.get(b"cHRM", b""), 8)
        if points is not None and (points[1] == 0 or max(points) > _HUNDRED_THOUSAND):
            points = None
            self.warn("the PNG file says that its primaries are no colours, which was ignored")
        other_gamma = gamma is not None and abs(gamma[0] - _SRGB_GAMMA) > 10
        other_points = points is not None and any(
            abs(a - b) > 100 for a, b in zip(points, _SRGB_CHROMATICITIES, strict=True)
        )
        if not other_gamma and not other_points:
            return None
        return ColourSpace(
            gamma=gamma[0] / _HUNDRED_THOUSAND if gamma else None,
            chromaticities=tuple(p / _HUNDRED_THOUSAND for p in points) if points else None,  # type: ignore[arg-type]
        )

    def _profile(self, body: bytes) -> None:
        if not self._has_profile:
            self._has_profile = True
            self._header.icc = self._inflated(body.partition(b"\0")[2][1:], "colour profile")

    def _exif(self, body: bytes) -> None:
        self._header.exif = self._header.exif or body or None

    def _resolution(self, body: bytes) -> None:
        if len(body) != 9 or self._header.resolution is not None:
            return
        x, y, unit = struct.unpack(">IIB", body)
        if unit == 1 and x and y:  # 0 tells the shape of a pixel alone
            self._header.resolution = (x * _INCH, y * _INCH)

    def _text(self, body: bytes) -> None:
        key, _, text = body.partition(b"\0")
        self._file(key, text, packed=False, encoding="latin-1")

    def _packed_text(self, body: bytes) -> None:
        key, _, rest = body.partition(b"\0")
        self._file(key, rest[1:], packed=True, encoding="latin-1")

    def _international_text(self, body: bytes) -> None:
        key, _, rest = body.partition(b"\0")
        text = rest[2:].partition(b"\0")[2].partition(b"\0")[2]  # behind language and translated keyword
        self._file(key, text, packed=rest[:1] == b"\1", encoding="utf-8")

    def _file(self, key: bytes, data: bytes, packed: bool, encoding: str) -> None:
        """Puts a text where it belongs."""
        keyword = key.decode("latin-1")
        name = keyword.removeprefix(_RAW) if keyword.startswith(_RAW) else ""
        if not keyword or _UNTRUE.match(keyword) or (name and name not in _RAW_NAMES):
            return
        self._texts += 1
        if self._texts > _MAX_TEXTS or (not packed and len(data) > self._budget):
            self.warn("the PNG file holds more text than is read; the rest was dropped")
            return
        text: bytes | None = data
        if packed:
            text = self._inflated(data, "text")
        else:
            self._budget -= len(data)
        if text is None:
            return
        if keyword == _XMP_KEY:
            self._header.xmp = self._header.xmp or text or None
        elif not name:
            self._header.text.append((keyword, text.decode(encoding, "replace")))
        else:
            try:  # "\nexif\n<length>\n<hexadecimal digits in lines>"
                digits = text.decode("ascii").split("\n", 3)[3]
                self._later.setdefault(name, bytes.fromhex(digits))
            except (ValueError, IndexError):
                self.warn(f"the {name} block in the text of the PNG file is broken and was dropped")

    def _inflated(self, data: bytes, what: str) -> bytes | None:
        """Returns inflated `data`, or None with a warning when it is broken or more than the budget."""
        result = b""
        try:
            inflater = zlib.decompressobj()
            if self._budget > 0:  # 0 would mean no bound
                result = inflater.decompress(data, self._budget)
                if inflater.eof:
                    return result
        except zlib.error:
            pass
        finally:
            self._budget -= len(result)
        self.warn(f"the {what} in the PNG file is broken, or inflates to too much, and was dropped")
        return None


def _numbers(body: bytes, count: int) -> tuple[int, ...] | None:
    """Returns `count` numbers of 32 bits, or None when the chunk is another or says nothing."""
    if len(body) != 4 * count:
        return None
    numbers = struct.unpack(f">{count}I", body)
    return numbers if any(numbers) else None


def metadata_chunks(image: Image) -> bytes:
    """Returns the chunks for everything that `image` carries; they belong right behind the header."""
    kept = image.metadata
    parts = [*_colour_chunks(image)]
    if kept.resolution is not None:
        x, y = (round(min(2**31 - 1, value / _INCH)) for value in kept.resolution)
        if x > 0 and y > 0:
            parts.append(chunk_of(b"pHYs", struct.pack(">IIB", x, y, 1)))
    if image.exif is not None:
        parts.append(chunk_of(b"eXIf", image.exif))
    return b"".join((*parts, *_text_chunks(kept)))


def _colour_chunks(image: Image) -> list[bytes]:
    # libpng would refuse a profile over its smallest fault, so it does not write these
    if image.icc is not None:
        return [chunk_of(b"iCCP", b"ICC profile\0\0" + zlib.compress(image.icc))]
    space = image.space
    if space is None:
        return []
    if (space.primaries, space.transfer) != (_UNSPECIFIED, _UNSPECIFIED):
        return [chunk_of(b"cICP", bytes((space.primaries, space.transfer, 0, 1)))]
    parts = []
    if space.gamma is not None:
        parts.append(chunk_of(b"gAMA", struct.pack(">I", round(space.gamma * _HUNDRED_THOUSAND))))
    if space.chromaticities is not None:
        points = (round(value * _HUNDRED_THOUSAND) for value in space.chromaticities)
        parts.append(chunk_of(b"cHRM", struct.pack(">8I", *points)))
    return parts


def _text_chunks(kept: Metadata) -> list[bytes]:
    parts = []
    if kept.xmp is not None:
        parts.append(chunk_of(b"iTXt", _XMP_KEY.encode() + bytes(5) + kept.xmp))
    if kept.iptc is not None:
        block = _RESOURCE + struct.pack(">I", len(kept.iptc)) + kept.iptc + bytes(len(kept.iptc) % 2)
        digits = block.hex()
        lines = (digits[at : at + 72] for at in range(0, len(digits), 72))
        text = f"\niptc\n{len(block):8}\n" + "\n".join(lines) + "\n"
        parts.append(chunk_of(b"zTXt", f"{_RAW}iptc\0\0".encode() + zlib.compress(text.encode())))
    for keyword, text in kept.text:
        key = keyword.encode("latin-1", "replace").replace(b"\0", b"").strip()[:79] or b"Comment"
        text = text.replace("\0", "")
        try:
            parts.append(chunk_of(b"tEXt", key + b"\0" + text.encode("latin-1")))
        except UnicodeEncodeError:
            parts.append(chunk_of(b"iTXt", key + bytes(5) + text.encode("utf-8", "replace")))
    return parts


_RESOURCE = b"8BIM\x04\x04\0\0"  # Photoshop's for IPTC, without a name


def iptc_of(block: bytes) -> bytes | None:
    """Returns the IPTC records in `block`, which is them or holds them as a Photoshop resource."""
    if block.startswith(b"\x1c"):
        return block
    at = 0
    while block[at : at + 4] == b"8BIM" and at + 12 <= len(block):
        start = at + 10 + (block[at + 6] + 2 & ~1)  # behind a name with its length, to an even number
        size = int.from_bytes(block[start - 4 : start], "big")
        if block[at + 4 : at + 6] == b"\x04\x04":
            return block[start : start + size] or None
        at = start + size + size % 2
    return None


def chunk_of(kind: bytes, body: bytes) -> bytes:
    """Returns a chunk with its length and checksum."""
    return struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))
