"""Which names of two folders mean the same sample."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from img2img.data.folders import Search
from img2img.errors import display_path
from img2img.image.discovery import collision_key
from img2img.image.names import distinct_words, words_of


def partners_by_end(stems: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """Returns paths with the longest end of each that is one of `others`, or its name.

    Where two have the same end they are returned with themselves.
    """
    known = set(map(collision_key, others))
    found = {}
    for stem in stems:
        parts = PurePosixPath(stem).parts
        ends = ["/".join(parts[start:]) for start in range(len(parts))]
        found[stem] = next((end for end in ends if collision_key(end) in known), ends[-1])
    return found if len(set(found.values())) == len(found) else {stem: stem for stem in found}


def find_partners(
    left: Iterable[str], right: Mapping[str, Path], search: Search, folder: Path
) -> dict[str, str]:
    """Returns the names of `left` with those of `right`, the files of `folder`, that mean the same."""
    left = list(left)
    partner = {stem: stem for stem in left if stem in right}
    partner |= _unique(set(left) - partner.keys(), right.keys() - partner.keys())
    if not partner:
        partner = _by_what_differs(left, right)
        if partner:
            one = next(iter(partner))
            search.passed.append(
                f"Names differ in what all of a folder share: {display_path(PurePosixPath(one).name)} goes "
                f"with {display_path(right[partner[one]].name)} of {display_path(folder)}, and so on "
                f"({len(partner)} pairs)."
            )
    return partner


def _unique(left: Iterable[str], right: Iterable[str]) -> dict[str, str]:
    """Returns the names of `left` with those of `right` that some file system takes for the same."""
    groups: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for side, names in enumerate((left, right)):
        for name in names:
            groups[collision_key(name)][side].append(name)
    return {one[0]: other[0] for one, other in groups.values() if len(one) == len(other) == 1}


def _by_what_differs(left: Iterable[str], right: Iterable[str]) -> dict[str, str]:
    """Returns the names of `left` with those of `right` that are equal but for the words that a side shares.

    Words are runs of letters or of digits: of photo-1 and photo-2 both begin with "photo", of 1_mask and
    2_mask both end in "mask". Of the ways to leave these out the one that finds most pairs counts.
    """
    best: dict[str, str] = {}
    for start, end in ((False, True), (True, False), (True, True)):
        sides = [_without_shared(names, start, end) for names in (list(left), list(right))]
        found = {one: sides[1][key] for key, one in sides[0].items() if key in sides[1]}
        best = max(best, found, key=len)
    return best


def _without_shared(names: list[str], start: bool, end: bool) -> dict[tuple[str, ...], str]:
    """Returns names by their folder and their words without those that all share; no key is of two names."""
    if len(names) < 2:  # nothing tells what is shared
        return {}
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    words = {name: words_of(PurePosixPath(name).name) for name in names}
    for name, own in distinct_words(words, start, end).items():
        groups[(collision_key(str(PurePosixPath(name).parent)), *own)].append(name)
    return {key: group[0] for key, group in groups.items() if len(group) == 1 and len(key) > 1}
