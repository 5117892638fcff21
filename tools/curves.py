"""Draws the losses and scores of runs as one SVG file.

    python tools/curves.py runs/facades -o curves.svg --of losses.g_l1 --of ssim

Names are those of metrics.jsonl: `losses.NAME` of the training, or a score of the held-out part.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from xml.sax.saxutils import escape

import click

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 360, 200, 48, 28, 24
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e")


def read(run: Path, name: str) -> list[tuple[int, float]]:
    """Returns (step, value) of every line of the run's metrics.jsonl that has `name` and a finite value.

    Raises:
        click.ClickException: The run has no metrics.jsonl, or nothing of that name.
    """
    try:
        lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise click.ClickException(f"{run} is not the folder of a run: {error.strerror}.") from None
    points = []
    for line in map(json.loads, lines):
        value = line
        for key in name.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, int | float) and math.isfinite(value):
            points.append((line["step"], float(value)))
    if not points:
        raise click.ClickException(f"{run} has nothing called {name}; look into its metrics.jsonl.")
    return points


def smoothed(points: list[tuple[int, float]], window: int) -> list[tuple[int, float]]:
    """Returns the means over `window` neighbours: single steps of adversarial training are noise."""
    half = window // 2
    means = []
    for place, (step, _) in enumerate(points):
        near = [value for _, value in points[max(0, place - half) : place + half + 1]]
        means.append((step, sum(near) / len(near)))
    return means


def chart(title: str, curves: dict[str, list[tuple[int, float]]], left: int, top: int) -> str:
    """Returns one chart as SVG elements, its corner at (left, top)."""
    steps = [step for points in curves.values() for step, _ in points]
    values = [value for points in curves.values() for _, value in points]
    low, high = min(values), max(values)
    span, last = (high - low) or 1.0, max(steps) or 1

    def place(step: int, value: float) -> str:
        x = left + LEFT + (WIDTH - LEFT - 12) * step / last
        y = top + TOP + (HEIGHT - TOP - BOTTOM) * (1 - (value - low) / span)
        return f"{x:.1f},{y:.1f}"

    right, base = left + WIDTH - 12, top + HEIGHT - BOTTOM
    parts = [
        f'<text x="{left + LEFT}" y="{top + 15}" font-weight="bold">{escape(title)}</text>',
        f'<path d="M{left + LEFT},{top + TOP}V{base}H{right}" fill="none" stroke="#888"/>',
        f'<text x="{left + LEFT - 4}" y="{top + TOP + 8}" text-anchor="end">{high:.4g}</text>',
        f'<text x="{left + LEFT - 4}" y="{base}" text-anchor="end">{low:.4g}</text>',
        f'<text x="{right}" y="{base + 14}" text-anchor="end">step {last}</text>',
    ]
    for number, (name, points) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        line = " ".join(place(step, value) for step, value in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        if len(curves) > 1:
            y = top + TOP + 12 + 13 * number
            parts.append(f'<text x="{right}" y="{y}" text-anchor="end" fill="{colour}">{escape(name)}</text>')
    return "\n".join(parts)


@click.command()
@click.argument(
    "runs", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="SVG file."
)
@click.option("--of", "names", multiple=True, required=True, help="What to draw, one chart each.")
@click.option("--window", default=5, show_default=True, help="Neighbours that a point is the mean of.")
def main(runs: tuple[Path, ...], output: Path, names: tuple[str, ...], window: int) -> None:
    """Draw one chart for every --of, with a curve for every run."""
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    charts = []
    for number, name in enumerate(names):
        curves = {run.name: smoothed(read(run, name), window) for run in runs}
        charts.append(chart(name, curves, number % columns * WIDTH, number // columns * HEIGHT))
    size = f'width="{columns * WIDTH}" height="{rows * HEIGHT}"'
    style = 'font-family="sans-serif" font-size="11"'
    body = "\n".join(charts)
    output.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n'
        f'<rect {size} fill="white"/>\n{body}\n</svg>\n',
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
