"""`img2img runs`: the trainings below a folder, how far they are and how good."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from img2img.cli.render import duration, print_table, say

if TYPE_CHECKING:
    from img2img.report import RunFolder

_KEYS: dict[str, tuple[Callable[[RunFolder, str | None], Any], bool]] = {
    "changed": (lambda run, _: run.changed, True),
    "name": (lambda run, _: run.name, False),
    "state": (lambda run, _: run.state, False),
    "steps": (lambda run, _: run.step, True),
    "best": (lambda run, metric: _merit(run, metric), True),
}  # what is sorted by, and whether the largest comes first


@click.command()
@click.argument(
    "folders",
    nargs=-1,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="[DIR...]",
)
@click.option(
    "--sort", type=click.Choice(list(_KEYS)), default="changed", show_default=True, help="What comes first."
)
@click.option(
    "--metric", metavar="NAME", help="The number whose best value counts. [default: each run's own]"
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON on stdout.")
def runs(folders: tuple[Path, ...], sort: str, metric: str | None, as_json: bool) -> int:
    """List trainings: method, state, steps, and the best value on the held-out part.

    Looks at each DIR and three folders deep below it; without DIR at the current folder. A run is running,
    stopped (it can go on with `img2img train --resume`), finished, or failed.
    """
    from img2img.report import find_runs
    from img2img.report.run import read_runs

    places = list(dict.fromkeys(run for folder in folders or (Path(),) for run in find_runs(folder)))
    if not places:
        say("There are no runs here; `img2img train ... -o RUN` makes one.")
        if as_json:
            click.echo("[]")
        return 4
    found = read_runs(places)
    key, largest_first = _KEYS[sort]
    found.sort(key=lambda run: key(run, metric), reverse=largest_first)
    if as_json:
        click.echo(json.dumps([_facts(run, metric) for run in found], indent=1))
        return 0
    _print(found, metric)
    for run in found:
        for note in (run.reason, *run.notes):
            if note:
                say(f"{run.name}: {note}")
    return 0


def _merit(run: RunFolder, metric: str | None) -> tuple[bool, float]:
    """Returns what is larger the better the best value is; runs without one come last."""
    from img2img.report.run import is_higher_better

    best = run.best(metric)
    if best is None:
        return False, 0.0
    return True, best.value if is_higher_better(best.metric) else -best.value


def _facts(run: RunFolder, metric: str | None) -> dict[str, Any]:
    best = run.best(metric)
    return {
        "name": run.name,
        "folder": str(run.folder),
        "method": run.method,
        "state": run.state,
        "reason": run.reason,
        "step": run.step,
        "total": run.total,
        "samples": run.log.samples,
        "epoch": run.log.epoch,
        "best": None if best is None else {"metric": best.metric, "value": best.value, "step": best.step},
        "changed": run.changed,
        "notes": run.notes,
    }


def _print(found: list[RunFolder], metric: str | None) -> None:
    rows = []
    for run in found:
        best = run.best(metric)
        steps = str(run.step) if run.total is None else f"{run.step} of {run.total}"
        score = "-" if best is None else f"{best.metric} {best.value:.4g} at {best.step}"
        ago = f"{duration(max(time.time() - run.changed, 0))} ago"
        rows.append([run.name, run.method or "-", run.state, steps, score, ago])
    head = ["run", "method", "state", "steps", "best", "last change"]
    states = [run.state for run in found]
    counts = ", ".join(
        f"{states.count(state)} {state}"
        for state in ("running", "stopped", "finished", "failed")
        if state in states
    )
    print_table(f"{len(found)} run{'s' * (len(found) > 1)}: {counts}", head, rows)
