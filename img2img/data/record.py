"""One sample as files and numbers, and all samples of a configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from img2img.errors import display_path
from img2img.image.discovery import sentences_not_read

_NAMED = 5  # files in one message


@dataclass(frozen=True)
class Record:
    """The files and numbers of one sample, or of those of its fields that belong together.

    Attributes:
        key: Its name for people: the relative path below the folder that was given.
        files: The file of each field that has one, in the order A, B, then the others.
        values: The numbers of each vector.
        aligned: The file that holds A and B side by side, if one does.
    """

    key: str
    files: Mapping[str, Path]
    values: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    aligned: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file of it, once."""
        return tuple(dict.fromkeys(self.files.values()))

    @property
    def stem(self) -> str:
        """The name that decides on the split: the same whatever the extension."""
        return Path(self.key).with_suffix("").as_posix()

    def only(self, names: Iterable[str]) -> Record:
        """Returns it with some of its fields."""
        names = set(names)
        return Record(
            self.key,
            {name: path for name, path in self.files.items() if name in names},
            {name: values for name, values in self.values.items() if name in names},
            self.aligned,
        )


@dataclass(frozen=True)
class Records:
    """The samples of a configuration.

    Attributes:
        train: For training: for each group of fields that belong together its records; of unpaired data
            those of A, then those of B.
        validation: Likewise what is held out; no group at all if nothing is.
        names: What the numbers of each vector are called; empty where nobody knows.
        test: Likewise what is for tests beside a part for validation, in a list or where folders for tests
            were asked for.
        origin: Where the held-out part came from, as the end of a sentence.
        passed: Sentences about what was passed over when searching.
        alone: The files without a partner.
        lacks: What those of them have not that lack something else than the partner of a pair.
        spare: Names in the folders and tables of further fields that are of no sample, by their place.
        not_read: The files of kinds that are known and not read, by the name of the kind.
    """

    train: tuple[tuple[Record, ...], ...]
    validation: tuple[tuple[Record, ...], ...] = ()
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    origin: str = "nothing is held out"
    passed: tuple[str, ...] = ()
    alone: tuple[Path, ...] = ()
    lacks: Mapping[Path, str] = field(default_factory=dict)
    spare: Mapping[Path, tuple[str, ...]] = field(default_factory=dict)
    not_read: dict[str, list[Path]] = field(default_factory=dict)
    test: tuple[tuple[Record, ...], ...] = ()

    @property
    def has_validation(self) -> bool:
        """Whether anything is held out."""
        return bool(self.validation) and all(self.validation)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about everything that was left out."""
        notes = [*self.passed, *(f"{one} Left out." for one in sentences_not_read(self.not_read))]
        if self.alone:
            notes.append(f"{without_partner(self.alone, self.lacks)}; they are left out.")
        notes += [
            f"{len(names)} of the names in {display_path(place)} are of no sample: {some_names(names)}."
            for place, names in self.spare.items()
        ]
        return tuple(notes)


def without_partner(paths: Sequence[Path], lacks: Mapping[Path, str] | None = None) -> str:
    """Returns how many files lack their partner, or what `lacks` says, with the first few names."""
    files = f"{len(paths)} files" if len(paths) > 1 else "1 file"
    what = " or ".join(dict.fromkeys((lacks or {}).get(path, "partner of the same name") for path in paths))
    return f"{files} with no {what}: {some_names(paths)}"


def some_names(paths: Sequence[Path | str]) -> str:
    """Returns the first few of `paths` for a message."""
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(display_path(path) for path in paths[:_NAMED]) + more
