"""What can be wrong with data: one function for each kind of trouble."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from img2img.data.findings import Case, Finding, Material, Side, half, plural, size
from img2img.data.inspection import FLAT, near_duplicates
from img2img.data.map_checks import labels, maps, vectors
from img2img.data.partner_checks import partner_sizes, partners, same_twice, spare
from img2img.data.range_checks import beyond, no_numbers, ranges
from img2img.data.ranges import suggested
from img2img.fields import Labels, groups

# of thumbnails; measured: copies of other sizes and qualities correlate by 0.99, others below 0.97
LIKENESS = 0.98
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
            f"{plural(len(broken), 'file')} cannot be read.",
            "Remove them, or get them again; a training passes over them and takes other samples instead.",
            tuple(broken),
        )
    if odd:
        yield Finding(
            "error",
            "odd-width",
            f"{plural(len(odd), 'file')} cannot be cut into two halves of one size.",
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
            flat.append(Case((s.path,), f"{half(material, s)}{detail}"))
    if flat:
        many = len(flat) > _MANY_FLAT * len(material.sides)
        yield Finding(
            "error" if many else "warning",
            "constant",
            f"{len(flat)} of {plural(len(material.sides), 'picture')} with (almost) one colour only.",
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
                tuple(Case((s.path,), plural(s.stats.channels, "channel")) for s in lost),
            )
        rare = [s for s in sides if s.stats.channels != counts.most_common(1)[0][0] and s not in lost]
        if rare:
            mixed = " and ".join(f"{count} with {channels}" for channels, count in counts.most_common())
            yield Finding(
                "warning",
                "channels",
                f"the pictures of {role} differ in their channels: {mixed}.",
                f"All are brought to {goal}.",
                tuple(Case((s.path,), plural(s.stats.channels, "channel")) for s in rare),
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
            f"{len(other)} of {plural(len(material.sides), 'picture')} with colours that are not in sRGB.",
            "They are converted to it for training, as they are for the model that it makes.",
            tuple(Case((s.path,), f"{half(material, s)}{s.stats.space}") for s in other),
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
                bent.append(Case((side.path,), f"{half(material, side)}{size(side.stats)}"))
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
            tuple(Case((s.path,), f"{half(material, s)}{size(s.stats)}") for s in small),
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
            tuple(Case((s.path,), size(s.stats)) for s in small),
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
            f"{plural(len(leaks), 'sample')} found both in the training set and in the held-out part.",
            "What is measured on them means nothing; remove one of the two.",
            tuple(Case(tuple(group), "the same picture") for group in leaks),
        )
    if within:
        yield Finding(
            "warning",
            "duplicate",
            f"{plural(len(within), 'picture')} found more than once.",
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
            f"{plural(len(found), 'picture')} of the held-out part can hardly be told from training "
            "pictures.",
            "Copies in another size, crop or quality make measurements too good; look at them on a sheet.",
            tuple(
                Case((held_out, twin), f"correlation {value:.3f}")
                for held_out, (value, twin) in sorted(found.items(), key=lambda item: -item[1][0])
            ),
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
                f"the training set has {plural(count, 'usable sample')}{of_role}.",
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
    partners,
    spare,
    partner_sizes,
    same_twice,
    no_numbers,
    ranges,
    beyond,
    _flat,
    _channels,
    _spaces,
    _sizes,
    labels,
    maps,
    vectors,
    _duplicates,
    _few,
)
