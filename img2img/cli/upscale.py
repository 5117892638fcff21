"""`img2img upscale`: folders of images through a super-resolution model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from img2img.cli.options import (
    INPUTS,
    LIMITS,
    OUTPUT,
    SPEED,
    BatchOptions,
    GroupedCommand,
    Size,
    batch_options,
    option,
)

if TYPE_CHECKING:
    from img2img.batch import Processor


@click.command(cls=GroupedCommand)
@INPUTS
@option(
    "-m",
    "--model",
    "-n",
    "--model-name",
    "--model_name",
    "--model_path",
    "model",
    required=True,
    metavar="NAME|FILE",
    help="A model file (.safetensors, .pth) or a name from `model list`.",
)
@option(
    "-s", "--scale", "--outscale", "scale", type=float, help="Enlarge by this. [default: the model's factor]"
)
@option(
    "-t", "--tile", type=click.IntRange(0), help="Side of the tiles in pixels. [default: fits the memory]"
)
@option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps.")
@option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
    default="auto",
    show_default=True,
    group=SPEED,
    help="Number format of the network.",
)
@option("--fp32", "precision", flag_value="fp32", hidden=True)
@option(
    "--memory",
    type=Size(),
    group=LIMITS,
    help="What the network may use: 4G. [default: a share of what is free]",
)
@option(
    "--alpha",
    type=click.Choice(["model", "bicubic", "drop"]),
    default="model",
    show_default=True,
    group=OUTPUT,
    help="How transparency is enlarged.",
)
@batch_options
def upscale(
    inputs: tuple[Path, ...],
    model: str,
    scale: float | None,
    tile: int | None,
    device: str,
    precision: str,
    memory: int | None,
    alpha: str,
    options: BatchOptions,
) -> int:
    """Enlarge images with a super-resolution model.

    INPUT is any mix of files and folders; folders keep their tree under DIR. Published ESRGAN, Real-ESRGAN
    and compact checkpoints open as they are.

    Example: img2img upscale holiday/ -o big/ -m realesr-animevideov3.pth
    """
    from img2img.cli.convert import convert

    if scale is not None and not 0 < scale <= 64:
        raise click.UsageError(f"--scale is {scale:g}; it must be more than 0 and at most 64.")

    def load() -> tuple[Processor, dict[str, Any]]:
        from img2img.inference import load_model
        from img2img.inference.outscale import Outscale

        translator = load_model(
            model, device=device, precision=precision, tile=tile or None, memory=memory, alpha=alpha
        )
        factor = scale or translator.generator.scale
        settings = {
            "model": translator.fingerprint,
            "scale": factor,
            "precision": translator.precision,
            "alpha": alpha,
        }
        return Outscale(translator, factor), settings

    return convert(inputs, options, load)
