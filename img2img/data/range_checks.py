"""What can be wrong with the numbers in pictures: no brightness, or a range that nobody said."""

from __future__ import annotations

from collections.abc import Iterator

from img2img.data.findings import Case, Finding, Material, Side, half, plural
from img2img.data.ranges import Extent, advice, suggested

_FURTHER = "Further pictures have black and white of the source; bring their numbers to those."
_BEYOND = 0.01  # of a range: what is cut off is not worth a word


def no_numbers(material: Material) -> Iterator[Finding]:
    """Values that are no brightness at all: NaN, infinite, 1e38 for "no data"."""
    bad = []
    for side in material.sides:
        extent = side.stats.extent
        if not material.holds_names(side.role) and not extent.sound(material.numbers(side.role)):
            found = f"values from {extent.words()}"
            if extent.broken:
                found = f"{plural(extent.broken, 'value')} not finite (NaN or infinite)"
            bad.append(Case((side.path,), f"{half(material, side)}{found}"))
    if bad:
        yield Finding(
            "error",
            "no-numbers",
            f"{plural(len(bad), 'picture')} with values that stand for no brightness.",
            "Give places without data a number near the others; a training passes over these files and takes "
            "other samples instead.",
            tuple(bad),
        )


def ranges(material: Material) -> Iterator[Finding]:
    """Numbers that are not those of their depth, where nobody said what black and white are."""
    sides = [side for side in _sound(material) if material.numbers(side.role) is None]
    extents: dict[str, list[Extent]] = {}
    for side in sides:
        extents.setdefault(side.role, []).append(side.stats.extent)
    hint = advice(extents.get(material.source, []), extents.get(material.target, []))
    outside = [side for side in sides if not side.stats.extent.fits()]
    if outside:
        low = min(side.stats.extent.low for side in outside)
        high = max(side.stats.extent.high for side in outside)
        yield Finding(
            "error" if any(side.stats.extent.far() for side in outside) else "warning",
            "outside-range",
            f"{len(outside)} of {plural(len(sides), 'picture')} with values outside 0 to 1, which is black "
            f"to white in floating point: {low:g} to {high:g}.",
            f"{hint} says what black and white are; take the numbers of all your pictures."
            if hint
            else _FURTHER,
            tuple(_values(material, side) for side in outside),
        )
    dim = [role for role, some in extents.items() if some[0].depth == "uint16" and suggested(some)]
    tops = [found.high for role in dim if (found := suggested(extents[role]))]
    if tops:
        numbers = [extent for role in dim for extent in extents[role]]
        low, high = min(extent.low for extent in numbers), max(extent.high for extent in numbers)
        yield Finding(
            "warning",
            "unused-range",
            f"the values of {' and '.join(dim)} use only {low:g} to {high:g} of 0 to 65535, as data of "
            f"{int(max(tops)).bit_length()} bits does.",
            f"{hint} says what black and white are; without it the network sees all of it nearly black."
            if hint
            else _FURTHER,
        )


def beyond(material: Material) -> Iterator[Finding]:
    """Pictures that do not go with the ranges that the configuration says."""
    shallow, cut = [], []
    for side in _sound(material):
        numbers, extent = material.numbers(side.role), side.stats.extent
        if numbers is None:
            continue
        margin = _BEYOND * (numbers.high - numbers.low)
        if extent.depth != "float32" and extent.white < numbers.high:
            shallow.append(Case((side.path,), f"{half(material, side)}{extent.depth}"))
        elif extent.low < numbers.low - margin or extent.high > numbers.high + margin:
            cut.append(_values(material, side))
    if shallow:
        yield Finding(
            "error",
            "other-depth",
            f"{plural(len(shallow), 'picture')} of a depth that ends below white, as data.range says it.",
            "Convert them to the depth of the others; a training passes over them.",
            tuple(shallow),
        )
    if cut:
        yield Finding(
            "warning",
            "outside-range",
            f"{plural(len(cut), 'picture')} with values outside of data.range.",
            "They count as black or white. Is the range the right one?",
            tuple(cut),
        )


def _values(material: Material, side: Side) -> Case:
    return Case((side.path,), f"{half(material, side)}values from {side.stats.extent.words()}")


def _sound(material: Material) -> list[Side]:
    return [
        side
        for side in material.sides
        if not material.holds_names(side.role) and side.stats.extent.sound(material.numbers(side.role))
    ]
