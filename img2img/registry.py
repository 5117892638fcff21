"""Names for things that can be chosen by a name: architectures, processors, methods."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Generic, TypeVar

from img2img.errors import ConfigError, display_text
from img2img.keys import unknown as unknown

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")


class Registry(Generic[T]):
    """A dictionary of classes or functions with a readable error for a name that is not in it.

    Other packages may bring classes of their own, by entry points: one is imported when its name is asked for
    for the first time, or when all are listed. One that cannot be imported is not in the dictionary.

    Args:
        kind: What the entries are, singular, for messages: "generator".
        group: Of the entry points, such as "img2img.generators"; empty where there are none.
        base: What their classes derive from.

    Attributes:
        broken: What is wrong with the entries of other packages that could not be had, by their names.
    """

    def __init__(self, kind: str, group: str = "", base: type = object) -> None:
        self.kind, self.group, self.base = kind, group, base
        self.broken: dict[str, str] = {}
        self._entries: dict[str, T] = {}
        self._importing: set[str] = set()
        self._deferred: dict[str, str] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Returns a decorator that files its argument under `name` and returns it unchanged."""

        def file(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"the {self.kind} {name!r} is registered twice")
            self._entries[name] = entry
            return entry

        return file

    def defer(self, name: str, module: str) -> None:
        """Lets `module`, which registers `name`, be imported when that is asked for or all are listed."""
        if name not in self._entries:
            self._deferred[name] = module

    def __getitem__(self, name: str) -> T:
        """Returns the entry called `name`.

        Raises:
            ConfigError: There is none; the message offers the nearest names.
        """
        if name in self:
            return self._entries[name]
        raise ConfigError(self.missing(name))

    def missing(self, name: str) -> str:
        """Returns the sentence for a `name` that is not here: what is wrong with it, or the nearest names."""
        return self.broken.get(name) or unknown(self.kind, name, self)

    def __contains__(self, name: object) -> bool:
        if name in self._deferred:
            import_module(self._deferred.pop(str(name)))
        if name not in self._entries and self.group and isinstance(name, str):
            self._import(name, self._offered().get(name, []))
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        for name in tuple(self._deferred):
            import_module(self._deferred.pop(name))
        for name, points in self._offered().items():
            self._import(name, points)
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _offered(self) -> dict[str, list[EntryPoint]]:
        """Returns what other packages bring, by name; several of one name are one too many."""
        return _points(self.group, tuple(sys.path)) if self.group else {}

    def _import(self, name: str, points: list[EntryPoint]) -> None:
        """Files the class that another package brings, or what is wrong with it."""
        if not points or name in (self._entries | self.broken) or name in self._importing:
            return
        packages = " and ".join(sorted(map(_package, points)))
        if len(points) > 1:
            self.broken[name] = f"the packages {packages} bring the {self.kind} {name!r} each; uninstall one."
            return
        self._importing.add(name)
        try:
            found = points[0].load()
            if not isinstance(found, type) or not issubclass(found, self.base):
                raise TypeError(f"{points[0].value} is no class that derives from {self.base.__name__}")
            if name not in self._entries:  # its module has not registered it
                self.register(name)(found)  # type: ignore[arg-type]
        except (Exception, SystemExit) as error:  # noqa: BLE001  nothing else depends on it
            self._entries.pop(name, None)
            reason = display_text(" ".join(str(error).split()))
            self.broken[name] = (
                f"the {self.kind} {name!r} of the package {packages} cannot be imported "
                f"({type(error).__name__}: {reason}); repair the package or uninstall it."
            )
        finally:
            self._importing.discard(name)


@cache
def _points(group: str, path: tuple[str, ...]) -> dict[str, list[EntryPoint]]:
    """Returns the entry points of a group in the packages on `path`, by name; to find them takes 10 ms."""
    from importlib import metadata

    found: dict[str, dict[str, EntryPoint]] = {}
    for package in metadata.distributions(path=list(path)):
        try:
            for point in package.entry_points:
                if point.group == group:  # what is there twice counts where Python finds it first
                    found.setdefault(point.name, {}).setdefault(_package(point), point)
        except Exception:  # noqa: BLE001  whatever is wrong with another package, it is not asked for
            continue
    return {name: list(points.values()) for name, points in found.items()}


def _package(point: EntryPoint) -> str:
    """Returns the name of the package that an entry point is of."""
    return str((point.dist and point.dist.name) or "without a name")
