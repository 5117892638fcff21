"""What a training has written so far: how far it is, its losses and scores, its grids of samples."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from img2img.config import load_yaml
from img2img.errors import Img2ImgError, UsageError, display_path
from img2img.files import read_regular
from img2img.report.log import METRICS
from img2img.report.run import CONFIG
from img2img.ui.models import walk
from img2img.ui.places import Roots

_LARGEST = 256 * 2**20  # bytes of metrics.jsonl; a long run has one
_POINTS = 400  # of a curve: more than a screen shows
_LISTED = 200
_FRAME = ("step", "samples", "kind")

Points = list[tuple[int, float]]


@dataclass(frozen=True)
class TrainingRun:
    """A run as it stands.

    Attributes:
        folder: Of the run.
        step: The last one that is told of.
        facts: What it is, in a sentence.
        losses, scores: Values by step, thinned out, by name; scores are of the held-out part.
        grids: The grids of samples by step.
    """

    folder: Path
    step: int
    facts: str
    losses: Mapping[str, Points] = field(default_factory=dict)
    scores: Mapping[str, Points] = field(default_factory=dict)
    grids: Mapping[int, Path] = field(default_factory=dict)


def runs(roots: Roots) -> list[Path]:
    """Returns the folders of runs in the roots, the one that was written to last first."""
    places = [folder for folder, names in walk(roots) if METRICS in names and roots.holds(folder / METRICS)]
    return sorted(places, key=_written, reverse=True)[:_LISTED]


def _written(folder: Path) -> float:
    try:
        return (folder / METRICS).stat().st_mtime
    except OSError:
        return 0.0


def read_run(roots: Roots, name: str) -> TrainingRun:
    """Returns what the run in a folder has written.

    Raises:
        UsageError: The place lies outside of the roots, or is no run.
    """
    folder = roots.inside(name, "the folder of a run")
    path = roots.inside(str(folder / METRICS), "the folder of a run")
    try:
        lines = read_regular(path, _LARGEST).decode("utf-8", "replace").splitlines()
    except OSError as error:
        raise UsageError(
            f"{display_path(folder)} is no run: {METRICS} cannot be read there ({error.strerror or error})."
        ) from None
    losses: dict[str, Points] = {}
    scores: dict[str, Points] = {}
    step, speed = 0, None
    for line in lines:
        values = _values(line)
        if values is None:
            continue
        step = max(step, values["step"])
        training = values.get("kind") == "training"
        speed = values.get("images_per_second", speed)
        told = values.get("losses", {}) if training else {k: v for k, v in values.items() if k not in _FRAME}
        for key, value in told.items() if isinstance(told, dict) else ():
            if isinstance(value, int | float) and math.isfinite(value) and not key.startswith("norm_"):
                (losses if training else scores).setdefault(key, []).append((values["step"], float(value)))
    return TrainingRun(
        folder,
        step,
        _facts(roots, folder, step, speed),
        {key: _thinned(curve) for key, curve in losses.items()},
        {key: _thinned(curve) for key, curve in scores.items()},
        _grids(roots, folder),
    )


def _values(line: str) -> dict[str, Any] | None:
    """Returns what a line says; one that is being written just now says nothing."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) and type(values.get("step")) is int else None


def _thinned(curve: Points) -> Points:
    """Returns means of neighbours, so that at most `_POINTS` are left."""
    size = -(-len(curve) // _POINTS)
    if size <= 1:
        return curve
    groups = [curve[start : start + size] for start in range(0, len(curve), size)]
    return [(group[-1][0], math.fsum(value for _, value in group) / len(group)) for group in groups]


def _facts(roots: Roots, folder: Path, step: int, speed: object) -> str:
    """Returns what is trained and how far it is."""
    told = [f"step {step:,}"]
    config = folder / CONFIG
    try:
        tree = load_yaml(config) if roots.holds(config) else {}
    except (Img2ImgError, OSError):
        tree = {}
    method = tree.get("method") if isinstance(tree, dict) else None
    if isinstance(method, dict) and isinstance(method.get("name"), str):
        told.insert(0, method["name"])
    if isinstance(speed, int | float):
        told.append(f"{speed:.3g} images/s")
    return ", ".join(told)


def _grids(roots: Roots, folder: Path) -> dict[int, Path]:
    found = {}
    try:
        files = sorted((folder / "samples").glob("step_*.png"))
    except OSError:
        return {}
    for file in files:
        number = file.stem.removeprefix("step_")
        if number.isdecimal() and file.is_file() and roots.holds(file):
            found[int(number)] = file
    return found
