"""What can be wrong between the files of one sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from img2img.data.findings import Case, Finding, Material, plural, size
from img2img.data.pictures import one_view
from img2img.errors import display_path


def partners(material: Material) -> Iterator[Finding]:
    """Files without the one that belongs to them."""
    config = material.config
    alone = {path: records.lacks.get(path, "partner") for records in material.found for path in records.alone}
    if alone:
        skipped = config.unmatched == "skip"
        yield Finding(
            "warning" if skipped else "error",
            "no-partner",
            f"{plural(len(alone), 'file')} without {_lacking(alone)}.",
            "They are left out."
            if skipped
            else "Add what is missing, or leave them out with unmatched: skip.",
            tuple(Case((path,), f"has no {alone[path]}") for path in alone),
        )


def _lacking(alone: Mapping[Path, str]) -> str:
    """Returns what files have not that are alone."""
    partner = {"partner": "a partner of the same name"}
    return " or ".join(
        dict.fromkeys(
            partner.get(what, f"{'an' if what[0] in 'aeiou' else 'a'} {what}") for what in alone.values()
        )
    )


def spare(material: Material) -> Iterator[Finding]:
    """Files and rows of further fields that no part of the data takes."""
    for place in dict.fromkeys(place for records in material.found for place in records.spare):
        taken = [set(records.spare[place]) for records in material.found if place in records.spare]
        names = [name for name in min(taken, key=len) if all(name in other for other in taken)]
        names = [name for name in material.found[0].spare.get(place, ()) if name in names] or sorted(names)
        if names:
            what = plural(len(names), "row" if place.is_file() else "file")
            yield Finding(
                "warning",
                "no-sample",
                f"{what} of {display_path(place)} for which there is no sample.",
                "Is a picture missing, or its name another one?",
                tuple(
                    Case((place,), f"{name} has no file") if place.is_file() else Case((Path(name),))
                    for name in names
                ),
            )


def partner_sizes(material: Material) -> Iterator[Finding]:
    """Pairs whose pixels cannot lie at the same place."""
    if material.scale is not None:
        yield from _scaled_partners(material, material.scale)
        return
    wrong: list[Case] = []
    resized = material.config.load_size is not None  # both, so that proportions are all that matters
    for a, b in material.pairs():
        one, other = ((stats.height, stats.width) for stats in (a.stats, b.stats))
        if one != other and not (resized and one_view(one, other)):
            wrong.append(Case((a.path, b.path), f"{size(a.stats)} and {size(b.stats)}"))
    if wrong:
        yield Finding(
            "warning" if resized else "error",
            "partner-size",
            f"{plural(len(wrong), 'pair')} of different "
            + ("proportions, which are squeezed until they fit." if resized else "sizes."),
            "Pixels of a pair must lie at the same place in both; cut or resize them alike"
            + ("." if resized else ", or set load_size."),
            tuple(wrong),
        )


def _scaled_partners(material: Material, scale: int) -> Iterator[Finding]:
    wrong = []
    for a, b in material.pairs():
        low, high = (a, b) if material.source == "A" else (b, a)
        if (low.stats.height * scale, low.stats.width * scale) != (
            high.stats.height,
            high.stats.width,
        ):
            wrong.append(Case((low.path, high.path), f"{size(low.stats)} and {size(high.stats)}"))
    if wrong:
        yield Finding(
            "error",
            "partner-size",
            f"{plural(len(wrong), 'pair')} with a target not {scale} times as large as its source.",
            "Cut targets to multiples of the scale before they are made small, or set method.scale.",
            tuple(wrong),
        )


def same_twice(material: Material) -> Iterator[Finding]:
    """Pairs of a picture with itself."""
    same = [Case((a.path, b.path)) for a, b in material.pairs() if a.stats.digest == b.stats.digest]
    if same:
        yield Finding(
            "error",
            "same-picture",
            f"{plural(len(same), 'pair')} with the same picture as source and as target.",
            "There is nothing to learn from them; are the folders the right ones?",
            tuple(same),
        )
