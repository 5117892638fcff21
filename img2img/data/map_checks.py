"""What can be wrong with label maps, masks, maps of ids and vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from img2img.data.findings import Case, Finding, Material, Side, half, plural, size
from img2img.data.inspection import ImageStats
from img2img.data.pictures import one_view
from img2img.image.palette import MOST_COLOURS, is_numbered

_GREY = 0.01  # of a mask: what edges and lossy formats make grey
_LOSSY = (".jpg", ".jpeg", ".jfif", ".webp", ".heic", ".heif", ".avif")


def labels(material: Material) -> Iterator[Finding]:
    """Label maps with colours that their palette lacks, or with too many for one to be made of them."""
    config = material.config
    names = config.labels(material.fields)
    sources = [side for side in material.sides if side.field in names]
    if not sources:
        return
    broken = [s for s in sources if not s.stats.whole]
    if broken and config.source_labels != "nearest":
        yield Finding(
            "error",
            "fractions",
            f"{len(broken)} of {len(sources)} label maps hold fractions.",
            "Label maps hold a whole number or a colour for each class; store them as PNG, or as TIFF of 8 "
            "or 16 bits.",
            tuple(Case((s.path,), half(material, s)) for s in broken),
        )
    if config.palette is not None:
        foreign = [s for s in sources if s.stats.foreign > 0]
        numbered = is_numbered(config.palette)
        if foreign:
            yield Finding(
                "error" if numbered or any(s.stats.stranger for s in foreign) else "warning",
                "foreign-colours",
                f"{len(foreign)} of {len(sources)} label maps have colours that the palette lacks.",
                "They hold numbers of no class, and are left out. Set these to a class, or give data.palette "
                "all numbers that there are."
                if numbered
                else "Such pixels count as the nearest colour. Store label maps as PNG, never as JPEG, and "
                "resize them with nearest neighbour; a colour that many pixels have is a class that "
                "data.palette lacks, or data.ignore_label.",
                tuple(
                    Case((s.path,), s.stats.stranger or f"{s.stats.foreign:.1%} of the pixels")
                    for s in sorted(foreign, key=lambda s: (not s.stats.stranger, -s.stats.foreign))
                ),
            )
        return
    one_hot = config.source_labels != "nearest"
    many = [s for s in sources if len(s.stats.colours) > MOST_COLOURS]
    if one_hot and max(side.stats.channels for side in sources) == 1:  # numbers may be as many as there are
        if many:
            yield Finding(
                "warning",
                "many-classes",
                f"{len(many)} of {len(sources)} label maps have more than {MOST_COLOURS} numbers.",
                "Each becomes a channel, and those that no file has are unknown to the network. Say how many "
                "classes there are as data.palette; or is it a photograph?",
                tuple(Case((s.path,), half(material, s)) for s in many),
            )
        return
    together: set[int] = set()
    for side in sources if one_hot else ():
        together.update(side.stats.colours.tolist())
    if many or len(together) > MOST_COLOURS:
        worst = many or sorted(sources, key=lambda s: -len(s.stats.colours))
        which = f"{len(many)} of {len(sources)} label maps" if many else "the label maps together"
        yield Finding(
            "error" if one_hot else "warning",
            "many-colours",
            f"{which} have more than {MOST_COLOURS} colours.",
            "They were probably stored as JPEG, which blurs colours into one another; give the true ones as "
            f"data.palette{' with source_labels: one_hot' * (config.source_labels != 'none')}.",
            tuple(Case((s.path,), f"{half(material, s)}{_colours(s.stats)}") for s in worst),
        )


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
        "fraction-ids",
        [side for side in ids if not side.stats.whole],
        "with values that are no whole numbers.",
        "A map of ids has one whole number for each object; store it as PNG or TIFF of 8 or 16 bits.",
    )
    yield from _found(
        "error",
        "colour-ids",
        [side for side in ids if not side.stats.grey and side.stats.whole],
        "with several channels that differ.",
        "A map of ids has one channel, with one number for each object.",
        lambda side: plural(side.stats.channels, "channel"),
    )
    yield from _found(
        "warning",
        "many-ids",
        [
            side
            for side in ids
            if len(side.stats.colours) > MOST_COLOURS and side.path.suffix.lower() not in _LOSSY
        ],
        f"with more than {MOST_COLOURS} objects.",
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
                Case((side.path, partner.path), f"{size(side.stats)} and {size(partner.stats)}")
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


def _colours(stats: ImageStats) -> str:
    count = len(stats.colours)
    return f"more than {MOST_COLOURS} colours" if count > MOST_COLOURS else plural(count, "colour")
