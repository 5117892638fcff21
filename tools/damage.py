"""Damages pictures in every way and counts what img2img makes of them: `python tools/damage.py`.

Each of the encodings is damaged at ten places in seven ways. The folder runs through the engine as a user's
would. A file that is "done" must have the pixels of the intact one; where it has not, Pillow (with libtiff,
libjpeg, ...) is asked as well: what no reader notices cannot be told from an intact file.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click
import numpy as np
import PIL.Image

from img2img.batch import plan, run
from img2img.errors import ImageError
from img2img.image import EncodeOptions, Image, encode, read_image
from img2img.image.image import Pixels

SIDE = 256
PLACES = 10


def picture(channels: int, dtype: str = "uint8") -> Pixels:
    """Returns (SIDE, SIDE, channels) that no damage leaves unchanged: structure, edges and noise."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    noise = np.random.default_rng(7).normal(0, 0.03, (SIDE, SIDE, channels))
    planes = [
        0.5 + 0.3 * np.sin(9 * x + c) * np.cos(7 * y - c) + 0.2 * ((8 * x).astype(int) % 2)
        for c in range(channels)
    ]
    values = np.clip(np.stack(planes, 2) + noise, 0, 1)
    white = np.iinfo(dtype).max
    return np.rint(values * white).astype(dtype)


def _pillow(mode: str, kind: str, **options: object) -> Callable[[], bytes]:
    def make() -> bytes:
        colours = PIL.Image.fromarray(picture(3))
        if mode == "P":
            converted = colours.quantize(64)
        elif mode == "1":
            converted = colours.convert("1")
        else:
            converted = colours.convert(mode)
        buffer = io.BytesIO()
        converted.save(buffer, kind, **options)
        return buffer.getvalue()

    return make


def _own(channels: int, dtype: str, extension: str, **options: object) -> Callable[[], bytes]:
    return lambda: encode(Image(picture(channels, dtype)), extension, EncodeOptions(**options))  # type: ignore[arg-type]


ENCODINGS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "JPEG": (".jpg", _pillow("RGB", "JPEG", quality=90)),
    "JPEG progressive": (".jpg", _pillow("RGB", "JPEG", quality=90, progressive=True)),
    "JPEG with restarts": (".jpg", _pillow("RGB", "JPEG", quality=90, restart_marker_rows=1)),
    "JPEG grey": (".jpg", _pillow("L", "JPEG", quality=90)),
    "PNG 8 bit": (".png", _pillow("RGB", "PNG")),
    "PNG 16 bit": (".png", _own(3, "uint16", ".png")),
    "PNG palette": (".png", _pillow("P", "PNG")),
    "TIFF LZW": (".tif", _pillow("RGB", "TIFF", compression="tiff_lzw")),
    "TIFF Deflate": (".tif", _pillow("RGB", "TIFF", compression="tiff_adobe_deflate")),
    "TIFF PackBits": (".tif", _pillow("RGB", "TIFF", compression="packbits")),
    "TIFF fax G4": (".tif", _pillow("1", "TIFF", compression="group4")),
    "TIFF JPEG": (".tif", _pillow("RGB", "TIFF", compression="jpeg")),
    "WebP": (".webp", _pillow("RGB", "WEBP", quality=90)),
    "AVIF": (".avif", _pillow("RGB", "AVIF", quality=90)),
    "JPEG 2000": (".jp2", _own(3, "uint8", ".jp2")),
    "GIF": (".gif", _pillow("P", "GIF")),
}


def damaged(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yields seven kinds of damage at each of ten places, from 5 to 95 % of the file."""
    size = len(data)
    for number in range(PLACES):
        share = 0.05 + 0.1 * number
        at = int(size * share)
        tenth = min(size, at + size // 10)
        yield f"cut{number}", data[:at]
        yield f"zeroed_to_end{number}", data[:at] + bytes(size - at)
        yield f"zeroed_tenth{number}", data[:at] + bytes(tenth - at) + data[tenth:]
        yield f"zeroed_16{number}", data[:at] + bytes(len(data[at : at + 16])) + data[at + 16 :]
        yield f"ones_64{number}", data[:at] + b"\xff" * len(data[at : at + 64]) + data[at + 64 :]
        yield f"flipped_bit{number}", data[:at] + bytes((data[at] ^ 1 << number % 8,)) + data[at + 1 :]
        yield f"removed_32{number}", data[:at] + data[at + 32 :]


def pillow_opens(data: bytes) -> bool:
    """Returns whether Pillow reads all of the picture without an error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with PIL.Image.open(io.BytesIO(data)) as opened:
                opened.load()
    except Exception:  # noqa: BLE001  whatever it says, it says no
        return False
    return True


class _Identity:
    def group_key(self, image: Image) -> None:
        """Returns None: each by itself."""

    def __call__(self, images: Sequence[Image]) -> list[Image]:
        """Returns the images."""
        return list(images)


def measure(name: str, folder: Path) -> dict[str, object]:
    """Returns the counts for one encoding; `folder` takes its files."""
    extension, make = ENCODINGS[name]
    data = make()
    files = dict(damaged(data))
    source = folder / "in"
    source.mkdir(parents=True)
    (source / f"intact{extension}").write_bytes(data)
    for damage, content in files.items():
        (source / f"{damage}{extension}").write_bytes(content)
    intact = read_image(source / f"intact{extension}")
    work = plan([source], folder / "out", _rules())
    done, refused, unexpected = [], {}, []
    for result in run(work, _Identity(), jobs=2):
        if result.status == "done":
            done.append(result.source.stem)
        else:
            refused[result.source.stem] = result.reason
            if result.reason.startswith("unexpected"):
                unexpected.append(f"{result.source.name}: {result.reason}")
    assert "intact" in done, refused
    wrong = []
    for damage in done:
        try:
            image = read_image(folder / "out" / f"{damage}.png")
        except ImageError as error:
            unexpected.append(f"{damage}: {error}")
            continue
        if image.pixels.shape != intact.pixels.shape or (image.pixels != intact.pixels).any():
            wrong.append(damage)
    return {
        "encoding": name,
        "variants": len(files),
        "refused": len(refused),
        "done, right": len(done) - 1 - len(wrong),
        "done, wrong, refused by Pillow": sorted(d for d in wrong if not pillow_opens(files[d])),
        "done, wrong, opened by Pillow": sorted(d for d in wrong if pillow_opens(files[d])),
        "refused, right for Pillow": sorted(
            d for d in refused if pillow_opens(files[d]) and _same_for_pillow(files[d], data)
        ),
        "unexpected": unexpected,
    }


def _rules() -> object:
    from img2img.batch import Rules

    return Rules(extension=".png")


def _same_for_pillow(data: bytes, intact: bytes) -> bool:
    pictures = []
    for content in (data, intact):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with PIL.Image.open(io.BytesIO(content)) as opened:
                pictures.append(np.asarray(opened.convert("RGB")))
    return pictures[0].shape == pictures[1].shape and bool((pictures[0] == pictures[1]).all())


@click.command()
@click.option("--only", multiple=True, type=click.Choice(sorted(ENCODINGS)), help="These encodings alone.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the name of every variant.")
@click.option("--keep", type=click.Path(path_type=Path), help="Leave the files in this new folder.")
def main(only: tuple[str, ...], as_json: bool, keep: Path | None) -> None:
    """Damage pictures of every encoding and print what becomes of them."""
    rows = []
    quiet = os.open(os.devnull, os.O_WRONLY)
    spoken = os.dup(2)
    os.dup2(quiet, 2)  # thousands of lines that decoders print; what they mean is counted here
    with tempfile.TemporaryDirectory() as temporary:
        for name in only or ENCODINGS:
            rows.append(measure(name, (keep or Path(temporary)) / name.replace(" ", "_")))
    os.dup2(spoken, 2)
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    else:
        keys = [key for key in rows[0] if key != "unexpected"]
        click.echo("| " + " | ".join(keys) + " |\n" + "|---" * len(keys) + "|")
        for row in rows:
            cells = [row[key] for key in keys]
            shown = (str(len(cell)) if isinstance(cell, list) else str(cell) for cell in cells)
            click.echo("| " + " | ".join(shown) + " |")
    for line in (line for row in rows for line in row["unexpected"]):  # type: ignore[attr-defined]
        click.echo(line, err=True)
    if any(row["done, wrong, refused by Pillow"] or row["unexpected"] for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
