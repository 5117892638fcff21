"""A data set with copies of its pictures that models make: who makes which, and what is written about it."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path, PurePosixPath

from img2img.data.annotated import AnnotatedSet
from img2img.data.annotations import of_copy, with_copies
from img2img.data.folders import HELD_OUT, TRAIN
from img2img.data.pairs import place_original
from img2img.errors import ImageWriteError, PlanError, ProcessingError, display_path
from img2img.files import write_bytes
from img2img.image import READABLE

PROVENANCE = "provenance.csv"
_WRITTEN = ".img2img-expand.json"


@dataclass(frozen=True)
class Copy:
    """A line of the table of provenance.

    Attributes:
        copy, original: Their places below the folder of the set, written with "/".
        split: The part that both are in, as their folders say; "" where these do not.
        model: The name of the model that made it.
        model_sha256: Of its weights: what tells it from every other one.
        seed: Of its dropout; "" where there is none.
        conditions: What it took beside the picture, "name=place".
    """

    copy: str
    original: str
    split: str
    model: str
    model_sha256: str
    seed: str = ""
    conditions: str = ""


def chosen(picture: str, copies: int, makers: int, seed: int) -> list[int]:
    """Returns which makers make the copies of a picture.

    The first one is drawn by the name of the picture and the seed, so that other pictures, or more of them,
    change nothing; the others follow in turn. No maker makes two.

    Args:
        picture: Its place in the data set.
        copies: How many; at most as many as there are makers.
        makers: How many there are.
        seed: Another number draws others.
    """
    digest = hashlib.sha256(f"{seed}:{picture}".encode("utf-8", "surrogateescape")).digest()
    first = int.from_bytes(digest[:8], "big") % makers
    return [(first + place) % makers for place in range(min(copies, makers))]


def part_of(picture: str) -> str:
    """Returns the part (train, val, test) that a picture is in by its folders, as these call it."""
    for folder in PurePosixPath(picture).parent.parts:
        word = folder.lower().rstrip("0123456789")
        if word in (*TRAIN, *HELD_OUT):
            return folder
    return ""


def place_originals(
    data: AnnotatedSet, output: Path, fail: Callable[[str], None], advance: Callable[[], None]
) -> None:
    """Copies every file byte for byte, but for those about many pictures, which `annotate` writes.

    Args:
        data: The data set.
        output: The folder of the new one.
        fail: Called with a sentence about each file that could not be copied.
        advance: Called after each file.
    """
    for path in (*data.pictures, *dict.fromkeys(file for files in data.own.values() for file in files)):
        try:
            place_original(data.root / path, output / path)
        except (ProcessingError, ImageWriteError, OSError) as error:
            fail(_reason(error, data.root / path))
        advance()


def annotate(
    data: AnnotatedSet, output: Path, copies: Sequence[Copy], fail: Callable[[str], None]
) -> list[Copy]:
    """Writes the annotations of copies, the files about many pictures, and the table of provenance.

    Copies that earlier runs made count as well as long as they are there. A file that somebody else wrote is
    never replaced, and neither is one of ours that was edited since.

    Args:
        data: The data set.
        output: The folder of the new one.
        copies: Those of this run.
        fail: Called with a sentence about each file that could not be written.

    Returns:
        All copies that there are, in the order of the table.
    """
    every = {one.copy: one for one in read_provenance(output) if (output / one.copy).is_file()}
    every |= {one.copy: one for one in copies}
    of: dict[str, list[Copy]] = defaultdict(list)
    for one in sorted(every.values(), key=lambda one: (one.original, one.copy)):
        of[one.original].append(one)
    written = _Written(output)

    def attempt(action: Callable[[], object], path: str) -> None:
        try:
            action()
        except (ProcessingError, ImageWriteError, OSError) as error:
            fail(_reason(error, output / path))

    for picture, files in data.own.items():
        for one in of.get(picture, ()):
            for file in files:
                attempt(partial(_place_own, data.root / file, file, picture, one.copy, written), file)
    for place in data.shared:
        attempt(partial(_carry, data, place, output, of, written), place)
    table = [one for some in of.values() for one in some]
    attempt(lambda: written.store(PROVENANCE, _table(table)), PROVENANCE)
    attempt(written.save, _WRITTEN)
    return table


def read_provenance(output: Path) -> list[Copy]:
    """Returns the lines of the table of provenance of a set; none where there is none that can be read."""
    try:
        text = (output / PROVENANCE).read_text(encoding="utf-8", errors="surrogateescape")
        return [Copy(**row) for row in csv.DictReader(io.StringIO(text, newline=""))]
    except (OSError, TypeError, csv.Error):
        return []


def require_new(data: AnnotatedSet, output: Path) -> None:
    """Makes sure that a data set is none that was expanded, and that its own files leave ours room.

    Raises:
        PlanError: It holds a table of provenance.
    """
    if PROVENANCE in data.shared or (data.root / _WRITTEN).exists():
        raise PlanError(
            f"{display_path(data.root)} holds {PROVENANCE}: it was expanded already, and copies of copies "
            "are of no use. Expand the set that it was made of, with all models in one command or one "
            "after the other."
        )
    if os.path.lexists(output) and not output.is_dir():
        raise PlanError(f"{display_path(output)} is a file; a data set needs a folder.")


def _table(copies: Iterable[Copy]) -> bytes:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [field.name for field in fields(Copy)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(asdict, copies))
    return stream.getvalue().encode("utf-8", "surrogateescape")


def _carry(
    data: AnnotatedSet, place: str, output: Path, of: Mapping[str, Sequence[Copy]], written: _Written
) -> None:
    """Writes a file about many pictures, with what it says of their copies."""

    def named(name: str) -> list[str]:
        picture = data.picture(name, place)
        return [] if picture is None else [_like(name, one.copy, output) for one in of.get(picture, ())]

    content = (data.root / place).read_bytes()
    written.store(place, with_copies(content, place, named) or content)


def _place_own(source: Path, file: str, picture: str, made: str, written: _Written) -> None:
    """Writes the annotation of a copy: called like the copy as that of the picture is called like it."""
    stem, own = PurePosixPath(picture).stem, PurePosixPath(file)
    name = PurePosixPath(made)
    target = own.with_name(name.stem + own.name.removeprefix(stem))
    content = source.read_bytes()
    written.store(str(target), of_copy(content, own.suffix.lower(), name.name))


def _like(name: str, made: str, output: Path) -> str:
    """Returns the name of a copy as that of its original is written: with folders, or without extension."""
    written, copy = PurePosixPath(name.replace("\\", "/")), PurePosixPath(made)
    final = copy.name if written.suffix.lower() in READABLE else copy.stem
    if written.is_absolute():
        return str(output.absolute() / copy.with_name(final))
    return name[: len(name) - len(written.name)] + final


class _Written:
    """The files of a set that its own runs wrote: these alone may be replaced, as long as nobody edits them.

    Args:
        output: The folder of the set.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        try:
            known = json.loads((output / _WRITTEN).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            known = {}
        self._digests: dict[str, str] = dict(known) if isinstance(known, Mapping) else {}

    def store(self, path: str, content: bytes) -> None:
        """Writes a file, completely or not at all.

        Raises:
            ProcessingError: One stands there that is not ours.
            OSError: It cannot be written.
        """
        target, digest = self._output / path, hashlib.sha256(content).hexdigest()
        if os.path.lexists(target):
            there = hashlib.sha256(target.read_bytes()).hexdigest()
            if there != digest and there != self._digests.get(path):
                raise ProcessingError(
                    f"{display_path(target)} is there already and is another file; it is not replaced."
                )
            if there == digest:
                self._digests[path] = digest
                return
        target.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(content, target)
        self._digests[path] = digest

    def save(self) -> None:
        """Notes what was written.

        Raises:
            OSError: It cannot be.
        """
        self._output.mkdir(parents=True, exist_ok=True)
        write_bytes(json.dumps(self._digests, indent=0, sort_keys=True).encode(), self._output / _WRITTEN)


def _reason(error: Exception, path: Path) -> str:
    if isinstance(error, OSError):
        return f"{display_path(path)}: {error.strerror or error}."
    return str(error)
