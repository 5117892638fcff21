"""Runs in the roots, as `img2img.report` reads them: how far they are, their curves and grids of samples."""

from __future__ import annotations

from pathlib import Path

from img2img.errors import UsageError, display_path
from img2img.report import RunFolder, find_runs, read_run
from img2img.report.log import METRICS
from img2img.report.run import CONFIG, RECORD, SAMPLES
from img2img.ui.places import Roots

_POINTS = 400  # of a curve: more than a screen shows
_LISTED = 200
_PARTS = (METRICS, CONFIG, RECORD, SAMPLES)

Points = list[tuple[int, float]]


def runs(roots: Roots) -> list[Path]:
    """Returns the folders of runs in the roots, the one that was written to last first."""
    found = [run for root in roots.folders for run in find_runs(root) if _is_confined(roots, run)]
    return sorted(found, key=_written, reverse=True)[:_LISTED]


def open_run(roots: Roots, name: str) -> RunFolder:
    """Returns what the run in a folder has written, with those of its grids that lie in the roots.

    Raises:
        UsageError: The place lies outside of the roots, or is no run.
    """
    folder = roots.inside(name, "the folder of a run")
    if not _is_confined(roots, folder):
        raise UsageError(f"{display_path(folder)} leads outside of what this page may touch: {roots}.")
    run = read_run(folder)
    run.samples = {step: path for step, path in run.samples.items() if roots.holds(path)}
    return run


def words(run: RunFolder) -> str:
    """Returns what a run is and how far it is."""
    steps = f"step {run.step:,}" + (f" of {run.total:,}" if run.total else "")
    told = [run.method, run.state, steps]
    if (best := run.best()) is not None:
        told.append(f"best {best.metric} {best.value:.4g} at step {best.step:,}")
    if run.samples:
        told.append(f"samples of step {max(run.samples):,}")
    return ", ".join(filter(None, told)) + "." + (f" {run.reason}" if run.reason else "")


def curves(run: RunFolder, section: str) -> dict[str, Points]:
    """Returns the curves of "losses" or "validation" by name, thinned out to what a screen shows."""
    found = {}
    for name, series in run.log.series.items():
        kind, _, short = name.partition("/")
        if kind == section and not short.startswith("norm_"):
            points = series.points(_POINTS)
            both = zip(points["x"], points["y"], strict=True)
            found[short] = [(step, value) for step, value in both if value is not None]
    return found


def _is_confined(roots: Roots, folder: Path) -> bool:
    return all(roots.holds(folder / part) for part in _PARTS)


def _written(folder: Path) -> float:
    try:
        return (folder / METRICS).stat().st_mtime
    except OSError:
        return 0.0
