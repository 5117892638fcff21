"""What a result depends on, in a form that a later run can compare: files, companions, settings."""

from __future__ import annotations

import errno
import hashlib
import json
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from img2img.batch.companions import Companion
from img2img.errors import PlanError
from img2img.files import file_digest
from img2img.remote import RemotePath
from img2img.video.sequence import is_pattern, numbered


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a source file was when it was read.

    Attributes:
        size, mtime_ns: Bytes, and the time of the last change.
        sha256: Of the content, where it was asked for.
        etag: What the store of a remote file calls its content; "" where there is none.
        companions: The same of each file that it was processed with, or the numbers, in the order of their
            names.
    """

    size: int
    mtime_ns: int
    sha256: str | None = None
    etag: str = ""
    companions: tuple[tuple[str, Fingerprint | tuple[float, ...]], ...] = ()

    @classmethod
    def of(
        cls, path: Path, checksum: bool = False, companions: Mapping[str, Companion] = MappingProxyType({})
    ) -> Fingerprint:
        """Returns that of the file `path` as it is now.

        Raises:
            OSError: It or a companion cannot be examined.
        """
        others = tuple(
            (name, each if isinstance(each, tuple) else cls.of(each, checksum))
            for name, each in sorted(companions.items())
        )
        if is_pattern(path):
            return cls._of_sequence(path, checksum, others)
        status = path.stat()
        regular = stat.S_ISREG(status.st_mode)  # reading a pipe would wait for ever
        digest = file_digest(path) if checksum and regular else None
        etag = path.facts.etag if isinstance(path, RemotePath) and path.facts else ""
        return cls(status.st_size, status.st_mtime_ns, digest, etag, others)

    @classmethod
    def _of_sequence(cls, pattern: Path, checksum: bool, others: Any) -> Fingerprint:
        """Returns that of numbered pictures: the digest is that of all names, and what the files are."""
        try:
            files = [(path.name, cls.of(path, checksum)) for _, path in numbered(pattern)]
        except PlanError as error:
            raise FileNotFoundError(errno.ENOENT, str(error), str(pattern)) from error
        text = json.dumps([(name, each.to_json()) for name, each in files])
        digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
        size, time = sum(each.size for _, each in files), max(each.mtime_ns for _, each in files)
        return cls(size, time, digest, companions=others)

    def matches(self, earlier: Fingerprint) -> bool:
        """Returns whether the content is that of `earlier`: by checksum if known, else by size and time.

        An earlier run that took no checksum cannot vouch for one.
        """
        own, others = dict(self.companions), dict(earlier.companions)
        if own.keys() != others.keys() or not all(_equal(own[name], others[name]) for name in own):
            return False
        if self.sha256 is not None:
            return self.sha256 == earlier.sha256
        if self.etag and earlier.etag:  # objects are copied with another time
            return (self.size, self.etag) == (earlier.size, earlier.etag)
        return (self.size, self.mtime_ns) == (earlier.size, earlier.mtime_ns)

    def to_json(self) -> dict[str, Any]:
        """Returns what a manifest notes."""
        facts: dict[str, Any] = {"size": self.size, "mtime_ns": self.mtime_ns}
        if self.sha256 is not None:
            facts["sha256"] = self.sha256
        if self.etag:
            facts["etag"] = self.etag
        if self.companions:
            facts["companions"] = {
                name: list(each) if isinstance(each, tuple) else each.to_json()
                for name, each in self.companions
            }
        return facts

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Fingerprint:
        """Returns what `to_json` was made from.

        Raises:
            KeyError, TypeError, ValueError, OverflowError: It is nothing of the kind.
        """
        sha256, companions = facts.get("sha256"), facts.get("companions", {})
        if not isinstance(companions, dict):
            raise TypeError(f"expected companions by name, not {companions!r}")
        others: dict[str, Fingerprint | tuple[float, ...]] = {
            as_text(name): tuple(map(float, each)) if isinstance(each, list) else cls.from_json(each)
            for name, each in companions.items()
        }
        return cls(
            int(facts["size"]),
            int(facts["mtime_ns"]),
            None if sha256 is None else as_text(sha256),
            as_text(facts.get("etag", "")),
            tuple(others.items()),
        )


def settings_keys(settings: Mapping[str, Any]) -> dict[str, str]:
    """Returns short texts that are equal for equal settings, by the `made_by` of the results they are for.

    Args:
        settings: JSON-able; the order of keys does not count. What under "settings" stands under "choices"
            concerns results of that `made_by` alone; without choices there is one text, for "".
    """
    own = dict(settings.get("settings", {}))
    choices = own.pop("choices", None)
    if choices is None:
        return {"": _key(settings)}
    return {name: _key({**settings, "settings": {**own, "choice": each}}) for name, each in choices.items()}


def _key(settings: Mapping[str, Any]) -> str:
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _equal(now: Fingerprint | tuple[float, ...], earlier: Fingerprint | tuple[float, ...]) -> bool:
    if isinstance(now, Fingerprint) and isinstance(earlier, Fingerprint):
        return now.matches(earlier)
    return now == earlier


def as_text(value: object) -> str:
    """Returns `value` if it is a text.

    Raises:
        TypeError: It is something else.
    """
    if not isinstance(value, str):
        raise TypeError(f"expected a text, not {value!r}")
    return value
