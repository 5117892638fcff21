"""Conditions that a script or a CI job puts on the means."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from img2img.errors import ConfigError
from img2img.registry import unknown

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_FORM = re.compile(r"\s*(\w+)\s*(>=|<=|>|<)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Requirement:
    """One condition: "psnr_y>=31.2".

    Attributes:
        column: The number it is about.
        comparison: ">=", "<=", ">" or "<".
        bound: What the mean is compared with, unrounded.
    """

    column: str
    comparison: str
    bound: float

    @classmethod
    def parse(cls, text: str, columns: Sequence[str]) -> Requirement:
        """Reads a condition on one of `columns`.

        Raises:
            ConfigError: It is no condition, or there is no such number.
        """
        match = _FORM.fullmatch(text)
        if match is None:
            raise ConfigError(
                f"{text!r} is no requirement; write the name of a number, one of {', '.join(_COMPARISONS)}, "
                "and a bound: psnr_y>=31.2"
            )
        if match[1] not in columns:
            if match[1].startswith("gain_") and match[1].removeprefix("gain_") in columns:
                raise ConfigError(
                    f"requirement {text!r}: gains are against the first of several models or folders, "
                    "and there is one."
                )
            raise ConfigError(f"requirement {text!r}: {unknown('number', match[1], columns)}")
        return cls(match[1], match[2], float(match[3]))

    def failure(self, mean: Mapping[str, float]) -> str | None:
        """Returns how `mean` misses it, in a sentence; None if it does not."""
        if self.column not in mean:
            return f"{self} cannot be checked: nothing was measured."
        found = mean[self.column]
        if _COMPARISONS[self.comparison](found, self.bound):
            return None
        return f"{self} is not met: the mean is {found:.6g}."

    def __str__(self) -> str:
        return f"{self.column} {self.comparison} {self.bound:g}"
