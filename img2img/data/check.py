"""What would ruin a training, found before it starts, with the names of the files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable

from img2img.data.checks import CHECKS
from img2img.data.config import DataConfig, Kind
from img2img.data.findings import Case as Case
from img2img.data.findings import Checked, Finding, Material, Sample
from img2img.data.inspection import inspect_files
from img2img.data.records import HELD_OUT, Records, find_records
from img2img.errors import PlanError


def check(
    config: DataConfig,
    *,
    kind: Kind | None = None,
    scale: int = 1,
    jobs: int | None = None,
    begin: Callable[[int], None] = lambda files: None,
    advance: Callable[[bool], None] = lambda failed: None,
) -> Checked:
    """Opens every file that `config` names and returns what would ruin a training.

    Args:
        config: The data section of a configuration.
        kind: What the method needs; None takes what the data is.
        scale: How many times larger targets are than sources, for super-resolution.
        jobs: Threads; None takes one for each CPU.
        begin: Called with the number of files before the first is opened.
        advance: Called after each file with whether it cannot be used.
    """
    try:
        samples, found = _samples(config)
    except PlanError as error:
        return Checked((Finding("error", "layout", str(error)),))
    paths = list(dict.fromkeys(path for _, _, record in samples for path in record.files))
    labels = config.source_labels != "none"
    begin(len(paths))
    inspected = {}
    for result in inspect_files(
        paths, config.aligned is not None, labels, config.palette, jobs or os.cpu_count() or 1
    ):
        inspected[result.path] = result
        advance(result.problem is not None)
    material = Material(config, kind or config.kind, scale, samples, inspected, found)
    findings = [finding for find in CHECKS for finding in find(material)]
    findings.sort(key=lambda finding: finding.level)
    counts = Counter(part if role == "A" else f"{part} B" for part, role, _ in samples)
    return Checked(tuple(findings), len(inspected), tuple(counts.items()), found[0].origin)


def _samples(config: DataConfig) -> tuple[list[Sample], list[Records]]:
    """Returns the samples, and what they were found in; first what a training takes.

    Training knows one held-out part. Where there are more (val and test), the others are looked at as well.

    Raises:
        PlanError: See `find_records`.
    """
    records = find_records(config.model_copy(update={"unmatched": "skip"}))
    parts = [
        ("train", "A", records.train),
        ("validation", "A", records.validation),
        ("train", "B", records.train_b),
        ("validation", "B", records.validation_b),
    ]
    found = [records]
    known = {path for _, _, part in parts for record in part for path in record.files}
    given = config.paired or config.aligned or config.images or config.unpaired or ()
    key = next((key for key in ("paired", "aligned", "images", "unpaired") if getattr(config, key)), "")
    for name in HELD_OUT:
        folders = tuple(root / name for root in given)
        if not given or not all(folder.is_dir() for folder in folders):
            continue
        only = {key: folders, "unmatched": "skip", "validation": None, "validation_fraction": 0.0}
        more = find_records(config.model_copy(update=only))
        if not any(path in known for record in more.train for path in record.files):
            found.append(more)
            parts += [(name, "A", more.train), (name, "B", more.train_b)]
    return [(part, role, record) for part, role, some in parts for record in some], found
