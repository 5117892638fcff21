"""Compares Deep Image Prior with OpenCV on photographs: `python tools/compare_prior.py PHOTO... -o DIR`.

Each photograph is reduced, damaged and restored. What is measured is PSNR against the photograph before the
damage: of the damaged picture, of OpenCV (non-local means with the strength that is best by the truth, both
inpainting methods) or bicubic enlargement, and of the prior where its rules stop, at the end, and at the step
that is best by the truth, which nobody knows in practice. What is done is kept in DIR and not done again.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import torch
from curves import HEIGHT, WIDTH, chart
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from img2img.data.masks import IrregularMasks, MaskConfig
from img2img.data.sampler import random_stream
from img2img.image import Image, read_image, write_image
from img2img.image.alpha import over_white
from img2img.image.image import Pixels
from img2img.image.resize import covering, resize
from img2img.inference.early_stopping import MovingVariance, WindowedVariance
from img2img.inference.prior import DeepPrior, PriorProgress
from img2img.processors.inpaint import Classic, Hole, Inpainter

SIGMA, FACTOR, SEED = 25, 4, 0
STRENGTHS = (5, 10, 15, 20, 25, 30, 40)
DAMAGES = ("noise", "text", "half", "strokes", "x4")
TEXT = "The quick brown fox jumps over the lazy dog. "
EVERY = 5  # steps between two points of a curve


def photograph(path: Path, side: int) -> Pixels:
    """Returns the middle of a photograph, (side, side, 3), its shorter side reduced to `side`."""
    pixels = over_white(read_image(path)).pixels
    pixels = resize(pixels, *covering(pixels.shape[:2], (side, side)))
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])


def hole_in(damage: str, side: int, number: int) -> Hole:
    """Returns where something is missing, (side, side)."""
    if damage == "half":
        return random_stream(SEED, number).random((side, side)) < 0.5
    if damage == "strokes":
        return IrregularMasks(MaskConfig(holes=(0.1, 0.1), kinds=("strokes",)))(side, side, 0, number) > 0
    mask = Pillow.new("L", (side, side))
    draw, font = ImageDraw.Draw(mask), ImageFont.load_default(12)
    for line, top in enumerate(range(2, side - 8, 16)):
        draw.text((2 - 40 * (line % 3), top), TEXT * (side // 100 + 2), 255, font)
    return np.asarray(mask) > 127


def decibels(pixels: Pixels, truth: Pixels) -> float:
    """Returns the PSNR of pixels of 8 bits or of floats of 0 to 255."""
    error = np.square(pixels.astype(np.float64) - truth).mean()
    return 99.0 if error == 0 else 10 * math.log10(255**2 / error)


def baselines(damage: str, damaged: Pixels, hole: Hole | None, truth: Pixels) -> dict[str, Pixels]:
    """Returns what others make of a damaged picture, by their names."""
    if damage == "noise":
        bgr = damaged[..., ::-1]
        tries = [cv2.fastNlMeansDenoisingColored(bgr, None, h, h)[..., ::-1] for h in STRENGTHS]
        return {"non-local means": max(tries, key=lambda pixels: decibels(pixels, truth))}
    if damage == "x4":
        return {"bicubic": resize(damaged, *truth.shape[:2])}
    mask = Image(hole.astype(np.uint8)[..., None] * 255) if hole is not None else None
    methods = {"Telea": "telea", "Navier-Stokes": "navier_stokes"}
    return {
        name: Inpainter(Classic(method))([Image(damaged)], mask=[mask])[0].pixels
        for name, method in methods.items()
    }


class Record:
    """Notes PSNR and variance of each step, and the picture where each rule would stop.

    Args:
        truth: (H, W, 3).
        hole: What is filled in; None where everything is new.
    """

    def __init__(self, truth: Pixels, hole: Hole | None) -> None:
        self.truth, self.hole = truth, hole
        self.rules = {"windowed": WindowedVariance(), "moving": MovingVariance()}
        self.stopped: dict[str, int] = {}  # rules that have come to their end, and when
        self.chosen: dict[str, tuple[int, Pixels]] = {}
        self.best: tuple[float, int, Pixels] = (-1.0, 0, truth)
        self.curves: dict[str, list[tuple[int, float]]] = {}

    def picture(self, values: torch.Tensor) -> Pixels:
        """Returns (1, C, H, W) as it would be stored: limited, rounded, and known pixels as they are."""
        levels = np.rint(values[0].permute(1, 2, 0).cpu().numpy() * 255).clip(0, 255).astype(np.uint8)
        levels = np.broadcast_to(levels, self.truth.shape)
        return levels if self.hole is None else np.where(self.hole[..., None], levels, self.truth)

    def __call__(self, progress: PriorProgress) -> None:
        """Takes one step."""
        state = progress.fit
        average = self.picture(state.average)
        score = decibels(average, self.truth)
        if score > self.best[0]:
            self.best = score, state.step, average
        for name, rule in self.rules.items():
            if name in self.stopped:
                continue
            if rule.add(state.output):
                self.chosen[name] = state.step, average
            if rule.done:
                self.stopped[name] = state.step
        if state.step % EVERY == 0:
            points = {
                "output": decibels(self.picture(state.output), self.truth),
                "average": score,
                "loss": state.loss,
                **{name: rule.variance for name, rule in self.rules.items()},
            }
            for name, value in points.items():
                if math.isfinite(value):
                    self.curves.setdefault(name, []).append((state.step, value))


def compare(
    photo: Path, number: int, damage: str, side: int, channels: int, steps: int | None, missing: Any
) -> tuple[dict[str, Any], list[Pixels]]:
    """Returns what was measured of one photograph, and the pictures: truth, damaged, others, the prior."""
    truth = photograph(photo, side)
    hole = hole_in(damage, side, number) if damage in ("text", "half", "strokes") else None
    seen = truth
    if damage == "noise":
        noise = random_stream(SEED, number).normal(0, SIGMA, truth.shape)
        seen = np.rint(truth + noise).clip(0, 255).astype(np.uint8)
    elif damage == "x4":
        seen = resize(truth, side // FACTOR, side // FACTOR)
    elif hole is not None:
        seen = np.where(hole[..., None], np.uint8(0), truth)
    record = Record(truth, hole)
    task = {"noise": "denoise", "x4": "upscale"}.get(damage, "inpaint")
    prior = DeepPrior(
        task,  # type: ignore[arg-type]
        factor=FACTOR,
        channels=channels,
        steps=steps,
        stop="none",
        holes=missing,
        seed=SEED,
        on_progress=record,
    )
    began, used = time.monotonic(), time.process_time()
    if hole is None:
        (result,) = prior([Image(seen)])
    else:
        mask = Image(hole.astype(np.uint8)[..., None] * 255)
        (result,) = Inpainter(prior.fill)([Image(seen)], mask=[mask])
    others = baselines(damage, seen, hole, truth)
    shown = resize(seen, side, side) if damage == "x4" else seen
    last = record.curves["average"][-1][0]
    chosen = {name: record.chosen.get(name, (last, result.pixels)) for name in record.rules}
    measured = {
        "photograph": photo.stem,
        "damage": damage,
        "recipe": result.made_by or task,
        "side": side,
        "channels": channels,
        "steps": last,
        "wall_seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(time.process_time() - used, 1),
        "input": decibels(shown, truth),
        "others": {name: decibels(pixels, truth) for name, pixels in others.items()},
        "prior": {name: decibels(pixels, truth) for name, (_, pixels) in chosen.items()},
        "chosen": {name: step for name, (step, _) in chosen.items()},
        "stopped": record.stopped,
        "end": decibels(result.pixels, truth),
        "best": record.best[0],
        "best_step": record.best[1],
        "curves": record.curves,
    }
    return measured, [truth, shown, *others.values(), chosen["windowed"][1], record.best[2]]


def table(found: list[dict[str, Any]]) -> str:
    """Returns the measurements as a table of Markdown."""
    names = ["damage", "photograph", "damaged", "OpenCV or bicubic", "prior, windowed (step)"]
    names += ["prior, moving (step)", "prior, last step", "best by the truth (step)"]
    lines = [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    for each in found:
        others = ", ".join(f"{name} {score:.2f}" for name, score in each["others"].items())
        ways = " | ".join(f"{each['prior'][rule]:.2f} ({each['chosen'][rule]})" for rule in each["prior"])
        lines.append(
            f"| {each['damage']} | {each['photograph']} | {each['input']:.2f} | {others} | {ways} "
            f"| {each['end']:.2f} ({each['steps']}) | {each['best']:.2f} ({each['best_step']}) |"
        )
    return "\n".join(lines)


def drawing(found: list[dict[str, Any]]) -> str:
    """Returns the curves as SVG: for each run PSNR above, the variances below, and where the rule stops."""
    charts: list[str] = []
    for place, each in enumerate(found):
        curves, left = each["curves"], place * WIDTH
        title = f"{each['damage']}, {each['photograph']}: PSNR"
        charts.append(chart(title, {name: curves[name] for name in ("output", "average")}, left, 0))
        scaled = {name: _scaled(curves[name]) for name in ("windowed", "moving") if name in curves}
        last = curves["average"][-1][0]
        if scaled:
            chosen = each["chosen"]["windowed"]
            scaled["stop"] = [(chosen, -6.0), (chosen, 0.0), (last, 0.0)]
            charts.append(chart("variance, log10 of its largest", scaled, left, HEIGHT))
    size = f'width="{len(found) * WIDTH}" height="{2 * HEIGHT}"'
    body = "\n".join(charts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">\n'
        f'<rect {size} fill="white"/>\n{body}\n</svg>\n'
    )


def _scaled(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    largest = max(value for _, value in points) or 1.0
    return [(step, math.log10(max(value / largest, 1e-6))) for step, value in points]


@click.command()
@click.argument(
    "photos", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for all of it.")
@click.option("--damages", default="noise,text,half,x4", show_default=True, help=f"Of {', '.join(DAMAGES)}.")
@click.option("--side", default=128, show_default=True, help="Of the photographs; a multiple of 4.")
@click.option("--channels", default=128, show_default=True, help="Of the network at its widest.")
@click.option("--steps", type=int, help="At most, for all damages. [default: the recipes']")
@click.option(
    "--missing",
    type=click.Choice(["auto", "text", "pixels", "region"]),
    default="auto",
    show_default=True,
    help="The recipe that fills holes.",
)
@click.option("--threads", default=1, show_default=True, help="Of torch.")
def main(
    photos: tuple[Path, ...],
    output: Path,
    damages: str,
    side: int,
    channels: int,
    steps: int | None,
    missing: str,
    threads: int,
) -> None:
    """Damage, restore and measure photographs; prints the table, writes curves.svg and pictures."""
    torch.set_num_threads(threads)
    wanted = damages.split(",")
    if unknown := [name for name in wanted if name not in DAMAGES]:
        raise click.UsageError(f"{', '.join(unknown)} is none of {', '.join(DAMAGES)}.")
    output.mkdir(parents=True, exist_ok=True)
    for number, photo in enumerate(photos):
        for damage in wanted:
            place = output / f"{damage}_{photo.stem}.json"
            if not place.exists():
                measured, row = compare(photo, number, damage, side, channels, steps, missing)
                write_image(Image(np.concatenate(row, 1)), place.with_suffix(".png"))
                part = place.with_suffix(".part")
                part.write_text(json.dumps(measured))
                part.replace(place)
            report(output)
    click.echo((output / "table.md").read_text())


def report(output: Path) -> None:
    """Writes the table and the curves of what is there so far."""
    found = [json.loads(path.read_text()) for path in sorted(output.glob("*_*.json"))]
    found.sort(key=lambda each: (DAMAGES.index(each["damage"]), each["photograph"]))
    (output / "table.md").write_text(table(found) + "\n")
    firsts: dict[str, dict[str, Any]] = {}
    for each in found:
        firsts.setdefault(each["damage"], each)
    (output / "curves.svg").write_text(drawing(list(firsts.values())))


if __name__ == "__main__":
    main()
