"""Folders of pictures side by side: which files go together, how far they are from the truth."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from img2img.errors import UsageError, display_path
from img2img.files import read_regular
from img2img.report.run import is_higher_better

if TYPE_CHECKING:
    from img2img.image.matching import File

_LARGEST_JSON = 2**28  # bytes
_NO_WORDS: frozenset[str] = frozenset()
_TARGET = "target"
_ABOUT = ("name", "target", "source", "picture", "path")


@dataclass
class GalleryRow:
    """One picture in all folders.

    Attributes:
        name: Its path below the first folder.
        files: The files by the names of their folders.
        values: The numbers by their columns, such as "results: psnr".
        note: What is wrong with it; empty if nothing is.
    """

    name: str
    files: dict[str, Path] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    note: str = ""


@dataclass
class Gallery:
    """What a report shows of folders.

    Attributes:
        title: What is compared.
        folders: The names of the folders, in order; pictures are shown of each.
        columns: The names of the numbers, with whether higher is better.
        rows: The pictures.
        notes: What the reader should know, in sentences.
    """

    title: str
    folders: list[str] = field(default_factory=list)
    columns: dict[str, bool] = field(default_factory=dict)
    rows: list[GalleryRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def means(self) -> dict[str, float | None]:
        """Returns the mean of each column over the rows that have a finite value.

        As in `img2img.evaluation`: infinite where all pictures are equal to their targets, None without any.
        """
        found: dict[str, float | None] = {}
        for column in self.columns:
            values = [row.values.get(column, math.nan) for row in self.rows]
            known = [value for value in values if not math.isnan(value)]
            finite = [value for value in known if math.isfinite(value)] or known
            found[column] = math.fsum(finite) / len(finite) if finite else None
        return found


def side_by_side(places: Sequence[Path], names: Sequence[str] | None = None) -> Gallery:
    """Finds out which pictures of several folders go together, by the rules of `img2img.image.matching`.

    Args:
        places: Folders, or one file each. The first says which pictures there are and in which order.
        names: What to call them; by default as they are called on the disk.

    Raises:
        UsageError: A place does not exist or has no picture, or there are not as many names.
    """
    from img2img.image.matching import find

    titles = named(places, names)
    first = find(places[0], "pictures", _NO_WORDS, _NO_WORDS)
    gallery = Gallery("Pictures", titles)
    gallery.notes += [*first.notes, *(f"{display_path(path)}: {why}." for path, why in first.problems)]
    rows = {file: GalleryRow(display_path(file.name), {titles[0]: file.path}) for file in first.found}
    gallery.rows = list(rows.values())
    for title, place in zip(titles[1:], places[1:], strict=True):
        others = find(place, "pictures", _NO_WORDS, _NO_WORDS)
        pairs, notes, left = _partners(first.found, others.found, places[0], place)
        for target, other in pairs:
            rows[target].files[title] = other.path
        gallery.notes += [f"{display_path(title)}: {note}" for note in (*others.notes, *notes)]
        if left:
            examples = ", ".join(display_path(path.name) for path in left[:3])
            gallery.notes.append(
                f"{len(left)} file{'s' * (len(left) > 1)} of {display_path(titles[0])} or "
                f"{display_path(title)} without a partner: "
                f"{examples}{', ...' if len(left) > 3 else ''}."
            )
    return gallery


def _partners(
    first: Sequence[File], others: Sequence[File], place: Path, other_place: Path
) -> tuple[list[tuple[File, File]], list[str], list[Path]]:
    from img2img.image.matching import match

    if place.is_file() and other_place.is_file():
        return [(first[0], others[0])], [], []
    matching = match(first, others, "picture")
    return matching.pairs, matching.notes, [path for path, _ in matching.problems]


def named(places: Sequence[Path], names: Sequence[str] | None) -> list[str]:
    """Returns a name for each place, no two alike.

    Raises:
        UsageError: There are not as many names as places, or two are alike.
    """
    if names is not None:
        if len(names) != len(places) or len(set(names)) != len(names):
            raise UsageError(
                f"{len(places)} folders need {len(places)} different names as columns, and there are "
                f"{len(names)}: {', '.join(map(display_path, names))}."
            )
        return list(names)
    found: list[str] = []
    for place in places:
        path = place.resolve()
        name = path.name or str(path)
        if name in found and path.parent.name:
            name = f"{path.parent.name}/{name}"
        stem, number = name, 2
        while name in found:
            name, number = f"{stem} ({number})", number + 1
        found.append(name)
    return found


def measured(
    gallery: Gallery,
    target: str,
    extra: Sequence[str] = (),
    advance: Callable[[bool], None] = lambda failed: None,
) -> Gallery:
    """Adds PSNR, SSIM and L1 of every picture against the one of the folder `target`.

    Args:
        gallery: What `side_by_side` returned; it is filled.
        target: The name of the folder whose pictures are the truth.
        extra: Names of further metrics, see `img2img.metrics`; what cannot be had is left out with a note.
        advance: Told of each pair that is done, with whether it failed.

    Raises:
        ConfigError: There is no such metric.
    """
    from img2img.evaluation import PlainProtocol, Problem, measure  # torch loads here
    from img2img.evaluation.comparison import Comparison
    from img2img.evaluation.extras import usable
    from img2img.image.matching import File

    ready, reasons = usable(extra)
    gallery.notes += reasons
    protocol = PlainProtocol(extra=ready)
    others = [name for name in gallery.folders if name != target]
    for name in others:
        gallery.columns |= {f"{name}: {c}": protocol.higher_is_better(c) for c in protocol.columns}
    rows = [(row, name) for row in gallery.rows for name in others if name in row.files]
    for row, name in rows:
        if target not in row.files:
            continue
        pair = File(row.files[target], Path(row.name)), File(row.files[name], Path(row.name))
        (result,) = measure(Comparison((pair,), (), ()), protocol)
        if isinstance(result, Problem):
            row.note = f"{display_path(result.path)}: {result.reason}"
        else:
            row.values |= {f"{name}: {column}": value for column, value in result.values.items()}
        advance(isinstance(result, Problem))
    failed = [row for row in gallery.rows if row.note]
    if failed:
        gallery.notes.append(
            f"{len(failed)} picture{'s' * (len(failed) > 1)} could not be measured: {failed[0].note}"
            f"{', and so on' if len(failed) > 1 else ''}."
        )
    gallery.notes += _of_equal(gallery)
    gallery.notes.append(f"Numbers are against {display_path(target)}; {protocol.describe()}.")
    return gallery


def _of_equal(gallery: Gallery) -> list[str]:
    """Returns sentences on columns that are infinite for some pictures, which are equal to their targets."""
    said = []
    for column in gallery.columns:
        values = [row.values.get(column, math.nan) for row in gallery.rows]
        equal, others = sum(map(math.isinf, values)), sum(map(math.isfinite, values))
        if equal and others:
            pictures = (
                "1 picture is equal to its target" if equal == 1 else f"{equal} pictures are equal to theirs"
            )
            said.append(
                f"{display_path(column)} is infinite where {pictures}; its mean is over the other {others}."
            )
    return said


def from_evaluation(path: Path) -> Gallery:
    """Reads what `img2img.evaluation` has written as JSON: of one model or folder, or of several.

    Raises:
        UsageError: It is no such file.
    """
    wrong = f"{display_path(path)} is not what an evaluation writes as JSON"
    try:
        facts = json.loads(read_regular(path, _LARGEST_JSON))
    except OSError as error:
        raise UsageError(f"{display_path(path)}: cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{wrong}: it is no JSON.") from error
    facts = facts if isinstance(facts, dict) else {}
    several = facts.get("candidates")
    candidates = several if isinstance(several, list) else [{**facts, "name": "source"}]
    gallery = Gallery(path.name, [_TARGET])
    rows: dict[str, GalleryRow] = {}
    for candidate in candidates:
        if not isinstance(candidate, dict) or not isinstance(candidate.get("scores"), list):
            raise UsageError(f"{wrong}: it has no list of scores.")
        _add_candidate(gallery, rows, candidate, alone=len(candidates) == 1)
    gallery.rows = list(rows.values())
    return gallery


def _add_candidate(
    gallery: Gallery, rows: dict[str, GalleryRow], candidate: Mapping[str, Any], alone: bool
) -> None:
    """Files what was measured of one model or folder; `alone` is whether it is the only one."""
    title = str(candidate.get("name"))
    metrics = candidate.get("metrics")
    known = metrics if isinstance(metrics, dict) else {}
    for score in candidate["scores"]:
        if not isinstance(score, dict):
            continue
        name = str(score.get("name", ""))
        row = rows.setdefault(name, GalleryRow(name))
        for role, place in ((_TARGET, score.get("target")), (title, score.get("source"))):
            if isinstance(place, str) and place and "\0" not in place:
                row.files.setdefault(role, Path(place))
        for key, value in score.items():
            if key in _ABOUT or not (value is None or isinstance(value, int | float)):
                continue
            column = key if alone else f"{title}: {key}"
            # of equal pictures PSNR is infinite, which JSON does not have
            absent = math.inf if key.startswith("psnr") else math.nan
            row.values[column] = absent if value is None else _float(value)
            if column not in gallery.columns:
                about = known.get(key)
                higher = about.get("higher_is_better") if isinstance(about, dict) else None
                gallery.columns[column] = higher if isinstance(higher, bool) else is_higher_better(key)
    if any(title in row.files for row in rows.values()) and title not in gallery.folders:
        gallery.folders.append(title)
    notes = candidate.get("notes")
    said = [candidate.get("protocol"), *(notes if isinstance(notes, list) else ())]
    gallery.notes += [str(note) for note in said if note and str(note) not in gallery.notes]


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # JSON has whole numbers of any length
        return math.nan


def sorted_by(gallery: Gallery, column: str) -> list[GalleryRow]:
    """Returns the rows that have a number in `column`, the best first."""
    rows = [row for row in gallery.rows if not math.isnan(row.values.get(column, math.nan))]
    return sorted(rows, key=lambda row: row.values[column], reverse=gallery.columns[column])
