"""Patterns that choose files of a folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

_SPECIAL = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]")
_TRANSLATED = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def matcher(patterns: Iterable[str]) -> Callable[[str], bool] | None:
    """Returns a function that tells whether a path matches one of `patterns`; None if there is none.

    A pattern is compared with the relative path (written with "/") and with the bare name, whatever the
    letter case: `*.jpg` takes every JPEG of the tree, `holiday/*` the files directly in `holiday`,
    `holiday/**` everything below it. `*` and `?` stop at "/", `**` does not, `[a-c]` and `[!a-c]` are one
    character of a set. A trailing "/" stands for everything below: `holiday/` is `holiday/**`.
    """
    regexes = [_translate(pattern) for pattern in patterns]
    if not regexes:
        return None
    match = re.compile("|".join(regexes), re.IGNORECASE | re.DOTALL).fullmatch

    def matches(relative: str) -> bool:
        return match(relative) is not None or match(relative.rpartition("/")[2]) is not None

    return matches


def _translate(pattern: str) -> str:
    pattern = pattern.removeprefix("./")
    if pattern.endswith("/"):
        pattern += "**"
    pieces, end = [], 0
    for token in _SPECIAL.finditer(pattern):
        text = token.group()
        pieces += [re.escape(pattern[end : token.start()]), _TRANSLATED.get(text) or _character_set(text)]
        end = token.end()
    return "".join(pieces) + re.escape(pattern[end:])


def _character_set(token: str) -> str:
    members = token[1:-1]
    negated = members.startswith("!")
    members = members.removeprefix("!")
    pieces, at = [], 0
    while at < len(members):
        if members[at + 1 : at + 2] == "-" and at + 2 < len(members):
            low, high = members[at], members[at + 2]
            pieces.append(f"{re.escape(low)}-{re.escape(high)}" if low <= high else "")
            at += 3
        else:
            pieces.append(re.escape(members[at]))
            at += 1
    inside = "".join(pieces)
    if not inside:  # only ranges that run backwards: nothing is in them
        return "[^/]" if negated else "(?!)"
    return f"(?!/)[{'^' if negated else ''}{inside}]"
