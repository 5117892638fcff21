"""What `check` says, and what it says it about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from img2img.data.config import DataConfig, Kind
from img2img.data.inspection import ImageStats, Inspection
from img2img.data.ranges import Extent
from img2img.data.records import Record, Records
from img2img.types import ValueRange

Sample = tuple[str, str, Record]
"""A part (train, validation, ...), a role (A; B for the other set of unpaired data) and the files."""


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
    """One picture of one sample: where it is used, and what it shows."""

    part: str
    role: str  # A or B
    record: Record
    path: Path
    stats: ImageStats


class Material:
    """What the checks look at.

    Attributes:
        config, kind, scale: See `img2img.data.check.check`.
        samples: Every sample with its part and its role.
        inspected: What each file shows.
        found: What the samples come from, with what was left out.
        source: The role that is the source: "A" or "B".
        sides: Every picture that can be used, in the order of the samples.
    """

    def __init__(
        self,
        config: DataConfig,
        kind: Kind,
        scale: int,
        samples: Sequence[Sample],
        inspected: dict[Path, Inspection],
        found: Sequence[Records],
    ) -> None:
        self.config, self.kind, self.scale = config, kind, scale
        self.samples, self.inspected, self.found = samples, inspected, found
        self.source = "B" if config.direction == "BtoA" else "A"
        self.sides = [side for sample in samples for side in self._of(*sample)]

    def _of(self, part: str, role: str, record: Record) -> Iterator[Side]:
        for i, path in enumerate(record.files):
            inspected = self.inspected[path]
            if inspected.problem is None:
                for j, stats in enumerate(inspected.images):
                    yield Side(part, "AB"[max(i, j)] if role == "A" else role, record, path, stats)

    def numbers(self, role: str) -> ValueRange | None:
        """Black and white in the numbers of a side; None where they are those of the depth."""
        source, target = self.config.numbers
        single = self.config.kind == "super_resolution"  # it is source and target at once
        return source if role == self.source or single else target

    def holds_names(self, role: str) -> bool:
        """Whether a side holds label maps, whose numbers are no brightness."""
        return role == self.source and self.config.source_labels != "none"

    def extents(self, role: str) -> list[Extent]:
        """The numbers in the pictures of a side."""
        return [side.stats.extent for side in self.sides if side.role == role]

    def pairs(self) -> Iterator[tuple[Side, Side]]:
        """Both sides of each whole pair, A first."""
        if self.config.kind == "paired" and self.kind != "unpaired":
            for one, other in zip(self.sides, self.sides[1:], strict=False):
                if one.record is other.record and one.role != other.role:
                    yield one, other


def half(material: Material, side: Side) -> str:
    """Returns which half of a side-by-side file is meant."""
    return "" if material.config.aligned is None else f"{'left' if side.role == 'A' else 'right'} half, "


def plural(count: int, noun: str) -> str:
    """Returns "1 file" or "2 files"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
