"""Compares ways to fill holes on photographs: `python tools/compare_inpainting.py MODEL --images DIR`.

Holes of chosen ratios are drawn into each photograph, the same ones for every way: OpenCV's two methods and
the models that are named. What is measured is the picture with its holes filled: PSNR and SSIM of all of it,
and PSNR of the holes alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import torch

from img2img.data.masks import IrregularMasks, MaskConfig
from img2img.data.records import find_records
from img2img.image import Image, read_image, write_image
from img2img.image.alpha import over_white
from img2img.image.discovery import list_images
from img2img.image.resize import covering, resize
from img2img.image.tensor import to_tensor
from img2img.inference.inpainting import NetworkFill
from img2img.interop import open_checkpoint
from img2img.metrics import psnr, ssim
from img2img.processors.inpaint import Classic, Inpainter
from img2img.training import read_experiment
from img2img.types import UNIT
from img2img.weights import find_model

KINDS = {"strokes": ("strokes",), "blobs": ("blobs",)}


def held_out(config: Path) -> list[Path]:
    """Returns the photographs that a run has not learned from."""
    experiment = read_experiment(config)
    fields = experiment.fields
    records = find_records(experiment.data, fields).validation
    return [record.paths[0] for record in records[0]]


def compare(
    ways: dict[str, Inpainter], photos: Sequence[Path], ratio: float, side: int, kind: str, sheet: Path | None
) -> dict[str, tuple[float, float, float]]:
    """Returns (PSNR, SSIM, PSNR of the holes) of each way, means over the photographs."""
    masks = IrregularMasks(MaskConfig(holes=(ratio, ratio), kinds=KINDS[kind]))
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
    for index, path in enumerate(photos):
        truth = over_white(read_image(path)).pixels
        size = covering(truth.shape[:2], (side, side))
        truth = resize(truth, *size) if min(size) < min(truth.shape[:2]) else truth
        mask = masks(*truth.shape[:2], 0, index)
        hole = mask > 0
        row = [np.where(hole[..., None], np.uint8(255), truth)]
        for name, way in ways.items():
            (result,) = way([Image(truth)], mask=[Image(mask[..., None])])
            assert (result.pixels[~hole] == truth[~hole]).all()
            a, b = to_tensor(result.pixels), to_tensor(truth)
            error = np.square((result.pixels[hole].astype(float) - truth[hole]) / 255).mean()
            scores = psnr(a, b, UNIT).item(), ssim(a, b, UNIT).item()
            found[name].append((*scores, -10 * float(np.log10(max(error, 1e-10)))))
            row.append(result.pixels)
        if sheet is not None:
            sheet.mkdir(parents=True, exist_ok=True)
            row.append(truth)
            write_image(Image(np.concatenate(row, 1)), sheet / f"{path.stem}_{kind}_{ratio:g}.png")
    return {name: tuple(np.mean(scores, 0).tolist()) for name, scores in found.items()}


@click.command()
@click.argument("models", nargs=-1, metavar="MODEL...")
@click.option("--images", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Photographs.")
@click.option(
    "--held-out",
    "config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The config.yaml of a run: its held-out part.",
)
@click.option("--ratios", default="0.1,0.2,0.3,0.4,0.5", show_default=True, help="Shares that are hole.")
@click.option("--side", default=256, show_default=True, help="The shorter side of the photographs.")
@click.option("--count", type=int, help="At most so many photographs.")
@click.option("--sheet", type=click.Path(path_type=Path), help="Folder for pictures: holes, each way, truth.")
@click.option("--json", "as_json", type=click.Path(path_type=Path), help="File for the numbers.")
def main(
    models: tuple[str, ...],
    images: Path | None,
    config: Path | None,
    ratios: str,
    side: int,
    count: int | None,
    sheet: Path | None,
    as_json: Path | None,
) -> None:
    """Prints a table of PSNR and SSIM of the whole picture, and PSNR of the holes."""
    torch.set_num_threads(1)
    if (images is None) == (config is None):
        raise click.UsageError("name photographs with --images, or the held-out part of a run.")
    photos = held_out(config) if config is not None else list_images(images).files
    photos = sorted(photos)[:count]
    ways = {method: Inpainter(Classic(method)) for method in ("telea", "navier_stokes")}
    for model in models:
        ways[Path(model).stem] = Inpainter(NetworkFill(*open_checkpoint(find_model(model))))
    rows = {}
    click.echo(f"{len(photos)} photographs, shorter side {side}: PSNR, SSIM, PSNR of the holes")
    for kind in KINDS:
        for ratio in map(float, ratios.split(",")):
            scores = compare(ways, photos, ratio, side, kind, sheet)
            rows[f"{kind} {ratio:g}"] = scores
            text = "   ".join(f"{name} {a:.2f} {b:.4f} {c:.2f}" for name, (a, b, c) in scores.items())
            click.echo(f"{kind:8} {ratio:.1f}   {text}")
    if as_json is not None:
        as_json.write_text(json.dumps({"photographs": len(photos), "side": side, "scores": rows}, indent=1))


if __name__ == "__main__":
    main()
