"""The words of file names, and which of them tell a file from those beside it."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from img2img.image.discovery import collision_key

Words = tuple[str, ...]
K = TypeVar("K", bound=Hashable)
_WORD = re.compile(r"\d+|[^\W\d_]+")


def words_of(name: str) -> Words:
    """Returns the runs of letters and of digits in a name; letter case and Unicode form do not count."""
    return tuple(_WORD.findall(collision_key(name)))


def distinct_words(words: Mapping[K, Words], start: bool = True, end: bool = True) -> dict[K, Words]:
    """Returns the words of each name without those that all names share.

    Of photo-1 and photo-2 both begin with "photo", of 1_mask and 2_mask both end in "mask". A single name
    keeps all, for there is nothing to tell it from.

    Args:
        words: Of each name.
        start, end: Whether to leave out what they share at their beginning, and at their end.
    """
    if len(words) < 2:
        return dict(words)
    ahead = shared_start(list(words.values())) if start else 0
    behind = shared_start([own[::-1] for own in words.values()]) if end else 0
    behind = min(behind, min(map(len, words.values())) - ahead)
    return {name: own[ahead : len(own) - behind] for name, own in words.items()}


def shared_start(lists: Sequence[Words]) -> int:
    """Returns with how many words all begin; lists must not be empty."""
    first, last = min(lists), max(lists)  # what these two share, all between them do
    return next(
        (place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(map(len, lists))
    )
