"""`img2img evaluate --protocol sets`: pictures without partners."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from img2img.cli.render import ProgressBar, ProgressStyle, print_table, quiet_libraries
from img2img.cli.scores import conclude, failures, require_places, say_problems, say_remarks, store
from img2img.errors import display_path

if TYPE_CHECKING:
    from img2img.evaluation.sets import SetEvaluation

_DECIMALS = {"fid": 3, "kid": 5, "is": 3, "precision": 4, "recall": 4, "fd": 4, "kd": 5}


def compare_sets(
    targets: Sequence[Path],
    models: Sequence[str],
    preds: Sequence[Path],
    inputs: Path | None,
    numbers: Sequence[str],
    require: Sequence[str],
    options: Mapping[str, Any],
    how: Mapping[str, Any],
    ends: Mapping[str, Path | None],
    progress: ProgressStyle,
) -> int:
    """Measures models and folders against targets, says what was found, and returns the exit code.

    Args:
        targets: Folders, or files with statistics.
        models, preds: What is measured.
        inputs: Of the models.
        numbers: Which ones; none means FID, KID, precision and recall.
        require: Conditions.
        options: Of the library.
        how: `features`, their `weights`, `allow_download`.
        ends: `json_file`, `csv_file`, and where the `statistics` of the targets are written.
        progress: How it is shown.
    """
    from img2img.evaluation import evaluate_sets
    from img2img.evaluation.requirement import Requirement
    from img2img.evaluation.run import candidates
    from img2img.evaluation.sets import NUMBERS
    from img2img.metrics.features import open_extractor
    from img2img.metrics.sets import called

    stdout = [path for path in ends.values() if path is not None and str(path) == "-"]
    require_places([path for path in ends.values() if path is not None and path not in stdout])
    if ends["statistics"] is not None and (len(targets) > 1 or ends["statistics"].suffix.lower() != ".npz"):
        raise click.UsageError("--save-statistics writes those of one target, to a name that ends in .npz.")
    wanted = tuple(numbers) or NUMBERS[:4]
    extractor = open_extractor(how["features"], how["weights"], how["allow_download"])
    columns = [called(name, extractor.name) for name in wanted]
    conditions = [Requirement.parse(text, columns) for text in require]
    facts: list[dict[str, Any]] = []
    rows: list[list[Any]] = []
    table: list[list[str]] = []
    code = 0
    for target in targets:
        found: dict[str, SetEvaluation] = {}
        for name, model, pred in candidates(models, preds):
            side: dict[str, Any] = {"pred": pred} if model is None else {"model": model, "inputs": inputs}
            with quiet_libraries(), ProgressBar(_count(target, pred or inputs), "images", progress) as bar:
                each = evaluate_sets(
                    target,
                    **side,
                    numbers=wanted,
                    extractor=extractor,
                    on_picture=partial(bar.advance, failed=False),
                    **options,
                )
            found[name] = each
            say_problems(each.problems)
            facts.append({"target": display_path(target), "name": name, **each.to_json()})
            rows.append([display_path(target), name, *(each.values.get(c, "") for c in columns)])
            table.append([name, str(each.fake), *(_shown(each, c) for c in columns)])
            if progress != "none":
                say_remarks(each.notes)
        if ends["statistics"] is not None:
            each.statistics.save(ends["statistics"])
        if not stdout:
            count = f"{each.real} pictures" if each.real else "statistics"
            title = f"sets: {each.origin['network']}, against {count} in {display_path(target)}"
            print_table(title, ["", "pictures", *columns], table)
            table = []
        values = {name: one.values for name, one in found.items()}
        counts = {name: (len(one.problems), one.fake) for name, one in found.items()}
        code |= conclude(counts, failures(conditions, values, None if len(found) == 1 else ""))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([["target", "candidate", *columns], *rows])
    store(ends["json_file"], json.dumps(facts[0] if len(facts) == 1 else {"sets": facts}, indent=1) + "\n")
    store(ends["csv_file"], text.getvalue())
    return code


def _count(*places: str | os.PathLike[str] | None) -> int:
    """Returns how many pictures there are, for the bar."""
    from img2img.image import list_images

    folders = [Path(place) for place in places if place is not None and Path(place).is_dir()]
    return sum(len(list_images(folder).files) for folder in folders)


def _shown(found: SetEvaluation, column: str) -> str:
    if column not in found.values:
        return "-"
    decimals = _DECIMALS[column.partition("_")[0]]
    deviation = found.deviations.get(column)
    spread = "" if deviation is None else f" ± {deviation:.{decimals}f}"
    return f"{found.values[column]:.{decimals}f}{spread}"
