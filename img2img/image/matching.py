"""Which file is compared with which.

Two files are partners when they lie in the same folder below those that were given, and

1. their names are equal; or
2. their names without extension are; or
3. they are but for letter case and Unicode form (what macOS writes and Linux does not); or
4. the words of one name begin with those of the other: baby_RCAN_x4.png and baby.png; or
5. what tells them apart from their neighbours is equal: the words without those that all names of their side
   share at the beginning and at the end. img_001_SRF_4_LR.png and img_001_SRF_4_HR.png are both 001.

A word is a run of letters or of digits. Each rule sees what the rules before it left, and takes only partners
that have no rival.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from img2img.errors import PlanError, display_path
from img2img.image import list_images
from img2img.image.discovery import collision_key, sentences_not_read
from img2img.image.names import Words, distinct_words, words_of

LOW, HIGH = frozenset(("lr", "lrbi", "lq")), frozenset(("hr", "gt", "hq"))
_NAMED = 3  # rivals in one message


@dataclass(frozen=True)
class File:
    """A picture of one side.

    Attributes:
        path: Where it is.
        name: Its path below the folder that was given.
    """

    path: Path
    name: Path

    @property
    def folder(self) -> str:
        """What its folder below the one that was given is compared by."""
        return collision_key(str(self.name.parent))

    @property
    def words(self) -> Words:
        """What the file's own name is made of, in lower case."""
        return words_of(self.name.stem)


@dataclass
class Files:
    """The pictures of one side.

    Attributes:
        found: In natural order; last those of kinds that are not read, which fail when they are opened.
        notes: What was left out, in sentences.
        problems: Folders that could not be listed, with the reason.
    """

    found: list[File] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[tuple[Path, str]] = field(default_factory=list)


def find(
    place: Path,
    role: str,
    wanted: frozenset[str],
    others: frozenset[str],
    follow_symlinks: bool = False,
    hidden: bool = False,
) -> Files:
    """Returns the pictures at `place`, which is a folder or one file.

    Benchmarks often keep both resolutions in one folder: where two names differ in nothing but a word of
    `wanted` and one of `others`, the latter is left out.

    Args:
        place: The folder or file.
        role: What it is to the user, for messages: "target".
        wanted, others: Words in lower case.
        follow_symlinks, hidden: See `img2img.image.discover`.

    Raises:
        PlanError: There is no such place, or no picture in it.
    """
    if place.is_file():
        return Files([File(place, Path(place.name))])
    if not place.is_dir():
        raise PlanError(f"{display_path(place)}: there is no such folder or file (the {role}).")
    listing = list_images(place, follow_symlinks, hidden)
    paths = [*listing.files, *(path for some in listing.not_read.values() for path in some)]
    files = Files(
        [File(path, path.relative_to(place)) for path in paths],
        [*sentences_not_read(listing.not_read), *listing.passed.notes()],
        [(found.path, found.problem or "") for found in listing.problems],
    )
    kept = {_with_gap(file, wanted) for file in files.found if wanted.intersection(file.words)}
    left = [
        file for file in files.found if others.intersection(file.words) and _with_gap(file, others) in kept
    ]
    if left:
        files.found = [file for file in files.found if file not in set(left)]
        files.notes.append(
            f"{len(left)} files such as {display_path(left[0].name)} are not taken as {role}: each lies "
            f"beside one whose name differs in one word, such as {display_path(files.found[0].name)}."
        )
    if not files.found:
        why = " ".join(f"{display_path(path)}: {reason}." for path, reason in files.problems)
        why = why or listing.passed.reasons()
        raise PlanError(f"{display_path(place)}: there is no picture here (the {role}). {why}".rstrip())
    return files


def _with_gap(file: File, words: frozenset[str]) -> Hashable:
    """Returns what is equal for names that differ in one of `words` alone."""
    return file.folder, tuple("" if word in words else word for word in file.words)


@dataclass
class Matching:
    """The result of `match`.

    Attributes:
        pairs: Targets with their partners, in the order of the targets.
        notes: What the user should know, in sentences.
        problems: The files without a partner, with the reason.
    """

    pairs: list[tuple[File, File]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[tuple[Path, str]] = field(default_factory=list)


def match(targets: Sequence[File], others: Sequence[File], role: str) -> Matching:
    """Finds the partner of each target.

    Args:
        targets: One side.
        others: The other side.
        role: What the other side is, for messages: "prediction".
    """
    partners: dict[File, File] = {}
    renamed: list[File] = []
    left, right = list(targets), list(others)
    rivals: dict[File, list[File]] = {}  # what files would fit that found no partner all the same
    for rule in (_same_name, _same_stem, _same_folded, _beginning, _distinct_words(targets, others)):
        candidates = rule(left, right)
        claims: dict[File, list[File]] = defaultdict(list)
        for target, found in candidates.items():
            for other in found:
                claims[other].append(target)
        for target, found in candidates.items():
            if len(found) == 1 and claims[found[0]] == [target]:
                partners[target] = found[0]
                if rule not in (_same_name, _same_stem, _same_folded):
                    renamed.append(target)
            elif found:
                rivals.setdefault(target, found)
        for other, found in claims.items():
            rivals.setdefault(other, found)
        taken = set(partners.values())
        left = [file for file in left if file not in partners]
        right = [file for file in right if file not in taken]
    matching = Matching([(target, partners[target]) for target in targets if target in partners])
    if renamed:
        example = renamed[0]
        matching.notes.append(
            f"{len(renamed)} of {len(matching.pairs)} pairs have different names: "
            f"{display_path(partners[example].name)} goes with {display_path(example.name)}, and so on."
        )
    elif not partners and left and right:
        matching.notes.append(
            f"No {role} goes with a target: {role}s have names like {display_path(right[0].name)}, targets "
            f"like {display_path(left[0].name)}. Partners have one name, or names that begin alike."
        )
    for files, partner in ((left, role), (right, "target")):
        matching.problems += [(file.path, _why(rivals.get(file, ()), partner)) for file in files]
    return matching


def _why(rivals: Sequence[File], partner: str) -> str:
    if not rivals:
        return f"no {partner} matches its name"
    names = ", ".join(display_path(file.name) for file in rivals[:_NAMED])
    more = f" and {len(rivals) - _NAMED} more" if len(rivals) > _NAMED else ""
    if len(rivals) == 1:
        return f"another file matches the {partner} {names}, too"
    return f"several {partner}s match its name: {names}{more}"


Candidates = dict[File, list[File]]
Rule = Callable[[Sequence[File], Sequence[File]], Candidates]


def _by(key: Callable[[File], Hashable], other_key: Callable[[File], Hashable]) -> Rule:
    """Returns the rule that keys must be equal."""

    def rule(targets: Sequence[File], others: Sequence[File]) -> Candidates:
        found: dict[Hashable, list[File]] = defaultdict(list)
        for other in others:
            found[other_key(other)].append(other)
        return {target: found.get(key(target), []) for target in targets}

    return rule


def _stem(file: File) -> Path:
    return file.name.with_suffix("")


_same_name = _by(lambda file: file.name, lambda file: file.name)
_same_stem = _by(_stem, _stem)


def _folded(file: File) -> str:
    return collision_key(str(_stem(file)))


_same_folded = _by(_folded, _folded)


def _beginning(targets: Sequence[File], others: Sequence[File]) -> Candidates:
    """The rule that one name begins with the other, word for word."""
    whole: dict[Hashable, list[File]] = defaultdict(list)  # by all of the words
    begun: dict[Hashable, list[File]] = defaultdict(list)  # by each beginning of them
    for other in others:
        words = other.words
        whole[other.folder, words].append(other)
        for length in range(1, len(words)):
            begun[other.folder, words[:length]].append(other)
    candidates: Candidates = {}
    for target in targets:
        words = target.words
        shorter = [whole.get((target.folder, words[:length]), []) for length in range(1, len(words) + 1)]
        candidates[target] = [file for files in shorter for file in files]
        candidates[target] += begun.get((target.folder, words), [])
    return candidates


def _distinct_words(targets: Sequence[File], others: Sequence[File]) -> Rule:
    """Returns the rule about what tells files apart from the rest of their side."""
    own, their = _distinct(targets), _distinct(others)
    return _by(own.__getitem__, their.__getitem__)


def _distinct(files: Iterable[File]) -> dict[File, Hashable]:
    own = distinct_words({file: file.words for file in files})
    return {file: (file.folder, words) for file, words in own.items()}
