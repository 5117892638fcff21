"""What would ruin a training, found before it starts, with the names of the files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable

from img2img.data.checks import CHECKS
from img2img.data.compatibility import require_room
from img2img.data.config import DataConfig
from img2img.data.findings import Case as Case
from img2img.data.findings import Checked, Finding, Located, Material
from img2img.data.folders import HELD_OUT
from img2img.data.inspection import inspect_files
from img2img.data.labels import require_labels
from img2img.data.places import present
from img2img.data.record import Record, Records
from img2img.data.records import find_records
from img2img.errors import PlanError
from img2img.fields import Fields, Picture


def check(
    config: DataConfig,
    *,
    fields: Fields | None = None,
    any_size: bool = False,
    jobs: int | None = None,
    begin: Callable[[int], None] = lambda files: None,
    advance: Callable[[bool], None] = lambda failed: None,
) -> Checked:
    """Opens every file that `config` names and returns what would ruin a training.

    Args:
        config: The data section of a configuration.
        fields: What a sample holds, as the method says; None takes what the data alone say.
        any_size: Whether what is trained is used on pictures of any size.
        jobs: Threads; None takes one for each CPU.
        begin: Called with the number of files before the first is opened.
        advance: Called after each file with whether it cannot be used.
    """
    try:
        fields = present(config, fields)
        require_room(config, fields)
        samples, found = _samples(config, fields)
        for one in found:
            require_labels(fields, one)
    except PlanError as error:
        return Checked((Finding("error", "layout", str(error)),))
    paths = list(dict.fromkeys(path for _, record in samples for path in record.paths))
    kept = {name for name, one in fields.items() if one.exact and not isinstance(one, Picture)}
    exact = {path for _, record in samples for name, path in record.files.items() if name in kept}
    aligned = {record.aligned for _, record in samples if record.aligned is not None}
    labels = bool(config.labels(fields))
    begin(len(paths))
    inspected = {}
    for result in inspect_files(
        paths, aligned, labels, config.known_colours, jobs or os.cpu_count() or 1, exact
    ):
        inspected[result.path] = result
        advance(result.problem is not None)
    material = Material(config, fields, samples, inspected, found, any_size)
    findings = [finding for find in CHECKS for finding in find(material)]
    findings.sort(key=lambda finding: finding.level)
    counts = Counter(_name_of(part, record, material) for part, record in samples)
    return Checked(tuple(findings), len(inspected), tuple(counts.items()), found[0].origin)


def _name_of(part: str, record: Record, material: Material) -> str:
    """Returns what a part is called in the counts; of unpaired data B has its own."""
    roles = {material.roles[name] for name in (*record.files, *record.values)}
    return part if "A" in roles else f"{part} {min(roles, default='')}".rstrip()


def _samples(config: DataConfig, fields: Fields) -> tuple[list[Located], list[Records]]:
    """Returns the samples, and what they were found in; first what a training takes.

    Training knows one held-out part. Where there are more (val and test), the others are looked at as well.

    Raises:
        PlanError: See `find_records`.
    """
    records = find_records(config.model_copy(update={"unmatched": "skip"}), fields)
    parts = [
        (name, group)
        for groups in zip(records.train, records.validation or ((),) * len(records.train), strict=True)
        for name, group in zip(("train", "validation"), groups, strict=True)
    ]
    found = [records]
    known = {path for _, group in parts for record in group for path in record.paths}
    given = config.paired or config.aligned or config.images or config.unpaired or ()
    for name in HELD_OUT:
        folders = tuple(root / name for root in given)
        if not given or not all(folder.is_dir() for folder in folders):
            continue
        only = {config.form: folders, "unmatched": "skip", "validation": None, "validation_fraction": 0.0}
        try:
            more = find_records(config.model_copy(update=only), fields)
        except PlanError as error:  # no training takes it: a warning is enough
            found.append(Records((), passed=(str(error),)))
            continue
        if not any(path in known for record in more.train[0] for path in record.paths):
            found.append(more)
            parts += [(name, group) for group in more.train]
    return [(part, record) for part, group in parts for record in group], found
