"""`img2img demo`: the main jobs on three photographs that ship with the package, offline, on any machine."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import as_file, files
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from img2img.errors import Img2ImgError, UnknownModelError, display_path

if TYPE_CHECKING:
    from img2img.batch import Processor
    from img2img.image import Image
    from img2img.image.sheet import SheetRow

SCALE = 4
PORTRAIT = "kitten-on-lawn.jpg"  # is spoiled and restored
DAMAGE = "degrade=mixed,blurred:0,noisy:1,sigma:15,compressed:1,quality:30"
CROP = 120, 160  # height and width of what the picture shows of each photograph: single pixels are visible


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("img2img-demo"),
    show_default=True,
    help="Folder for the results.",
)
def demo(output: Path) -> int:
    """See it work: enlarge, restore and enhance photographs that ship with the package, and compare."""
    from img2img.cli.render import say, say_error
    from img2img.image import write_image
    from img2img.image.sheet import sheet

    with as_file(files("img2img.recipes").joinpath("sample")) as samples:
        photos = sorted(samples.glob("*.jpg"))
        try:
            rows = _enlarge(photos, output)
            rows += _restore(samples / PORTRAIT, output)
            rows += _enhance(photos, output)
        except _FailedError as error:
            say_error(str(error))
            return 1
    picture = output / "compare.png"
    write_image(sheet(rows), picture)
    say(f"Look at {display_path(picture)}.")
    return 0


class _FailedError(Img2ImgError):
    """A photograph could not be converted."""


def _enlarge(photos: Sequence[Path], output: Path) -> list[SheetRow]:
    """Reduces the photographs, enlarges them with the model that ships, and measures how near that comes."""
    from img2img.cli.render import say
    from img2img.image import Image, read_image, write_image
    from img2img.image.resize import resize
    from img2img.inference import load_model
    from img2img.weights import ships, upscaler

    try:
        _, path = upscaler(SCALE)
    except UnknownModelError:
        say("The models that ship are not in this installation: it was made from a source tree without them.")
        return []
    small, big = output / "small", output / "big"
    small.mkdir(parents=True, exist_ok=True)
    truths = {}
    for photo in photos:
        pixels = read_image(photo).pixels
        height, width = (side // SCALE for side in pixels.shape[:2])
        pixels = pixels[: height * SCALE, : width * SCALE]
        truths[photo.stem] = Image(pixels)
        write_image(Image(resize(pixels, height, width)), small / f"{photo.stem}.png")
    say(f"Photographs made {SCALE} times smaller, enlarged again, and compared with what they were:")
    say(f"  img2img upscale {display_path(small)} -o {display_path(big)}")
    model = load_model(path, scale=SCALE)
    _convert(small, big, model, {"model": model.fingerprint, "precision": model.precision})
    rows = [_row(name, truth, small, big, path.stem) for name, truth in truths.items()]
    say("(PSNR on Y, in decibels: the higher, the nearer to the photograph.)")
    if ships(path):
        say(f"{path.stem} has learned from these photographs, too; its card has numbers for others.")
    return rows


def _row(name: str, truth: Image, small: Path, big: Path, model: str) -> SheetRow:
    """Returns input, bicubic, result and truth of one photograph, the part where bicubic is worst."""
    from img2img.cli.render import say
    from img2img.image import read_image
    from img2img.image.resize import resize
    from img2img.image.sheet import hardest

    source, result = (read_image(folder / f"{name}.png") for folder in (small, big))
    bicubic = source.replace(pixels=resize(source.pixels, truth.height, truth.width))
    plain, better = (_psnr(image, truth) for image in (bicubic, result))
    say(f"  {name:16}  bicubic {plain:.2f} dB, {model} {better:.2f} dB")
    top, left = hardest(truth, bicubic, *CROP, SCALE)
    part = source.pixels[top // SCALE :, left // SCALE :][: CROP[0] // SCALE, : CROP[1] // SCALE]
    large = [image.pixels[top:, left:][: CROP[0], : CROP[1]] for image in (bicubic, result, truth)]
    captions = [f"{name}: input", f"bicubic, {plain:.2f} dB", f"{model}, {better:.2f} dB", "photograph"]
    return [(source.replace(pixels=pixels), c) for pixels, c in zip([part, *large], captions, strict=True)]


def _restore(photo: Path, output: Path) -> list[SheetRow]:
    """Spoils a photograph, restores it with the model that ships, and measures how near that comes."""
    from img2img.cli.render import say
    from img2img.image import read_image
    from img2img.image.sheet import hardest
    from img2img.inference import load_model
    from img2img.processors import parse_operations
    from img2img.weights import restorer, ships

    path = restorer()
    if path is None:
        return []
    damaged, restored = output / "damaged", output / "restored"
    operations = parse_operations([DAMAGE])
    say("One of them with noise, compressed as JPEG, and restored:")
    say(f"  img2img process {photo.name} -o {display_path(damaged)} --ext png --op {DAMAGE}")
    _convert(photo, damaged, operations, {"operations": operations.settings()}, "png")
    say(f"  img2img restore {display_path(damaged)} -o {display_path(restored)} --task {path.stem}")
    model = load_model(path)
    _convert(damaged, restored, model, {"model": model.fingerprint, "precision": model.precision})
    truth = read_image(photo)
    before, after = (read_image(folder / f"{photo.stem}.png") for folder in (damaged, restored))
    plain, better = (_psnr(image, truth) for image in (before, after))
    say(f"  {photo.stem:16}  damaged {plain:.2f} dB, {path.stem} {better:.2f} dB")
    if ships(path):
        say(f"{path.stem} has learned from this photograph, too.")
    top, left = hardest(truth, before, *CROP)
    captions = f"{photo.stem}: damaged, {plain:.2f} dB", f"{path.stem}, {better:.2f} dB", "photograph"
    return [
        [
            (image.replace(pixels=image.pixels[top:, left:][: CROP[0], : CROP[1]]), caption)
            for image, caption in zip((before, after, truth), captions, strict=True)
        ]
    ]


def _psnr(image: Image, truth: Image) -> float:
    """Returns PSNR as papers on super-resolution print it: on Y in whole levels, without the border."""
    from img2img.image.tensor import to_tensor
    from img2img.metrics import luma, psnr
    from img2img.types import ValueRange

    levels = ValueRange(0, 255)
    a, b = (luma(to_tensor(i.pixels, levels), levels, rounded=True) for i in (image, truth))
    return float(psnr(a, b, levels, border=SCALE))


def _enhance(photos: Sequence[Path], output: Path) -> list[SheetRow]:
    """Runs a recipe of OpenCV operations over the photographs."""
    from img2img.cli.render import say
    from img2img.image import read_image
    from img2img.processors import open_recipe

    recipe = open_recipe("enhance")
    say("Classic OpenCV operations:")
    say(f"  img2img process PHOTOS -o {display_path(output / 'enhanced')} --recipe enhance")
    _convert(photos[0].parent, output / "enhanced", recipe, {"operations": recipe.settings()})
    pairs = [
        ((read_image(photo), photo.stem), (read_image(output / "enhanced" / photo.name), "enhanced"))
        for photo in photos
    ]
    return [list(chain(*pairs[start : start + 2])) for start in range(0, len(pairs), 2)]


def _convert(
    source: Path, output: Path, processor: Processor, settings: dict[str, Any], extension: str | None = None
) -> None:
    from img2img.batch import Rules, convert_folder
    from img2img.cli.render import say

    summary = convert_folder(source, output, processor, rules=Rules(extension=extension), settings=settings)
    say(f"{summary.to_text()}.")
    for path, reason in summary.failures:
        raise _FailedError(f"{display_path(path)}: {reason}")
