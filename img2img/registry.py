"""Names for things that can be chosen by a name: architectures, processors, methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from img2img.errors import ConfigError
from img2img.keys import closest

T = TypeVar("T")


class Registry(Generic[T]):
    """A dictionary of classes or functions with a readable error for a name that is not in it.

    Args:
        kind: What the entries are, singular, for messages: "generator".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Returns a decorator that files its argument under `name` and returns it unchanged."""

        def file(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"the {self.kind} {name!r} is registered twice")
            self._entries[name] = entry
            return entry

        return file

    def __getitem__(self, name: str) -> T:
        """Returns the entry called `name`.

        Raises:
            ConfigError: There is none; the message offers the nearest names.
        """
        try:
            return self._entries[name]
        except KeyError:
            raise ConfigError(unknown(self.kind, name, self._entries)) from None

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)


def unknown(kind: str, name: str, known: object) -> str:
    """Returns the sentence for a `name` that is not among `known` (an iterable of names)."""
    names = sorted(known)  # type: ignore[call-overload]
    near = closest(name, names)
    hint = f"did you mean {near!r}?" if near else f"known are: {', '.join(names) or 'none'}."
    shown = name if len(name) <= 80 else f"{name[:76]} ..."
    return f"there is no {kind} {shown!r}; {hint}"
