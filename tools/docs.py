"""Writes the pages of docs/ that are made from the code: `python tools/docs.py`."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import PIL.Image
from PIL import ImageCms

import img2img.inference.operation  # noqa: F401 - it registers
from img2img.image import Image, Metadata, decode, encode, fit_reason, prepare
from img2img.image.colour import ColourSpace
from img2img.image.formats import FORMATS
from img2img.image.ifd import IfdEntry
from img2img.processors import Description, describe

DOCS = Path(__file__).resolve().parent.parent / "docs"


def operations_page() -> str:
    """Returns docs/operations.md: every operation of `img2img process` with its parameters."""
    intro = (
        "# Operations\n\n"
        "What `img2img process` can do, from `python tools/docs.py`. An operation is written `--op NAME`, "
        "`--op NAME=VALUE` or `--op NAME=KEY:VALUE,KEY:VALUE`; in a recipe (`--recipe FILE.yaml`) it is an "
        "entry of a list. Depth, transparency, colour profile and camera data stay.\n"
    )
    return "\n".join([intro, *(_section(operation) for operation in describe())])


def _section(operation: Description) -> str:
    lines = [f"## {operation.name}\n", f"{operation.summary}\n"]
    if operation.text:
        lines.append(f"{operation.text}\n")
    lines.append("```sh\n" + "\n".join(f"--op {example}" for example in operation.examples) + "\n```\n")
    if operation.parameters:
        lines.append("| parameter | value | default | |\n|---|---|---|---|")
        for parameter in operation.parameters:
            default = "must be given" if parameter.default is None else parameter.default
            cells = (f"`{parameter.name}`", parameter.allowed, default, parameter.text)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)


TABLE = ("<!-- table -->\n", "<!-- end -->\n")


def metadata_table() -> str:
    """Returns what each format that is written holds of a picture's metadata, found out by writing it.

    Raises:
        AssertionError: Something is lost, and no warning says so.
    """
    rows = [f"| | {' | '.join(_kinds())} |", "|---" * (len(_kinds()) + 1) + "|"]
    for f in FORMATS:
        if f.writes:
            kinds = _kinds().values()
            extension = next(
                each for each in f.writes if not any(fit_reason(image, each) for image, _ in kinds)
            )
            cells = (_fate(extension, image, read) for image, read in kinds)
            rows.append(f"| {f.name} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _kinds() -> dict[str, tuple[Image, Callable[[Image], object]]]:
    """Returns a picture with each kind of metadata, and how it is read off."""
    plain = Image(np.full((48, 64, 3), 90, np.uint8))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = PIL.Image.Exif()
    exif[0x010F] = "Maker"
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        b'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="5"/></rdf:RDF></x:xmpmeta>'
    )
    said = {
        "XMP": Metadata(xmp=xmp),
        "IPTC": Metadata(iptc=b"\x1c\x02\x05\x00\x05Title"),
        "resolution": Metadata(resolution=(300.0, 300.0)),
        "comment": Metadata(text=(("Comment", "hello"),)),
        "PNG text": Metadata(text=(("Author", "me"),)),
        "GeoTIFF": Metadata(geo={33550: IfdEntry(12, 3, struct.pack("<3d", 2, 2, 0))}),
    }
    primaries = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
    return {
        "ICC": (plain.replace(icc=profile), lambda image: image.icc),
        "cICP, nclx": (plain.replace(space=ColourSpace(12, 13)), lambda image: image.space),
        "gAMA, cHRM": (
            plain.replace(space=ColourSpace(gamma=0.5, chromaticities=primaries)),
            lambda image: image.space,
        ),
        "EXIF": (plain.replace(exif=exif.tobytes()[6:]), lambda image: image.exif),
        **{name: (plain.replace(metadata=m), lambda image: image.metadata) for name, m in said.items()},
    }


def _fate(extension: str, image: Image, read: Callable[[Image], object]) -> str:
    """Returns what becomes of the only metadata of `image` under an extension, in a word or two."""
    prepared = prepare(image, extension)
    stored = decode(encode(image, extension))
    if _told(read(stored)) == _told(read(image)):
        return "kept"
    if image.icc is None and stored.icc is not None:
        return "as a profile"
    assert prepared.warnings, f"{extension} loses {read(image)} without a word"
    return "named"


def _told(said: object) -> object:
    """Returns metadata with a resolution that formats round to whole pixels per metre."""
    if isinstance(said, Metadata) and said.resolution is not None:
        across, down = said.resolution
        return said.replace(resolution=(round(across), round(down)))
    return said


@click.command()
def main() -> None:
    """Writes docs/operations.md, and the table in docs/pictures.md."""
    (DOCS / "operations.md").write_text(operations_page(), encoding="utf-8")
    page = DOCS / "pictures.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(TABLE[0])
    _, _, after = rest.partition(TABLE[1])
    page.write_text(before + TABLE[0] + metadata_table() + TABLE[1] + after, encoding="utf-8")


if __name__ == "__main__":
    main()
