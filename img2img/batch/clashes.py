"""Outputs that would meet another output or an input: all are found before any work."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

from img2img.batch.places import Places
from img2img.errors import PlanError, display_path

_PAIRS_SHOWN = 20

Pair = tuple[Path, Path]  # source, output


def check_outputs(pairs: Iterable[Pair], places: Places, links: Collection[Path]) -> frozenset[str]:
    """Returns the comparison keys of names in the output folder that are taken: outputs, folders, sources.

    Args:
        pairs: What becomes what.
        places: Where the outputs lie.
        links: The sources that may be symbolic links.

    Raises:
        PlanError: Two sources have one output, an output is another one's folder, an output is an input, or
            links lead it elsewhere. The pairs are in the message.
    """
    pairs = list(pairs)
    sources = _source_keys(pairs, places, links)
    outputs: dict[str, Pair] = {}
    folders: dict[str, Pair] = {}
    clashes: list[tuple[Pair, Pair]] = []
    for pair in pairs:
        output = pair[1]
        key, folder, exists = places.output_key(output)
        if key in sources:
            raise _is_a_source(output, sources[key])
        # unlike Path.is_symlink this raises nothing: a name may be too long to exist
        if exists and os.path.islink(output):  # noqa: PTH114
            target = places.key(output.resolve())
            if target in sources:
                raise _is_a_source(output, sources[target])
        if key in outputs:
            clashes.append((outputs[key], pair))
        outputs.setdefault(key, pair)
        while folder not in folders and len(folder) > len(places.root_key):
            folders[folder] = pair
            folder = folder.rpartition(os.sep)[0]
    clashes += [(outputs[key], folders[key]) for key in outputs.keys() & folders.keys()]
    if clashes:
        raise PlanError(_text(clashes))
    near = (key for key in sources if key.startswith(places.root_key + os.sep))
    return frozenset(near) | outputs.keys() | folders.keys()


def _source_keys(pairs: list[Pair], places: Places, links: Collection[Path]) -> dict[str, Path]:
    keys = {places.key(source): source for source, _ in pairs}
    for source in links:  # what a link leads to is an input as well
        keys.setdefault(places.key(source.resolve()), source)
    return keys


def _is_a_source(output: Path, source: Path) -> PlanError:
    return PlanError(
        f"the output {display_path(output)} would replace the input {display_path(source)}; inputs are never "
        "written. Choose another output folder, or a suffix."
    )


def _text(clashes: list[tuple[Pair, Pair]]) -> str:
    lines = []
    for (one, one_output), (other, other_output) in clashes[:_PAIRS_SHOWN]:
        both = " and ".join(dict.fromkeys((display_path(one_output), display_path(other_output))))
        lines.append(f"  {display_path(one)} and {display_path(other)} -> {both}")
    if len(clashes) > _PAIRS_SHOWN:
        lines.append(f"  ... and {len(clashes) - _PAIRS_SHOWN} more pairs")
    pairs = "1 pair of inputs" if len(clashes) == 1 else f"{len(clashes)} pairs of inputs"
    return (
        f"{pairs} would meet in one output (letter case and Unicode form do not keep names apart on every "
        "file system):\n"
        + "\n".join(lines)
        + "\nNothing was started. Rename one of each, exclude it, or keep "
        "the extensions as they are."
    )
