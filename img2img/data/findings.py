"""What `check` says, and what it says it about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from img2img.data.config import DataConfig
from img2img.data.inspection import ImageStats, Inspection
from img2img.data.places import sides
from img2img.data.ranges import Extent
from img2img.data.record import Record, Records
from img2img.fields import Fields, Picture, groups, pictures, scale_of
from img2img.types import ValueRange

Located = tuple[str, Record]
"""A part (train, validation, ...) and the files of a sample, or of a group of its fields."""


@dataclass(frozen=True)
class Case:
    """One instance of a finding.

    Attributes:
        files: The file, or the files that do not go together.
        detail: What is wrong with it, as the end of a sentence.
    """

    files: tuple[Path, ...]
    detail: str = ""


@dataclass(frozen=True)
class Finding:
    """One kind of trouble.

    Attributes:
        level: An error ruins the run or loses data; a warning may be meant.
        kind: Its name for programs.
        text: What was found, as a sentence.
        hint: What to do, as a sentence.
        cases: Where.
    """

    level: Literal["error", "warning"]
    kind: str
    text: str
    hint: str = ""
    cases: tuple[Case, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns plain values."""
        cases = [{"files": [str(path) for path in c.files], "detail": c.detail} for c in self.cases]
        return {"level": self.level, "kind": self.kind, "text": self.text, "hint": self.hint, "cases": cases}


@dataclass(frozen=True)
class Checked:
    """What `check` found.

    Attributes:
        findings: Errors first.
        files: How many files were opened.
        samples: How many samples each part has: train, validation, train B, validation B.
        origin: Where the held-out part comes from.
    """

    findings: tuple[Finding, ...]
    files: int = 0
    samples: tuple[tuple[str, int], ...] = ()
    origin: str = ""

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(finding.level == "error" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Returns plain values."""
        return {
            "errors": self.errors,
            "warnings": len(self.findings) - self.errors,
            "files": self.files,
            "samples": dict(self.samples),
            "held_out": self.origin,
            "findings": [finding.to_json() for finding in self.findings],
        }


@dataclass(frozen=True)
class Side:
    """One picture of one sample: where it is used, and what it shows.

    Attributes:
        role: "A" or "B" for the two pictures that data are named by, else the name of the field.
        field: The field that it is.
    """

    part: str
    role: str
    field: str
    record: Record
    path: Path
    stats: ImageStats


class Material:
    """What the checks look at.

    Attributes:
        config, fields, any_size: See `img2img.data.check.check`.
        samples: Every sample with its part.
        inspected: What each file shows.
        found: What the samples come from, with what was left out.
        scale: How many times larger targets are than sources; None where pictures are resized.
        roles: The role of each field.
        source: The role that is the source: "A" or "B".
        target: The role that is the target; empty where single pictures are both.
        sides: Every picture that can be used, in the order of the samples.
        maps: Every mask and map of ids that can be used.
    """

    def __init__(
        self,
        config: DataConfig,
        fields: Fields,
        samples: Sequence[Located],
        inspected: dict[Path, Inspection],
        found: Sequence[Records],
        any_size: bool = False,
    ) -> None:
        self.config, self.fields, self.scale = config, fields, scale_of(fields)
        self.samples, self.inspected, self.found = samples, inspected, found
        self.any_size = any_size
        self.roles = {name: name for name in fields} | dict(zip(sides(config, fields), "AB", strict=False))
        self.source = self.roles[pictures(fields)[0]] if config.images is None else "A"
        self.target = "" if config.images is not None else "B" if self.source == "A" else "A"
        located = [side for sample in samples for side in self._of(*sample)]
        maps = {name for name, one in fields.items() if one.exact and not isinstance(one, Picture)}
        self.sides = [side for side in located if side.field not in maps]
        self.maps = [side for side in located if side.field in maps]

    def _of(self, part: str, record: Record) -> Iterator[Side]:
        for number, (name, path) in enumerate(record.files.items()):
            inspected = self.inspected[path]
            if inspected.problem is None:
                stats = inspected.images[number if path == record.aligned else 0]
                yield Side(part, self.roles[name], name, record, path, stats)

    def numbers(self, role: str) -> ValueRange | None:
        """Black and white in the numbers of a side; None where they are those of the depth."""
        source, target = self.config.numbers
        return target if role == self.target else source

    def holds_names(self, role: str) -> bool:
        """Whether a side holds label maps, whose numbers are no brightness."""
        return role in {self.roles[name] for name in self.config.labels(self.fields)}

    def extents(self, role: str) -> list[Extent]:
        """The numbers in the pictures of a side."""
        return [side.stats.extent for side in self.sides if side.role == role]

    def pairs(self) -> Iterator[tuple[Side, Side]]:
        """Both sides of each whole pair, A first."""
        if len(groups(self.fields)) == 1 and self.config.images is None:
            for one, other in zip(self.sides, self.sides[1:], strict=False):
                if one.record is other.record and (one.role, other.role) == ("A", "B"):
                    yield one, other


def half(material: Material, side: Side) -> str:
    """Returns which half of a side-by-side file is meant."""
    return "" if side.path != side.record.aligned else f"{'left' if side.role == 'A' else 'right'} half, "


def plural(count: int, noun: str) -> str:
    """Returns "1 file" or "2 files"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def size(stats: ImageStats) -> str:
    """Returns width and height as people write them."""
    return f"{stats.width} x {stats.height}"
