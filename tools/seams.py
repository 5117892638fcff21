"""Shows what dividing a large picture costs: `python tools/seams.py COMMAND`.

`compare` makes the table and the picture of docs/tiling.md, `memory` measures the peak of one way through a
network in a process of its own.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from img2img.image import EncodeOptions, Image, read_image, write_image
from img2img.image.resize import resize
from img2img.image.tensor import to_pixels, to_tensor
from img2img.inference.precision import in_precision
from img2img.inference.schemes import in_strips, schemes
from img2img.inference.tiling import Blender, TileGrid, spans
from img2img.interop import open_checkpoint
from img2img.models import Generator, Resnet, RRDBNet
from img2img.models.norm import BatchNorm, InstanceNorm, Statistics

SAMPLE = Path(__file__).resolve().parent.parent / "datasets" / "sample" / "perched-osprey.jpg"
MODEL = click.option(
    "--model",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A checkpoint. [default: ResNet-9 with random weights]",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def seams() -> None:
    """Show what dividing a large picture costs."""


@seams.command()
@MODEL
@click.option("--photo", default=SAMPLE, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--width", default=1024, show_default=True)
@click.option("--height", default=768, show_default=True)
@click.option("--tile", default=256, show_default=True, help="Side of a tile of the naive ways.")
@click.option("--amplify", default=4, show_default=True, help="Of the differences in the picture.")
@click.option(
    "--quick", is_flag=True, help="Leave out the way that keeps nothing; it takes ten times as long."
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the heat map here.")
def compare(
    model: Path | None,
    photo: Path,
    width: int,
    height: int,
    tile: int,
    amplify: int,
    quick: bool,
    output: Path | None,
) -> None:
    """Compare every way to divide a photograph with the whole of it, in fp32."""
    generator = load(model)
    x = to_tensor(cropped(read_image(photo).pixels, height, width), generator.input_range)
    x = x.contiguous(memory_format=torch.channels_last)
    expected, seconds = timed(lambda: generator.infer(x))
    click.echo(f"{'way':36} {'PSNR dB':>8} {'largest':>8} {'time':>6}   (differences in levels of 255)")
    click.echo(f"{'whole':36} {'':>8} {'':>8} {1:6.2f}   ({seconds:.1f} s)")
    maps, panels = [], []
    for name, way in ways(generator, x, tile, quick):
        result, taken = timed(way)
        apart = (result - expected).abs() * (255 / (generator.output_range[1] - generator.output_range[0]))
        error = float(apart.double().square().mean())
        psnr = 10 * np.log10(255**2 / error) if error else float("inf")
        click.echo(f"{name:36} {psnr:8.1f} {float(apart.max()):8.3f} {taken / seconds:6.2f}")
        maps.append((name, apart.mean(1)[0].numpy()))
        if not panels:
            panels += to_pixels(result, generator.output_range, np.dtype(np.uint8))
    if output is not None:
        (picture,) = to_pixels(expected, generator.output_range, np.dtype(np.uint8))
        panels = [picture, *panels, *(heat(apart * amplify) for name, apart in maps if name in SHOWN)]
        write_image(Image(grid([shrunk(panel, 512) for panel in panels])), output, EncodeOptions(quality=85))


SHOWN = ("tiles, each with its own statistics", "tiles, halo 10", "two maps", "trunk")


def ways(
    generator: Generator, x: Tensor, tile: int, quick: bool
) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    """Yields every way to divide `x` by its name, as functions that return the whole output."""
    radius = 32
    if generator.tiling == "global_statistics":
        yield SHOWN[0], lambda: tiled(generator, x, tile, radius)
        yield "the same, blended over 32 pixels", lambda: tiled(generator, x, tile, 16, ramp=32)

        def by_thumbnail() -> Tensor:
            thumbnail = nn.functional.interpolate(x, (tile * 3 // 2, tile * 2), mode="area")
            with frozen(generator, thumbnail):
                return generator.infer(x)

        yield "statistics of a thumbnail", by_thumbnail
        for halo in (16, 32, 48, 64):

            def by_statistics(halo: int = halo) -> Tensor:
                with frozen(generator, x):
                    return tiled(generator, x, tile, halo)

            yield f"true statistics, tiles, halo {halo}", by_statistics
    else:
        yield SHOWN[1], lambda: tiled(generator, x, tile, 10)
        yield "tiles, blended over 32 pixels", lambda: tiled(generator, x, tile, 16, ramp=32)
    for scheme in schemes(generator, x.shape[2], x.shape[3], 64):
        if not (quick and scheme.kept == "nothing"):
            yield (
                scheme.kept,
                lambda scheme=scheme: torch.cat([rows for _, rows in in_strips(generator, x, scheme)], 2),
            )


@seams.command()
@MODEL
@click.argument("kept")
@click.option("--width", default=4000, show_default=True)
@click.option("--height", default=3000, show_default=True)
@click.option("--rows", default=64, show_default=True, help="Rows of the input in a strip.")
@click.option("--bf16", is_flag=True)
@click.option("--rrdbnet", is_flag=True, help="RRDBNet with random weights in place of ResNet-9.")
def memory(
    model: Path | None, kept: str, width: int, height: int, rows: int, bf16: bool, rrdbnet: bool
) -> None:
    """Measure the peak of one way, KEPT: "whole", "trunk", "two maps", "one map" or "nothing"."""
    generator: Generator = RRDBNet().eval() if rrdbnet else load(model)
    generator = generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if bf16:
        generator = in_precision(generator, torch.bfloat16)
    x = torch.rand(1, generator.in_channels, height, width).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        generator.infer(x[:, :, :64, :64])  # what the libraries take once and for all
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    canvas = np.zeros((height * generator.scale, width * generator.scale, generator.out_channels), np.uint8)
    started = time.perf_counter()
    estimate = ""
    if kept == "whole":
        with torch.no_grad():
            (canvas,) = to_pixels(generator.infer(x), generator.output_range, canvas.dtype)
    else:
        found = [s for s in schemes(generator, height, width, rows, 2 if bf16 else 4) if s.kept == kept]
        if not found:
            raise click.UsageError(f"there is no way called {kept!r} through {generator.name}.")
        estimate = f", estimated {found[0].peak / 2**20:.0f} MiB without the canvas"
        for start, part in in_strips(generator, x, found[0]):
            canvas[start : start + part.shape[2]] = to_pixels(part, generator.output_range, canvas.dtype)[0]
    seconds = time.perf_counter() - started
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    click.echo(
        f"{generator.name} {width}x{height} {'bf16' if bf16 else 'fp32'}, {kept}: peak +{grown:.0f} MiB "
        f"(canvas {canvas.nbytes / 2**20:.0f} MiB of it{estimate}), {seconds:.0f} s"
    )


def load(model: Path | None) -> Generator:
    """Returns the network in a file, or ResNet-9 with random weights as CycleGAN starts with them."""
    if model is not None:
        return open_checkpoint(model)[0].eval()
    torch.manual_seed(0)
    generator = Resnet()
    for layer in generator.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0, 0.02)
    return generator.eval()


def timed(work: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """Returns the result of `work` and its seconds."""
    started = time.perf_counter()
    with torch.no_grad():
        result = work()
    return result, time.perf_counter() - started


def tiled(generator: Generator, x: Tensor, tile: int, margin: int, ramp: int = 0) -> Tensor:
    """Returns what tiles make of `x` that know nothing of each other."""
    window, unit = tile + 2 * margin + ramp, generator.multiple_of
    down, height = spans(x.shape[2], window, margin, ramp, unit)
    across, width = spans(x.shape[3], window, margin, ramp, unit)
    cells = TileGrid(down, across, height, width, ramp)
    blender = Blender(cells, generator.scale)
    result: Tensor | None = None
    for row, column in cells:
        part = generator.infer(
            x[:, :, row.start : row.start + cells.height, column.start : column.start + cells.width]
        )
        top, left, part = blender.add(row, column, part)
        if result is None:
            result = part.new_empty(1, part.shape[1], *(side * generator.scale for side in x.shape[2:]))
        result[:, :, top : top + part.shape[2], left : left + part.shape[3]] = part
    if result is None:
        raise ValueError("there are no tiles")
    return result


@contextmanager
def frozen(generator: Generator, picture: Tensor) -> Iterator[None]:
    """Within it every norm uses the statistics that `picture` has there."""
    norms = [layer for layer in generator.modules() if isinstance(layer, InstanceNorm | BatchNorm)]

    def keep(layer: nn.Module, inputs: tuple[Tensor]) -> None:
        variance, mean = torch.var_mean(inputs[0], (2, 3), correction=0)
        layer.statistics = Statistics(mean, variance)  # type: ignore[assignment]

    handles = [layer.register_forward_pre_hook(keep) for layer in norms]
    generator.infer(picture)
    for handle in handles:
        handle.remove()
    try:
        yield
    finally:
        for layer in norms:
            layer.statistics = None


def cropped(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Returns the middle of a photograph in the wanted shape."""
    tall, wide = pixels.shape[:2]
    factor = min(tall / height, wide / width)
    rows, columns = int(height * factor), int(width * factor)
    top, left = (tall - rows) // 2, (wide - columns) // 2
    return resize(pixels[top : top + rows, left : left + columns], height, width)


def heat(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Returns differences, 0 to 255, as black, red, yellow, white."""
    channels = [np.clip(3 * values - 255 * step, 0, 255) for step in range(3)]
    return np.stack(channels, -1).astype(np.uint8)


def shrunk(pixels: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """Returns a picture `width` pixels wide."""
    return resize(pixels, max(1, round(pixels.shape[0] * width / pixels.shape[1])), width)


def grid(panels: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Returns the panels two by two with a white line between them."""
    framed = [np.pad(panel, ((4, 4), (4, 4), (0, 0)), constant_values=255) for panel in panels]
    rows = [np.concatenate(framed[i : i + 2], 1) for i in range(0, len(framed) // 2 * 2, 2)]
    return np.concatenate(rows, 0)


if __name__ == "__main__":
    seams()
