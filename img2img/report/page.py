"""One HTML file that shows runs and folders of pictures: no network, everything inside, below a size."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from img2img import __version__
from img2img.errors import ImageError, UsageError, display_path, display_text
from img2img.files import replacing
from img2img.report.gallery import Gallery, GalleryRow, sorted_by
from img2img.report.pictures import Purse
from img2img.report.run import RunFolder, is_higher_better

MOST_BYTES = 20_000_000
"""A report is smaller, whatever it shows."""

_MARK = b'<meta name="generator" content="img2img report">'
_POINTS = 150_000  # of all curves together
_MOST_POINTS, _FEWEST_POINTS = 1000, 20  # of one curve
_MOST_ROWS = 20_000  # of a table
_TEXT = 500  # characters of one value of a configuration
_NOTES = 100  # of one run or table
_GRIDS = 40  # of all runs together
_GRID_SIDE = 1600  # pixels
_PICTURE = 30_000  # bytes that a picture of a table shall at least have
_NUMBERS = 100  # bytes of one number in a table, at most
_MOST_CONFIGURATION = 1_500_000  # characters of all configurations together


def write_report(
    path: Path,
    runs: Sequence[RunFolder] = (),
    galleries: Sequence[Gallery] = (),
    *,
    title: str = "img2img report",
    most_bytes: int = MOST_BYTES,
) -> list[str]:
    """Writes the page.

    Args:
        path: The HTML file. A report that stands there is replaced, nothing else is.
        runs: Runs; their curves are laid over each other.
        galleries: Folders of pictures, each with its table.
        title: Of the page.
        most_bytes: The page is smaller; pictures are made small or left out for that, which it says.

    Returns:
        What was left out or could not be read, in sentences.

    Raises:
        UsageError: Another file stands there.
        OSError: It cannot be written.
    """
    _require_own(path)
    facts: dict[str, Any] = {
        "title": title,
        "made": time.strftime("%Y-%m-%d %H:%M:%S"),
        "version": __version__,
        "curves": _curves(runs),
        "runs": [_facts(run) for run in runs],
        "galleries": [_table(gallery) for gallery in galleries],
        "notes": [],
    }
    _limit_configurations(facts)
    left = most_bytes - len(_embedded(facts)) - 200_000  # the page itself and what is not counted
    notes = [*_add_grids(facts["runs"], runs, left if not galleries else left // 3)]
    left = most_bytes - len(_embedded(facts)) - 200_000
    for table, gallery in zip(facts["galleries"], galleries, strict=True):
        notes += _add_pictures(table, gallery, left // max(len(galleries), 1))
    facts["notes"] = notes
    data = _page(facts)
    if len(data) >= most_bytes:  # names of a length that nobody gives, or thousands of runs
        raise UsageError(
            f"the report would have {len(data):,} bytes, and {most_bytes:,} are allowed; give less to it."
        )
    with replacing(path) as file:
        file.write(data)
    several = len(runs) > 1
    of_runs = [
        (f"{run['name']}: " if several else "") + note for run in facts["runs"] for note in run["notes"]
    ]
    return [*of_runs, *(note for gallery in facts["galleries"] for note in gallery["notes"]), *notes]


def _require_own(path: Path) -> None:
    if path.is_dir():
        raise UsageError(f"{display_path(path)} is a folder; name a file such as report.html.")
    if not path.parent.is_dir():
        raise UsageError(f"{display_path(path)}: the folder for it does not exist.")
    if path.is_file():
        with path.open("rb") as file:
            if _MARK not in file.read(1000):
                raise UsageError(
                    f"{display_path(path)} is there already and is no report; name another file."
                )


def _page(facts: Mapping[str, Any]) -> bytes:
    parts = files("img2img.report")
    script = (parts / "report.js").read_text("utf-8")
    style = (parts / "report.css").read_text("utf-8")
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{allowed}'"
    return "\n".join(
        (
            "<!doctype html>",
            '<html lang="en">',
            '<head><meta charset="utf-8">',
            _MARK.decode(),
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            '<link rel="icon" href="data:,">',
            f"<title>{html.escape(display_path(facts['title']))}</title>",
            f"<style>\n{style}</style></head>",
            "<body><noscript>This page draws itself with a script of its own; please allow it.</noscript>",
            '<main id="page"></main>',
            f'<script type="application/json" id="facts">{_embedded(facts)}</script>',
            f"<script>{script}</script></body></html>\n",
        )
    ).encode()


def _embedded(facts: object) -> str:
    """Returns JSON that can stand in a script element: in ASCII, and no text of it ends the element."""
    text = json.dumps(facts, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _facts(run: RunFolder) -> dict[str, Any]:
    best = run.best()
    return {
        "name": display_path(run.name),
        "folder": display_path(run.folder),
        "method": display_path(run.method),
        "state": run.state,
        "reason": display_text(run.reason),
        "step": run.step,
        "total": run.total,
        "samples": run.log.samples,
        "epoch": run.log.epoch,
        "changed": time.strftime("%Y-%m-%d %H:%M", time.localtime(run.changed)),
        "best": None
        if best is None
        else {"metric": best.metric, "value": _number(best.value), "step": best.step},
        "config": {display_path(key): _value(value) for key, value in run.config.items()},
        "environment": {display_path(key): _value(value) for key, value in run.environment.items()},
        "grids": [],
        "notes": _texts(run.notes),
    }


def _curves(runs: Sequence[RunFolder]) -> list[dict[str, Any]]:
    """Returns the curves by what they are of, the same one of all runs together."""
    names = list(dict.fromkeys(name for run in runs for name in run.log.series))
    count = sum(len(run.log.series) for run in runs)
    most = min(_MOST_POINTS, max(_FEWEST_POINTS, _POINTS // max(count, 1)))
    return [
        {
            "name": _text(name),
            "group": _group(name),
            "higher": is_higher_better(name),
            "lines": {
                str(number): run.log.series[name].points(most)
                for number, run in enumerate(runs)
                if name in run.log.series
            },
        }
        for name in names
    ]


def _group(name: str) -> str:
    kind, _, rest = name.partition("/")
    if kind == "validation":
        return "Held-out part"
    if kind == "losses":
        return "Gradient norms" if rest.startswith("norm_") else "Losses"
    return {"rates": "Learning rates", "images_per_second": "Speed"}.get(kind, "Other numbers")


def _number(value: float) -> float | str | None:
    """Returns a number as JSON takes it: an infinite one is the text "inf"."""
    if math.isnan(value):
        return None
    return float(f"{value:.6g}") if math.isfinite(value) else "inf" if value > 0 else "-inf"


def _value(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return _text(text)


def _text(text: str) -> str:
    """Returns a text as it is shown, cut where nobody reads on."""
    text = display_text(text)
    return text if len(text) <= _TEXT else f"{text[:_TEXT]} ... ({len(text):,} characters)"


def _texts(notes: Sequence[str]) -> list[str]:
    more = [f"and {len(notes) - _NOTES:,} more"] if len(notes) > _NOTES else []
    return [*map(_text, notes[:_NOTES]), *more]


def _limit_configurations(facts: dict[str, Any]) -> None:
    """Leaves out configurations once they are longer together than anybody reads."""
    length = 0
    for run in facts["runs"]:
        length += sum(len(key) + len(value) for key, value in run["config"].items())
        if length > _MOST_CONFIGURATION:
            run["config"] = {}
            run["notes"].append("Its configuration is left out: there are too many runs.")


def _add_grids(facts: list[dict[str, Any]], runs: Sequence[RunFolder], most_bytes: int) -> Iterable[str]:
    """Puts grids of pictures into the facts of runs; yields what was left out."""
    with_grids = [run for run in runs if run.samples]
    if not with_grids:
        return
    each = max(2, _GRIDS // len(with_grids))
    chosen = {number: _spread(list(run.samples), each) for number, run in enumerate(runs)}
    purse = Purse(max(most_bytes, 0), sum(map(len, chosen.values())))
    for number, steps in chosen.items():
        if not steps or purse.bytes_left < _PICTURE:
            if steps:
                facts[number]["notes"].append("Its grids of pictures are left out: the page is full.")
            continue
        for step in steps:
            try:
                picture = purse.take(runs[number].samples[step], _GRID_SIDE)
            except ImageError as error:
                facts[number]["notes"].append(display_text(str(error)))
                continue
            facts[number]["grids"].append(
                {"step": step, "src": picture.source, "w": picture.width, "h": picture.height}
            )
        if len(steps) < len(runs[number].samples):
            facts[number]["notes"].append(
                f"{len(steps)} of its {len(runs[number].samples)} grids of pictures are in this page, "
                "evenly through the run."
            )
    if purse.reduced:
        yield "Grids of pictures are reduced in size; the files in samples/ are whole."


def _spread(steps: list[int], most: int) -> list[int]:
    """Returns at most `most` steps, first and last among them.

    They are taken at a stride that is a power of two, so that those of a run that grows stay the same ones.
    """
    stride = 1
    while -(-len(steps) // stride) > most - 1 and stride < len(steps):
        stride *= 2
    return list(dict.fromkeys((*steps[::stride], *steps[-1:])))


def _table(gallery: Gallery) -> dict[str, Any]:
    columns = list(gallery.columns)
    rows = gallery.rows[:_MOST_ROWS]
    notes = _texts(gallery.notes)
    if len(gallery.rows) > len(rows):
        notes.append(f"The first {len(rows):,} of {len(gallery.rows):,} pictures are in this page.")
    return {
        "title": display_path(gallery.title),
        "folders": [display_path(name) for name in gallery.folders],
        "columns": [{"name": _text(name), "higher": higher} for name, higher in gallery.columns.items()],
        "means": [None if v is None else _number(v) for v in gallery.means().values()],
        "rows": [
            {
                "name": _text(row.name),
                "values": [_number(row.values.get(column, math.nan)) for column in columns],
                "note": display_text(row.note),
            }
            for row in rows
        ],
        "notes": notes,
    }


def _add_pictures(table: dict[str, Any], gallery: Gallery, most_bytes: int) -> Iterable[str]:
    """Puts pictures into the rows of a table: of all, or of the best, the worst and some between."""
    rows = gallery.rows[:_MOST_ROWS]
    per_row = max(len(gallery.folders), 1)
    most = max(most_bytes // (_PICTURE * per_row), 1)
    chosen = _shown(rows, gallery, most)
    purse = Purse(max(most_bytes, 0), sum(len(rows[number].files) for number in chosen))
    problems: list[str] = []
    for number in chosen:
        pictures: dict[str, Any] = {}
        for place, name in enumerate(gallery.folders):
            path = rows[number].files.get(name)
            if path is None or purse.bytes_left < _PICTURE:
                continue
            try:
                picture = purse.take(path)
            except ImageError as error:
                problems.append(display_text(str(error)))
                continue
            pictures[str(place)] = {
                "src": picture.source,
                "w": picture.width,
                "h": picture.height,
            }
        table["rows"][number]["pictures"] = pictures
    if len(chosen) < len(rows):
        table["notes"].append(
            f"Pictures of {len(chosen):,} of the {len(rows):,} rows are in this page: the best, the worst "
            "and some between; the numbers are of all."
            if gallery.columns
            else f"Pictures of {len(chosen):,} of the {len(rows):,} rows are in this page, evenly chosen."
        )
    if purse.reduced:
        table["notes"].append(
            f"{purse.reduced:,} pictures are reduced in size here; numbers are of the whole ones."
        )
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        table["notes"].append(f"Cannot be shown: {'; '.join(problems[:3])}{more}.")
    return ()


def _shown(rows: Sequence[GalleryRow], gallery: Gallery, most: int) -> list[int]:
    """Returns the numbers of the rows whose pictures are shown, in order."""
    if len(rows) <= most:
        return list(range(len(rows)))
    numbers = {id(row): number for number, row in enumerate(rows)}
    ranked = (
        [
            numbers[id(row)]
            for row in sorted_by(gallery, next(iter(gallery.columns), ""))
            if id(row) in numbers
        ]
        if gallery.columns
        else []
    )
    third = most // 3
    chosen = {*ranked[:third], *ranked[len(ranked) - third :]} if third else set(ranked[:1])
    others = [number for number in range(len(rows)) if number not in chosen]
    wanted = most - len(chosen)
    chosen |= (
        {others[place * len(others) // wanted] for place in range(wanted)} if others and wanted > 0 else set()
    )
    return sorted(chosen)
