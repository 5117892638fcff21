"""What `img2img evaluate` writes and prints."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from img2img.cli.render import print_table, say, say_error
from img2img.errors import UsageError, display_path

if TYPE_CHECKING:
    from img2img.evaluation import Contest, Evaluation, EvaluationProtocol, Problem
    from img2img.evaluation.comparison import Comparison
    from img2img.evaluation.contest import Difference
    from img2img.evaluation.requirement import Requirement
    from img2img.evaluation.resampling import Interval

MAX_SHOWN = 20  # of problems and notes; --json has them all
_P_DIGITS = 4


def require_places(outputs: Sequence[Path]) -> None:
    """Checks before hours of work that results can be written.

    Raises:
        UsageError: A folder does not exist or cannot be written, or the name is that of a folder.
    """
    from img2img.files import part_beside

    for path in outputs:
        if not path.parent.is_dir():
            raise UsageError(f"{display_path(path)}: the folder for it does not exist.")
        if path.is_dir():
            raise UsageError(f"{display_path(path)} is a folder; name a file.")
        if _is_stream(path):
            continue
        probe = part_beside(path)
        try:
            os.lstat(path)  # a name may be too long
        except FileNotFoundError:
            pass
        except OSError as error:
            raise UsageError(f"{display_path(path)} cannot be written: {error.strerror or error}.") from error
        try:
            probe.touch(exist_ok=False)
            probe.unlink()
        except OSError as error:
            raise UsageError(f"{display_path(path)} cannot be written: {error.strerror or error}.") from error


def _is_stream(path: Path) -> bool:
    """Returns whether `path` is a device or pipe, which is written to as it is."""
    return path.exists() and not path.is_file()


def require_others(outputs: Sequence[Path], work: Comparison) -> None:
    """Checks that no picture is in the place of a result.

    Raises:
        UsageError: One is.
    """
    pictures = {file.path.resolve() for pair in work.pairs for file in pair if file is not None}
    for path in outputs:
        if path.resolve() in pictures:
            raise UsageError(
                f"{display_path(path)} is one of the pictures that are compared; choose another."
            )


def say_problem(problem: Problem) -> None:
    """Prints what could not be measured, and why."""
    say(f"failed  {display_path(problem.path)}: {problem.reason}", "red")


def say_problems(problems: Sequence[Problem]) -> None:
    """Prints the first of them, and how many more there are."""
    for problem in problems[:MAX_SHOWN]:
        say_problem(problem)
    if len(problems) > MAX_SHOWN:
        say(f"... and {len(problems) - MAX_SHOWN} more; --json FILE lists all.", "red")


def say_remarks(remarks: Sequence[str]) -> None:
    """Prints the first of them, and how many more there are."""
    for remark in remarks[:MAX_SHOWN]:
        say(remark)
    if len(remarks) > MAX_SHOWN:
        say(f"... and {len(remarks) - MAX_SHOWN} more notes; --json FILE lists all.")


def write(
    found: Mapping[str, Mapping[str, Evaluation]], facts: Any, json_file: Path | None, csv_file: Path | None
) -> None:
    """Writes what was asked for.

    Args:
        found: What was measured, by target and by model or folder.
        facts: The same for JSON.
        json_file, csv_file: Where to; "-" is stdout, None nowhere.
    """
    store(json_file, json.dumps(facts, indent=1) + "\n")
    store(csv_file, _csv(found))


def store(path: Path | None, text: str) -> None:
    """Writes a text to a file, to stdout for "-", and nowhere for None."""
    from img2img.files import write_bytes

    if path is None:
        return
    data = text.encode("utf-8", "surrogateescape")
    if str(path) == "-":
        click.echo(data, nl=False)
    elif _is_stream(path):
        with path.open("wb") as stream:
            stream.write(data)
    else:
        write_bytes(data, path)


def _csv(found: Mapping[str, Mapping[str, Evaluation]]) -> str:
    """Returns one line for each picture, and one with the means, unrounded.

    Where several things are measured, what they are stands in front.
    """
    several = len(found) > 1, any(len(sets) > 1 for sets in found.values())
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    some = next(iter(next(iter(found.values())).values()))
    names = [name for name, shown in zip(("target", "candidate"), several, strict=True) if shown]
    lines.writerow([*names, "name", *some.protocol.columns])
    for target, sets in found.items():
        for candidate, evaluation in sets.items():
            front = [each for each, shown in zip((target, candidate), several, strict=True) if shown]
            columns = evaluation.protocol.columns
            for score in evaluation.scores:
                lines.writerow([*front, score.name, *(score.values[column] for column in columns)])
            if evaluation.scores:
                mean = evaluation.mean()
                label = "all" if evaluation.protocol.names else "mean"
                lines.writerow([*front, label, *(mean[column] for column in columns)])
    return text.getvalue()


def print_pictures(evaluation: Evaluation, quiet: bool = False) -> None:
    """Prints the numbers of each picture, the means and, if not `quiet`, how sure those are."""
    from img2img.evaluation.contest import intervals

    protocol = evaluation.protocol
    columns = protocol.columns

    def row(name: str, values: Mapping[str, float]) -> list[str]:
        return [name, *(_number(protocol, column, values[column]) for column in columns)]

    rows = [row(display_path(score.name), score.values) for score in evaluation.scores]
    count = len(rows)
    mean = "all" if protocol.names else "mean"
    whole = all(math.isfinite(value) for score in evaluation.scores for value in score.values.values())
    if count > 1 and (protocol.names or whole):  # else a remark says over how many it is
        mean += f" {count}" if protocol.names else f" of {count}"
    last = row(mean, evaluation.mean())
    print_table(protocol.describe(), ["", *columns], rows, last)
    if quiet:
        return
    known = {c: i for c, i in intervals(evaluation).items() if not math.isnan(i.low)}
    if known:
        words = ", ".join(f"{column} {_interval(protocol, column, known[column])}" for column in known)
        say(f"95% bootstrap intervals over pictures: {words}")


def print_contest(contest: Contest) -> None:
    """Prints means with their intervals, and differences from the first."""
    protocol = contest.evaluations[contest.first].protocol
    rows = []
    for column in contest.columns:
        for name, evaluation in contest.evaluations.items():
            mean = evaluation.mean().get(column, math.nan)
            each = contest.differences.get(name, {}).get(column)
            cells = ["", "", "", ""] if each is None else _difference(protocol, column, each)
            interval = _interval(protocol, column, contest.intervals[name][column])
            count = str(len(evaluation.scores))
            label = column if name == contest.first else ""
            rows.append([name, label, count, _number(protocol, column, mean), interval, *cells])
    head = ["", "", "pictures", "mean", "95%", "above the first", "95%", "p", ""]
    print_table(protocol.describe(), head, rows)


def _number(protocol: EvaluationProtocol, column: str, value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.{protocol.decimals(column)}f}"


def _interval(protocol: EvaluationProtocol, column: str, interval: Interval) -> str:
    if math.isnan(interval.low):
        return ""
    low, high = (_number(protocol, column, value) for value in interval)
    return f"[{low}, {high}]"


def _difference(protocol: EvaluationProtocol, column: str, each: Difference) -> list[str]:
    """Returns how much, from where to where, how likely by chance, and for better or worse."""
    if math.isnan(each.mean):
        return ["-", "", "", ""]
    shown = f"{each.mean:+.{protocol.decimals(column)}f}"
    p = "" if math.isnan(each.p) else f"{each.p:.{_P_DIGITS}f}"
    word = {True: "better", False: "worse", None: "equal"}[each.better]
    return [shown, _interval(protocol, column, each.interval), p, word]


def failures(
    requirements: Sequence[Requirement], found: Mapping[str, Mapping[str, float]], first: str | None
) -> list[str]:
    """Returns how what was measured misses conditions.

    Args:
        requirements: The conditions; each holds for everything that has the number.
        found: Numbers by model or folder.
        first: What others are compared with, which has no gain; None where there is one thing alone.
    """
    said = []
    for name, numbers in found.items():
        for each in requirements:
            if name == first and each.column.startswith("gain_"):
                continue
            failure = each.failure(numbers)
            if failure:
                said.append(failure if first is None else f"{name}: {failure}")
    return said


def conclude(counts: Mapping[str, tuple[int, int]], failed: Sequence[str]) -> int:
    """Prints what could not be measured and which conditions are not met, and returns the exit code.

    Args:
        counts: By model or folder, how many files could not be measured, and how many pictures were.
        failed: Sentences on conditions.
    """
    bad = False
    for name, (count, total) in counts.items():
        if count:
            files = "1 file" if count == 1 else f"{count} files"
            rest = f"the mean is over the other {total}" if total else "there is nothing to take a mean of"
            whose = f"{name}: " if len(counts) > 1 else ""
            say_error(f"{whose}{files} could not be measured; {rest}.")
            bad = True
    for failure in failed:
        say_error(failure)
    return 1 if bad or failed else 0
