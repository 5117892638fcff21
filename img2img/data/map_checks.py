"""What can be wrong with masks, maps of ids and vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from img2img.data.findings import Case, Finding, Material, Side, plural
from img2img.data.pictures import one_view
from img2img.image.palette import MOST

_GREY = 0.01  # of a mask: what edges and lossy formats make grey
_LOSSY = (".jpg", ".jpeg", ".jfif", ".webp", ".heic", ".heif", ".avif")


def maps(material: Material) -> Iterator[Finding]:
    """Masks that are grey or mark nothing, ids that were stored with loss, and both of other proportions."""
    masks = [side for side in material.maps if material.fields[side.field].kind == "mask"]
    ids = [side for side in material.maps if material.fields[side.field].kind == "ids"]
    yield from _found(
        "warning",
        "grey-mask",
        [side for side in masks if side.stats.between > _GREY],
        "with values between black and white.",
        "What is above half of white counts as marked; store masks in black and white, as PNG.",
        lambda side: f"{side.stats.between:.1%} of the values",
    )
    yield from _found(
        "warning",
        "empty-mask",
        [side for side in masks if 2 * side.stats.extent.high <= side.stats.extent.white],
        "that mark nothing.",
        "White is what a mask marks; a sample without it teaches nothing about it.",
        lambda side: f"its brightest level is {side.stats.extent.high:g} of {side.stats.extent.white:g}",
    )
    yield from _found(
        "error",
        "lossy-ids",
        [side for side in ids if side.path.suffix.lower() in _LOSSY],
        "of a lossy format, which mixes the numbers of neighbours.",
        "Store maps of ids as PNG or TIFF of 8 or 16 bits.",
    )
    yield from _found(
        "error",
        "colour-ids",
        [side for side in ids if not side.stats.grey],
        "with several channels that differ.",
        "A map of ids has one channel, with one number for each object.",
        lambda side: plural(side.stats.channels, "channel"),
    )
    yield from _found(
        "warning",
        "many-ids",
        [side for side in ids if len(side.stats.colours) > MOST and side.path.suffix.lower() not in _LOSSY],
        f"with more than {MOST} objects.",
        "Is it a photograph, or was it resized with interpolation?",
    )
    known = {(id(side.record), side.field): side for side in material.sides}
    bent = []
    for side in material.maps:
        partner = known.get((id(side.record), material.fields[side.field].like or ""))
        if partner is not None and not _fits(material, side, partner):
            bent.append((side, partner))
    if bent:
        yield Finding(
            "error",
            "map-size",
            f"{plural(len(bent), 'map')} of another size than the picture that it belongs to.",
            "A mask or a map of ids has a value for each pixel of its picture; make it anew for that.",
            tuple(
                Case((side.path, partner.path), f"{_size(side)} and {_size(partner)}")
                for side, partner in bent
            ),
        )


def vectors(material: Material) -> Iterator[Finding]:
    """Numbers that are the same for every sample, so that there is nothing to learn from them."""
    train = [record for part, record in material.samples if part == "train"]
    for name, field in material.fields.items():
        rows = [record.values[name] for record in train if name in record.values]
        if field.spatial or len(rows) < 2:
            continue
        names = next((found.names[name] for found in material.found if found.names.get(name)), ())
        for place, values in enumerate(zip(*rows, strict=True)):
            if len(set(values)) == 1:
                own = names[place] if place < len(names) else f"number {place + 1}"
                yield Finding(
                    "warning",
                    "no-examples",
                    f"{own} of {name} is {values[0]:g} in all {len(rows)} training samples.",
                    "There is no example of anything else; leave it out (data.attributes), or add some.",
                )


def _fits(material: Material, side: Side, partner: Side) -> bool:
    one, other = ((s.stats.height, s.stats.width) for s in (side, partner))
    return one == other or (material.config.load_size is not None and one_view(one, other))


def _size(side: Side) -> str:
    return f"{side.stats.width} x {side.stats.height}"


def _found(
    level: Literal["error", "warning"],
    kind: str,
    sides: Sequence[Side],
    text: str,
    hint: str,
    detail: Callable[[Side], str] = lambda side: "",
) -> Iterator[Finding]:
    if sides:
        what = plural(len(sides), "map" if "ids" in kind else "mask")
        yield Finding(level, kind, f"{what} {text}", hint, tuple(Case((s.path,), detail(s)) for s in sides))
