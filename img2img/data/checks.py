"""What can be wrong with data: one function for each kind of trouble."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from pathlib import Path

from img2img.data.findings import Case, Finding, Material, Side
from img2img.data.findings import half as _half
from img2img.data.findings import plural as _plural
from img2img.data.inspection import FLAT, ImageStats, near_duplicates
from img2img.data.map_checks import maps, vectors
from img2img.data.pictures import one_view
from img2img.data.range_checks import beyond, no_numbers, ranges
from img2img.data.ranges import suggested
from img2img.errors import display_path
from img2img.fields import Labels, groups
from img2img.image.palette import MOST, is_numbered

LIKENESS = (
    0.98  # correlation of thumbnails; measured: copies in other sizes and qualities 0.99, others below 0.97
)
FEW = 20
_DISTORTED = 1.5  # a photograph of 3:2 may become a square
_MANY_FLAT = 0.05


def _unusable(material: Material) -> Iterator[Finding]:
    broken = [Case((x.path,), x.problem) for x in material.inspected.values() if x.problem and not x.odd]
    odd = [Case((x.path,), x.problem) for x in material.inspected.values() if x.problem and x.odd]
    if broken:
        yield Finding(
            "error",
            "unreadable",
            f"{_count(broken)} cannot be read.",
            "Remove them, or get them again; a training passes over them and takes other samples instead.",
            tuple(broken),
        )
    if odd:
        yield Finding(
            "error",
            "odd-width",
            f"{_count(odd)} cannot be cut into two halves of one size.",
            "Side-by-side files need an even width.",
            tuple(odd),
        )


def _not_taken(material: Material) -> Iterator[Finding]:
    groups: dict[str, dict[Path, None]] = defaultdict(dict)
    for records in material.found:
        for kind, paths in records.not_read.items():
            groups[kind] |= dict.fromkeys(paths)
    paired = material.config.paired is not None
    for kind, files in groups.items():
        yield Finding(
            "error" if paired and material.config.unmatched == "error" else "warning",
            "not-read",
            f"{len(files)} file{' is' if len(files) == 1 else 's are'} {kind}, which is not read.",
            f"Convert them to PNG, TIFF or JPEG; they{' and their partners' if paired else ''} are left out.",
            tuple(Case((path,)) for path in files),
        )
    for note in dict.fromkeys(note for records in material.found for note in records.passed):
        yield Finding("warning", "passed-over", note)


def _partners(material: Material) -> Iterator[Finding]:
    config = material.config
    alone = {path: records.lacks.get(path, "partner") for records in material.found for path in records.alone}
    if alone:
        skipped = config.unmatched == "skip"
        yield Finding(
            "warning" if skipped else "error",
            "no-partner",
            f"{_count(alone)} without {_lacking(alone)}.",
            "They are left out."
            if skipped
            else "Add what is missing, or leave them out with unmatched: skip.",
            tuple(Case((path,), f"has no {alone[path]}") for path in alone),
        )


def _lacking(alone: Mapping[Path, str]) -> str:
    """Returns what files have not that are alone."""
    partner = {"partner": "a partner of the same name"}
    return " or ".join(dict.fromkeys(partner.get(what, f"a {what}") for what in alone.values()))


def _spare(material: Material) -> Iterator[Finding]:
    """Files and rows of further fields that no part of the data takes."""
    for place in dict.fromkeys(place for records in material.found for place in records.spare):
        taken = [set(records.spare[place]) for records in material.found if place in records.spare]
        names = [name for name in min(taken, key=len) if all(name in other for other in taken)]
        names = [name for name in material.found[0].spare.get(place, ()) if name in names] or sorted(names)
        if names:
            what = _plural(len(names), "row" if place.is_file() else "file")
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


def _partner_sizes(material: Material) -> Iterator[Finding]:
    if material.scale is not None:
        yield from _scaled_partners(material, material.scale)
        return
    wrong: list[Case] = []
    resized = material.config.load_size is not None  # both, so that proportions are all that matters
    for a, b in material.pairs():
        one, other = ((stats.height, stats.width) for stats in (a.stats, b.stats))
        if one != other and not (resized and one_view(one, other)):
            wrong.append(Case((a.path, b.path), f"{_size(a.stats)} and {_size(b.stats)}"))
    if wrong:
        yield Finding(
            "warning" if resized else "error",
            "partner-size",
            f"{_count(wrong, 'pair')} of different "
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
            wrong.append(Case((low.path, high.path), f"{_size(low.stats)} and {_size(high.stats)}"))
    if wrong:
        yield Finding(
            "error",
            "partner-size",
            f"{_count(wrong, 'pair')} with a target not {scale} times as large as its source.",
            "Cut targets to multiples of the scale before they are made small, or set method.scale.",
            tuple(wrong),
        )


def _same_twice(material: Material) -> Iterator[Finding]:
    same = [Case((a.path, b.path)) for a, b in material.pairs() if a.stats.digest == b.stats.digest]
    if same:
        yield Finding(
            "error",
            "same-picture",
            f"{_count(same, 'pair')} with the same picture as source and as target.",
            "There is nothing to learn from them; are the folders the right ones?",
            tuple(same),
        )


def _flat(material: Material) -> Iterator[Finding]:
    flat = []
    for s in material.sides:
        contrast, least = s.stats.contrast, FLAT
        if isinstance(material.fields[s.field], Labels):
            continue  # there are maps of one class
        if material.holds_names(s.role):
            least = 0.0  # names may be neighbours
        else:
            numbers = material.numbers(s.role) or suggested(material.extents(s.role))
            if numbers is not None:
                contrast *= s.stats.extent.white / (numbers.high - numbers.low)
        if (contrast < least or contrast == 0) and not (
            s.stats.alpha and _wanted(material, s.role) in (2, 4)
        ):
            detail = f"standard deviation {contrast * 255:.2f} of 255"
            flat.append(Case((s.path,), f"{_half(material, s)}{detail}"))
    if flat:
        many = len(flat) > _MANY_FLAT * len(material.sides)
        yield Finding(
            "error" if many else "warning",
            "constant",
            f"{len(flat)} of {_count(material.sides, 'picture')} with (almost) one colour only.",
            "Remove them; a network learns from them to paint nothing.",
            tuple(flat),
        )


def _channels(material: Material) -> Iterator[Finding]:
    for role in dict.fromkeys(side.role for side in material.sides):
        sides = [side for side in material.sides if side.role == role]
        wanted = _wanted(material, role)
        counts = Counter(side.stats.channels for side in sides)
        goal = wanted or max(counts, default=0)
        lost = [
            s
            for s in sides
            if s.stats.channels not in (1, goal) and (s.stats.channels, goal) not in ((3, 1), (3, 2), (3, 4))
        ]
        if lost:
            yield Finding(
                "error",
                "channels",
                f"{len(lost)} pictures of {role} cannot be brought to {goal} channels.",
                "Grey becomes any number of channels and colour becomes grey; nothing else is converted.",
                tuple(Case((s.path,), _plural(s.stats.channels, "channel")) for s in lost),
            )
        rare = [s for s in sides if s.stats.channels != counts.most_common(1)[0][0] and s not in lost]
        if rare:
            mixed = " and ".join(f"{count} with {channels}" for channels, count in counts.most_common())
            yield Finding(
                "warning",
                "channels",
                f"the pictures of {role} differ in their channels: {mixed}.",
                f"All are brought to {goal}.",
                tuple(Case((s.path,), _plural(s.stats.channels, "channel")) for s in rare),
            )
        depths = Counter(side.stats.depth for side in sides)
        if len(depths) > 1:
            common = depths.most_common(1)[0][0]
            yield Finding(
                "warning",
                "depth",
                f"the pictures of {role} differ in their depth: "
                + " and ".join(f"{count} of {depth}" for depth, count in depths.most_common())
                + ".",
                "No value changes its meaning, but check that 16-bit files are not 12-bit ones in disguise.",
                tuple(Case((s.path,), s.stats.depth) for s in sides if s.stats.depth != common),
            )
        clear = [s for s in sides if s.stats.alpha and wanted not in (2, 4)]
        if clear:
            key = "source_channels" if role == material.source else "target_channels"
            kept = 2 if goal == 1 else 4
            yield Finding(
                "warning",
                "transparent",
                f"{len(clear)} pictures of {role} are transparent in places.",
                f"They are laid over white; {kept} channels keep alpha ({key}={kept}).",
                tuple(Case((s.path,)) for s in clear),
            )


def _spaces(material: Material) -> Iterator[Finding]:
    """Colours that training converts, as label maps are never."""
    other = [side for side in material.sides if side.stats.space and not material.holds_names(side.role)]
    if other:
        yield Finding(
            "warning",
            "colour-space",
            f"{len(other)} of {_count(material.sides, 'picture')} with colours that are not in sRGB.",
            "They are converted to it for training, as they are for the model that it makes.",
            tuple(Case((s.path,), f"{_half(material, s)}{s.stats.space}") for s in other),
        )


def _wanted(material: Material, role: str) -> int | None:
    """Returns the channels that the configuration asks for, or None where it leaves that to the files."""
    config = material.config
    return config.source_channels if role == material.source else config.target_channels


def _sizes(material: Material) -> Iterator[Finding]:
    config = material.config
    if material.scale is not None:
        yield from _patches(material, material.scale)
        return
    mismatch = config.mismatch(material.fields, material.any_size)
    if mismatch is not None:
        yield Finding("warning", "jitter", mismatch)
    if config.load_size is None and config.crop_size is not None:
        small = [
            s
            for s in material.sides
            if s.stats.height < config.crop_size[0] or s.stats.width < config.crop_size[1]
        ]
        text, goal = "smaller than crop_size", config.crop_size
    elif config.load_size is not None:
        height, width = config.load_size
        keep = config.fit == "keep"
        enough = any if keep else all  # what has its proportions is enlarged as much as its smaller part
        small = [
            s
            for s in material.sides
            if enough(
                2 * own < side
                for own, side in zip((s.stats.height, s.stats.width), (height, width), strict=True)
            )
        ]
        text, goal = "less than half as large as load_size", config.load_size
        bent = []
        for side in material.sides:
            factor = (side.stats.width / side.stats.height) / (width / height)
            if not keep and not 1 / _DISTORTED <= factor <= _DISTORTED:
                bent.append(Case((side.path,), f"{_half(material, side)}{_size(side.stats)}"))
        if bent:
            yield Finding(
                "warning",
                "proportions",
                f"{len(bent)} of {len(material.sides)} pictures are squeezed a lot to {width} x {height}.",
                "fit: keep learns from sections in their proportions; or cut them to one shape before.",
                tuple(bent),
            )
    else:
        return
    if small:
        yield Finding(
            "warning",
            "small",
            f"{len(small)} of {len(material.sides)} pictures are {text} ({goal[1]} x {goal[0]}).",
            "They are enlarged, and the network learns their blur.",
            tuple(Case((s.path,), f"{_half(material, s)}{_size(s.stats)}") for s in small),
        )


def _patches(material: Material, scale: int) -> Iterator[Finding]:
    crop = material.config.crop_size
    if crop is None:
        return
    only = material.source if material.config.images is None else None  # patches are cut from its target
    sides = [side for side in material.sides if side.role != only]
    small = [s for s in sides if s.stats.height < crop[0] or s.stats.width < crop[1]]
    if small:
        yield Finding(
            "error",
            "small",
            f"{len(small)} of {len(sides)} pictures are smaller than the patches of {crop[1]} x {crop[0]} "
            "that are cut from them.",
            "Remove them or set a smaller crop_size.",
            tuple(Case((s.path,), _size(s.stats)) for s in small),
        )
    if any(side % scale for side in crop):
        yield Finding(
            "error",
            "crop-size",
            f"crop_size {crop[1]} x {crop[0]} is not a multiple of the scale {scale}.",
            "Both sides must be.",
        )


def _duplicates(material: Material) -> Iterator[Finding]:
    """Equal pictures, and across the parts also near duplicates; of pairs the whole pair counts."""
    groups: dict[object, dict[Path, tuple[str, str]]] = defaultdict(dict)
    keys: dict[int, list[Side]] = defaultdict(list)
    for side in material.sides:
        keys[id(side.record)].append(side)
    for sides in keys.values():
        digest = tuple(side.stats.digest for side in sides)
        groups[digest][sides[0].path] = (sides[0].part, sides[0].role)
    copies = [group for group in groups.values() if len(group) > 1]
    leaks = [group for group in copies if len({part for part, _ in group.values()}) > 1]
    within = [group for group in copies if group not in leaks]
    if leaks:
        yield Finding(
            "error",
            "leak",
            f"{_count(leaks, 'sample')} found both in the training set and in the held-out part.",
            "What is measured on them means nothing; remove one of the two.",
            tuple(Case(tuple(group), "the same picture") for group in leaks),
        )
    if within:
        yield Finding(
            "warning",
            "duplicate",
            f"{_count(within, 'picture')} found more than once.",
            "They count as often as they are there; remove the copies.",
            tuple(Case(tuple(group), "the same picture") for group in within),
        )
    known = {frozenset(group) for group in leaks}
    found: dict[Path, tuple[float, Path]] = {}
    for role in dict.fromkeys(side.role for side in material.sides):
        sides = [side for side in material.sides if side.role == role]
        train, rest = ([s for s in sides if (s.part == "train") is wanted] for wanted in (True, False))
        for i, j, likeness in near_duplicates([s.stats for s in train], [s.stats for s in rest], LIKENESS):
            one, other = train[i].path, rest[j].path
            if not any({one, other} <= group for group in known):
                found[other] = max((likeness, one), found.get(other, (0.0, one)))
    if found:
        yield Finding(
            "warning",
            "near-duplicate",
            f"{_count(found, 'picture')} of the held-out part can hardly be told from training pictures.",
            "Copies in another size, crop or quality make measurements too good; look at them on a sheet.",
            tuple(
                Case((held_out, twin), f"correlation {value:.3f}")
                for held_out, (value, twin) in sorted(found.items(), key=lambda item: -item[1][0])
            ),
        )


def _labels(material: Material) -> Iterator[Finding]:
    config = material.config
    labels = config.labels(material.fields)
    sources = [side for side in material.sides if side.field in labels]
    if not sources:
        return
    if config.palette is not None:
        foreign = [s for s in sources if s.stats.foreign > 0]
        numbered = is_numbered(config.palette)
        if foreign:
            yield Finding(
                "error" if numbered or any(s.stats.foreign > 0.01 for s in foreign) else "warning",
                "foreign-colours",
                f"{len(foreign)} of {len(sources)} label maps have colours that the palette lacks.",
                "They hold numbers of no class, and are left out. Set these to a class, or give data.palette "
                "all numbers that there are."
                if numbered
                else "Such pixels count as the nearest colour. Store label maps as PNG, never as JPEG, and "
                "resize them with nearest neighbour.",
                tuple(
                    Case((s.path,), f"{s.stats.foreign:.1%} of the pixels")
                    for s in sorted(foreign, key=lambda s: -s.stats.foreign)
                ),
            )
        return
    one_hot = config.source_labels != "nearest"
    many = [s for s in sources if len(s.stats.colours) > MOST]
    together: set[int] = set()
    for side in sources if one_hot else ():
        together.update(side.stats.colours.tolist())
    if many or len(together) > MOST:
        worst = many or sorted(sources, key=lambda s: -len(s.stats.colours))
        which = f"{len(many)} of {len(sources)} label maps" if many else "the label maps together"
        yield Finding(
            "error" if one_hot else "warning",
            "many-colours",
            f"{which} have more than {MOST} colours.",
            "They were probably stored as JPEG, which blurs colours into one another; give the true ones as "
            f"data.palette{' with source_labels: one_hot' * (config.source_labels != 'none')}.",
            tuple(Case((s.path,), f"{_half(material, s)}{_colours(s.stats)}") for s in worst),
        )


def _few(material: Material) -> Iterator[Finding]:
    several = len(groups(material.fields)) > 1
    for role in [material.roles[group[0]] for group in groups(material.fields)] if several else ["A"]:
        usable = (*material.sides, *material.maps)
        count = len({id(s.record) for s in usable if s.part == "train" and s.role == role})
        if count < FEW:
            of_role = f" of {role}" if several else ""
            yield Finding(
                "warning" if count else "error",
                "few",
                f"the training set has {_plural(count, 'usable sample')}{of_role}.",
                "That is enough to try things out; for a model that others use take hundreds."
                if count
                else "Repair what is named above, or give other pictures.",
            )
    held_out = any(part != "train" for part, _ in material.samples)
    if not held_out and material.config.split_fraction(material.fields) > 0:
        yield Finding("warning", "nothing-held-out", "nothing is held out to measure on.", "")


CHECKS: tuple[Callable[[Material], Iterable[Finding]], ...] = (
    _unusable,
    _not_taken,
    _partners,
    _spare,
    _partner_sizes,
    _same_twice,
    no_numbers,
    ranges,
    beyond,
    _flat,
    _channels,
    _spaces,
    _sizes,
    _labels,
    maps,
    vectors,
    _duplicates,
    _few,
)


def _colours(stats: ImageStats) -> str:
    return f"more than {MOST} colours" if len(stats.colours) > MOST else _plural(len(stats.colours), "colour")


def _size(stats: ImageStats) -> str:
    return f"{stats.width} x {stats.height}"


def _count(cases: Sized, noun: str = "file") -> str:
    return _plural(len(cases), noun)
