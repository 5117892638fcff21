"""What is taken beside a picture, and whether that is what was given."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from img2img.errors import ConfigError
from img2img.fields import Fields, Vector, in_full, in_words
from img2img.registry import unknown


def require_conditions(taken: Fields | Collection[str], given: Collection[str], option: str = "") -> None:
    """Makes sure that each condition that is taken is given, and no other.

    Args:
        taken: What a model or an operation takes: names, with kinds where these are known.
        given: Names.
        option: What gives one in front of NAME=PLACE, for the message.

    Raises:
        ConfigError: One is missing, or there is none of that name.
    """
    for name in given:
        if not taken:
            raise ConfigError(f"this takes a picture alone, and no {name}.")
        if name not in taken:
            raise ConfigError(unknown("condition", name, taken))
    missing = [name for name in taken if name not in given]
    if not missing:
        return
    fields = taken if isinstance(taken, Mapping) else {}
    words = [f"{name} ({in_words(fields[name])})" if name in fields else name for name in taken]
    told = [f"this takes more than a picture: {', '.join(words)}; not given: {', '.join(missing)}."]
    if option:
        numbers = [name for name in missing if isinstance(fields.get(name), Vector)]
        give = [f"{option} {name}={'NUMBERS' if name in numbers else 'DIR'}" for name in missing]
        told.append(f"Give {' '.join(give)}.")
        told += [
            f"{name} is {in_full(fields[name])}; or a table with a column for each (CSV, JSON lines)."
            for name in numbers
        ]
    raise ConfigError(" ".join(told))
