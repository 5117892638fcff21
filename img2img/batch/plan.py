"""The plan: which file becomes which, decided and checked before any work."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from img2img.batch.companions import Companion, Companions, Place
from img2img.batch.inputs import existing, file_problem, sources, taker
from img2img.batch.outputs import OutputFolder, check_outputs
from img2img.batch.work import DEFAULT_RULES, FORMATS, Item, Plan, Rules, Unreadable
from img2img.errors import PlanError, display_path
from img2img.fields import Fields
from img2img.image import READABLE, WRITABLE, Passed
from img2img.remote import is_remote, place
from img2img.video import ANIMATIONS, AS_USUAL, CONTAINERS, VIDEOS
from img2img.video.sequence import is_pattern, numbered
from img2img.video.sequence import place as place_of

_LONGEST_NAME = 255  # bytes, of nearly every file system
_ALONE: Mapping[str, Companion] = MappingProxyType({})
_NOT_KNOWN: Fields = MappingProxyType({})
_ONCE: Mapping[str, Mapping[str, Companion]] = MappingProxyType({"": {}})
_NO_VIDEOS = "videos are read and stored in folders of this machine, not in stores; copy it to one first"
_NO_RATE = "`fps` is for image sequences (frame_%04d.png) that become videos; these keep their times."


def plan(
    inputs: Sequence[Path],
    output: Path,
    rules: Rules = DEFAULT_RULES,
    companions: Mapping[str, Place] = _ALONE,
    fields: Fields = _NOT_KNOWN,
    variants: Mapping[str, Mapping[str, Companion]] = _ONCE,
) -> Plan:
    """Lists the work and refuses what cannot end well. Reads folders, opens no file, writes nothing.

    The content of one input folder goes directly under `output` with its tree; several input folders keep
    their names there; files named singly go there by their name. `output` is a file when there is exactly
    one input, a file, and `output` has the extension of an image and is not a folder; its name is then taken
    as it is, without suffix. Inside folders, files are chosen by their extension; a file that is named
    singly may have any.

    Args:
        inputs: Files and folders, in any mix.
        output: A folder, which need not exist, or a file.
        rules: Names, filters and shard.
        companions: What each file is processed with beside itself: a folder with a file of the same relative
            name for each, one file for all, a table, or numbers for all. A file that lacks one fails by
            itself, unless several files lack it and no other one is there.
        fields: What the companions are, where that is known (see `fields_of`): then what is of another kind
            is refused here, and the numbers of tables are taken by their names.
        variants: What is made of each file, by what the name of its output ends in: what else it is processed
            with. All files come in the first variant before any comes in the next.

    Raises:
        PlanError: An input or a place of companions does not exist, companions are of another kind or those
            of other files, outputs collide with each other or with an input, or the output lies inside an
            input folder. Nothing was written.
    """
    output = place(output)
    sequences = [path for path in inputs if is_pattern(path)]
    if len(inputs) == 1 and (sequences or (is_pattern(output) and not _is_picture(inputs[0], rules))):
        return _plan_numbered(place(inputs[0]), output, rules, companions, fields, variants)
    if sequences or (len(inputs) > 1 and is_pattern(output)):
        name = display_path(sequences[0] if sequences else output)
        raise PlanError(f"{name} stands for an image sequence, which is converted alone; give one input.")
    if rules.video is not None and rules.video.fps is not None:
        raise PlanError(_NO_RATE)
    inputs = existing([place(path) for path in inputs])
    folders = [path for path in inputs if path.is_dir()]
    if len(inputs) == 1 and not folders and _is_named_like_image(output) and not output.is_dir():
        return _plan_single(inputs[0], output, rules, companions, fields, variants)
    _check_output_folder(output)
    company = Companions(companions, rules.follow_symlinks, rules.hidden, fields)
    places = OutputFolder(output, [*folders, *company.folders])

    items: list[Item] = []
    unreadable: list[tuple[str, Unreadable]] = []
    targets: dict[str, Path] = {}
    refused = left_out = 0
    alone: list[str] = []
    takes = taker(rules.include, rules.exclude)
    passed = Passed()
    links = []
    is_companion = company.among(folders)
    clips = VIDEOS if rules.video is not None else ()
    for source in sources(inputs, takes, rules.recursive, rules.follow_symlinks, rules.hidden, passed, clips):
        if source is None:
            refused += 1
        elif companions and is_companion(source.path):
            left_out += 1
        elif source.problem is not None:
            unreadable.append((source.relative, Unreadable(source.path, source.problem)))
        else:
            folder, _, name = source.relative.rpartition("/")
            if folder not in targets:
                targets[folder] = output / folder
            clip = rules.takes_clip(source.path)
            names = [rules.output_name(name, rules.suffix + end, clip) for end in variants]
            longest = max(names, key=len)
            if len(longest) * 4 > _LONGEST_NAME and len(os.fsencode(longest)) > _LONGEST_NAME:
                reason = f"the name of its result is too long: {display_path(longest)}"
                unreadable.append((source.relative, Unreadable(source.path, reason)))
                continue
            if clip and is_remote(output, source.path):
                unreadable.append((source.relative, Unreadable(source.path, _NO_VIDEOS)))
                continue
            try:
                own = company.of(source.path, source.relative) if companions else _ALONE
            except PlanError as error:
                if company.is_named(source.path):
                    left_out += 1
                else:
                    alone.append(source.relative)
                    unreadable.append((source.relative, Unreadable(source.path, str(error))))
                continue
            for stored, more in zip(names, variants.values(), strict=True):
                everything = {**own, **more} if more else own
                target = targets[folder] / stored
                items.append(Item(source.path, target, source.relative, everything, clip))
            if source.link:
                links.append(source.path)

    if len(alone) > 1 and not items:
        company.require_met(alone)
    items = [item for start in range(len(variants)) for item in items[start :: len(variants)]]
    if len(inputs) > 1:  # a file may be named and lie in a folder that is named as well
        items = list({(item.source.absolute(), item.output): item for item in items}.values())
    if rules.follow_symlinks:
        places.check_sources(item.source for item in items)
    pairs = [(item.source, item.output) for item in items]
    taken = check_outputs(pairs, places, links, [*company.files, *company.tables])
    notes, reason = passed.notes(), _why_nothing(inputs, refused, rules, passed)
    if left_out:
        files = "1 file is no input, but" if left_out == 1 else f"{left_out} files are no inputs, but"
        reason = f"Passed over: {files} what the others are processed with."
        notes = [*notes, reason]
    named = _names(companions, variants)
    return _planned(items, unreadable, output, rules, company, named, taken, reason, notes)


def plan_files(
    root: Path,
    files: Sequence[tuple[str, str, Mapping[str, Companion]]],
    output: Path,
    inside: bool = False,
    rules: Rules = DEFAULT_RULES,
    companions: Mapping[str, Place] = _ALONE,
    fields: Fields = _NOT_KNOWN,
) -> Plan:
    """Lists the work on files that are known already; otherwise as `plan`.

    Args:
        root: The folder that they lie in.
        files: The place of each below it, written with "/"; the suffix of its output; and what else it is
            processed with. One may be there several times, with different suffixes.
        output: A folder.
        inside: Whether it may lie in `root`, as it may where `files` are not what was found there.
        rules: The extension of outputs counts, and which files the patterns take.
        companions, fields: As of `plan`; of what `files` themselves have, nothing is looked for.

    Raises:
        PlanError: See `plan`.
    """
    _check_output_folder(output)
    company = Companions(companions, rules.follow_symlinks, rules.hidden, fields)
    places = OutputFolder(output, [*([] if inside else [root]), *company.folders])
    takes = taker(rules.include, rules.exclude)
    items, unreadable = [], []
    names: set[str] = set(companions)
    for relative, suffix, more in files:
        if not takes(relative, False):
            continue
        folder, _, name = relative.rpartition("/")
        names |= more.keys()
        try:
            own = dict(company.of(root / relative, relative)) if companions else {}
        except PlanError as error:
            unreadable.append(Unreadable(root / relative, str(error)))
            continue
        clip = rules.takes_clip(root / relative)
        target = output / folder / rules.output_name(name, suffix, clip)
        items.append(Item(root / relative, target, relative, own | dict(more), clip))
    taken = check_outputs(
        [(item.source, item.output) for item in items], places, [], [*company.files, *company.tables]
    )
    left = [(broken.source.name, broken) for broken in unreadable]
    nothing = "no file matches what was asked for."
    return _planned(items, left, output, replace(rules, shard=None), company, tuple(names), taken, nothing)


def _names(
    companions: Mapping[str, Place], variants: Mapping[str, Mapping[str, Companion]]
) -> tuple[str, ...]:
    """Returns the names of the companions that every item has."""
    return (*companions, *dict.fromkeys(name for more in variants.values() for name in more))


def _planned(
    items: Sequence[Item],
    unreadable: Sequence[tuple[str, Unreadable]],
    root: Path | None,
    rules: Rules,
    company: Companions,
    names: tuple[str, ...],
    taken: frozenset[str],
    reason: str | None = None,
    notes: Sequence[str] = (),
) -> Plan:
    """Returns the part of the work that `rules` ask for.

    Args:
        items, unreadable: Those of all shards, the latter with what tells their shard.
        root, taken: As of `Plan`.
        rules: Of the plan.
        company: What the files are processed with.
        names: The names of that.
        reason: Why nothing matched, if nothing did.
        notes: As of `Plan`, beside those of `company`.
    """
    shard = rules.shard
    return Plan(
        items=tuple(item for item in items if shard is None or shard.holds(item.relative)),
        root=root,
        unreadable=tuple(broken for name, broken in unreadable if shard is None or shard.holds(name)),
        reason=None if items or unreadable else reason,
        total=len(items),
        shard=shard,
        taken=taken,
        notes=(*company.notes, *notes),
        conditions=names,
        shared=frozenset(company.files),
        video=rules.video or AS_USUAL,
    )


def _plan_numbered(
    source: Path,
    output: Path,
    rules: Rules,
    companions: Mapping[str, Place],
    fields: Fields,
    variants: Mapping[str, Mapping[str, Companion]],
) -> Plan:
    """An image sequence to a video, to another sequence or into a folder; or a video to a sequence."""
    extension = output.suffix.lower()
    many = is_pattern(output)
    stores_clip = extension in (*CONTAINERS, *(ANIMATIONS if _moves(rules) else ())) and not many
    if rules.video is not None and rules.video.fps is not None and not stores_clip:
        raise PlanError(_NO_RATE)
    if is_remote(output, source):
        raise PlanError("image sequences are read and stored on this machine, not in stores; copy it first.")
    if many and extension not in WRITABLE:
        raise PlanError(f"{extension} is not a format that img2img writes; these are: {FORMATS}.")
    if not is_pattern(source):  # one video, whose frames become pictures
        if source.is_dir() or not rules.takes_clip(*existing([source])):
            raise PlanError(
                f"{display_path(output)} stands for the frames of a video, and {display_path(source)} is no "
                "video."
            )
    elif not stores_clip:
        start, stop = rules.video.frames if rules.video is not None else (0, None)
        chosen = numbered(source)[start:stop]
        if not chosen:
            raise PlanError(f"{display_path(source)} has no pictures from {start} on.")
        if rules.video is not None and rules.video.smooth:
            raise PlanError("`smooth` is for videos; name one as the output, and take its frames then.")
        if not many and extension in (*ANIMATIONS, *CONTAINERS) and not output.is_dir():
            raise PlanError(
                f"{display_path(output)} is named like one file, and the pictures of the sequence need a "
                "folder, a pattern or a video; animations are written with `animated`."
            )
        if not many:
            return plan([path for _, path in chosen], output, rules, companions, fields, variants)
        return _one_by_one(
            [(path, place_of(output, number)) for number, path in chosen],
            output.parent,
            rules,
            companions,
            fields,
            variants,
        )
    elif rules.video is None:
        raise PlanError("this works on pictures alone; name a folder or a pattern for those of the sequence.")
    else:
        numbered(source)  # there are some
    root = output.parent if many else None
    return _one_by_one([(source, output)], root, rules, companions, fields, variants, clip=True)


def _one_by_one(
    pairs: Sequence[tuple[Path, Path]],
    root: Path | None,
    rules: Rules,
    companions: Mapping[str, Place],
    fields: Fields,
    variants: Mapping[str, Mapping[str, Companion]],
    clip: bool = False,
) -> Plan:
    """Files, or one clip, to outputs with names that are given."""
    company = Companions(companions, rules.follow_symlinks, rules.hidden, fields)
    places = OutputFolder(pairs[0][1].parent, company.folders)
    files, unreadable = [], []
    for source, output in pairs:
        try:
            own = company.of(source, source.name)
        except PlanError as error:
            unreadable.append(Unreadable(source, str(error)))
            continue
        for end, more in variants.items():
            target = output.with_stem(output.stem + end)
            files.append(Item(source, target, source.name, {**own, **more}, clip))
    outputs = [(item.source, item.output) for item in files]
    outputs += [(source, path) for source, output in outputs for path in _standing_for(output)]
    read = [path for source, _ in pairs for path in _standing_for(source)]
    taken = check_outputs(outputs, places, [], [*company.files, *company.tables, *read])
    left = [(broken.source.name, broken) for broken in unreadable]
    return _planned(files, left, root, rules, company, _names(companions, variants), taken)


def _standing_for(path: Path) -> list[Path]:
    """Returns the files that are there of those that a pattern stands for; none where it is a name."""
    if not is_pattern(path):
        return []
    try:
        return [each for _, each in numbered(path)]
    except PlanError:
        return []


def _is_picture(source: Path, rules: Rules) -> bool:
    """Returns whether a file is no clip: its output may be called 50%done.png."""
    return os.path.isfile(source) and not rules.takes_clip(source)  # noqa: PTH113  whatever its name is


def _moves(rules: Rules) -> bool:
    return rules.video is not None and rules.video.animated


def _plan_single(
    source: Path,
    output: Path,
    rules: Rules,
    companions: Mapping[str, Place],
    fields: Fields,
    variants: Mapping[str, Mapping[str, Companion]],
) -> Plan:
    """One file to one file."""
    extension = output.suffix.lower()
    clip = rules.takes_clip(source)
    if not (clip and _moves(rules) and extension in ANIMATIONS) and clip != (extension in CONTAINERS):
        raise PlanError(_mixed(source, output, clip))
    if not clip and extension not in WRITABLE:
        raise PlanError(
            f"the output {display_path(output)} looks like a file, and {extension} is not a format that "
            f"img2img writes; these are: {FORMATS}. A folder of that name must exist before."
        )
    wanted = rules.extension_of(source.name, clip)
    if wanted not in (None, extension):
        raise PlanError(
            f"the output {display_path(output)} and the extension {wanted} contradict each other; "
            "give one of them."
        )
    company = Companions(companions, rules.follow_symlinks, rules.hidden, fields)
    places = OutputFolder(output.parent, company.folders)
    problem, own = file_problem(source), _ALONE
    if clip and is_remote(output, source):
        problem = _NO_VIDEOS
    try:
        own = company.of(source, source.name)
    except PlanError as error:
        problem = problem or str(error)
    files = [
        Item(source, output.with_stem(output.stem + end), source.name, {**own, **more}, clip)
        for end, more in variants.items()
    ]
    matches = taker(rules.include, rules.exclude)(source.name, False)
    items = files if matches and problem is None else []
    unreadable = [(source.name, Unreadable(source, problem))] if matches and problem is not None else []
    pairs = [(source, item.output) for item in files]
    taken = check_outputs(pairs, places, [source], [*company.files, *company.tables])
    nothing = _why_nothing([source], 1, rules, Passed())
    return _planned(items, unreadable, None, rules, company, _names(companions, variants), taken, nothing)


def _mixed(source: Path, output: Path, clip: bool) -> str:
    """Returns the sentence about a video that is to become a picture, or the other way round."""
    one, other = ("a video", "a picture") if clip else ("a picture", "a video")
    if output.suffix.lower() in ANIMATIONS and clip:
        other += "; animations are written with `animated`"
    return (
        f"{display_path(source)} is {one}, and the output {display_path(output)} is named like {other}; give "
        f"it the extension of {one}, or name a folder."
    )


def _is_named_like_image(path: Path) -> bool:
    return path.suffix.lower() in READABLE | WRITABLE | set(CONTAINERS)


def _check_output_folder(output: Path) -> None:
    nearest = next(path for path in (output, *output.parents) if path.exists())
    if nearest == output and not output.is_dir():
        raise PlanError(
            f"the output {display_path(output)} is a file; several inputs, or a folder, need a folder."
        )
    if not nearest.is_dir():
        raise PlanError(
            f"the output {display_path(output)} cannot be a folder: {display_path(nearest)} is a file. "
            "Choose another one."
        )
    if _is_named_like_image(output) and not output.is_dir():
        raise PlanError(
            f"the output {display_path(output)} is named like one picture, but the input is a folder or "
            "several files; name a folder (a folder of this name is used if it exists already)."
        )


def _why_nothing(inputs: Sequence[Path], refused: int, rules: Rules, passed: Passed) -> str:
    where = ", ".join(display_path(path) for path in inputs[:3]) + (" ..." if len(inputs) > 3 else "")
    if refused:
        patterns = " ".join(
            [f"`include` {p!r}" for p in rules.include] + [f"`exclude` {p!r}" for p in rules.exclude]
        )
        files = "1 file" if refused == 1 else f"{refused} files"
        return f"no image in {where} matches the patterns ({patterns}); they leave out {files}."
    return f"there is no image in {where}. {passed.reasons()}"
