"""`img2img evaluate`: predictions, or what a model makes, against the truth."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from img2img.cli.network import BACKEND, FIT, PRECISION, SIZE
from img2img.cli.options import FOLLOW_SYMLINKS, HIDDEN, MESSAGES, SPEED, GroupedCommand, option
from img2img.cli.render import ProgressStyle, print_table, say, say_error
from img2img.errors import UsageError, display_path

if TYPE_CHECKING:
    from img2img.evaluation import Evaluation, EvaluationProtocol, Problem
    from img2img.evaluation.gallery import Worst
    from img2img.evaluation.requirement import Requirement
    from img2img.evaluation.run import Comparison, Predict

MAX_SHOWN = 20  # of problems and notes; --json has them all
_PATH = click.Path(path_type=Path)
_OUT = click.Path(dir_okay=False, allow_dash=True, path_type=Path)


@click.command(cls=GroupedCommand)
@option("--target", required=True, type=_PATH, metavar="DIR|FILE", help="The truth.")
@option("--pred", type=_PATH, metavar="DIR|FILE", help="Predictions of it, matched by name.")
@option(
    "-m",
    "--model",
    metavar="NAME|FILE",
    help="Instead of --pred, a model that makes them, or bicubic.",
)
@option(
    "--input",
    "inputs",
    type=_PATH,
    metavar="DIR|FILE",
    help="What the model starts from. [default: sr reduces the targets itself]",
)
@option(
    "--protocol",
    type=click.Choice(["sr", "plain", "translation", "labels"]),
    default="sr",
    show_default=True,
    help="Conventions: sr as in papers on super-resolution; plain, or translation: pictures as they are; "
    "labels: classes of label maps.",
)
@option("-s", "--scale", type=click.IntRange(1), help="Factor of sr. [default: that of the model]")
@option(
    "--y",
    type=click.Choice(["rounded", "float"]),
    default="rounded",
    show_default=True,
    help="sr: Y in whole levels, as the usual bicubic rows have it, or unrounded, as RCAN's rows.",
)
@option(
    "--grey",
    type=click.Choice(["raw", "rgb"]),
    default="raw",
    show_default=True,
    help="sr: compare grey files in their own levels, or as colour through Y.",
)
@option(
    "--range",
    "numbers",
    nargs=2,
    type=float,
    metavar="LOW HIGH",
    help="Black and white in the numbers of the files, such as 0 4095. [default: those the model was trained "
    "with, else those of the depth]",
)
@option(
    "--palette",
    metavar="NAME|FILE",
    help="labels: a model that makes such maps, or a table with the columns color and name. [default: that "
    "of the model, else the colours of the targets]",
)
@option(
    "--ignore",
    multiple=True,
    metavar="CLASS",
    help="labels: a class that does not count, by its name or colour: void, '255', '0 0 0'; repeatable.",
)
@option("--rgb", is_flag=True, help="sr: add the numbers over all colour channels.")
@option(
    "--require",
    multiple=True,
    metavar="CONDITION",
    help="Fail unless the mean meets it: 'psnr_y>=31.2'; repeatable.",
)
@option("--json", "json_file", type=_OUT, metavar="FILE|-", help="Write everything as JSON; - is stdout.")
@option("--csv", "csv_file", type=_OUT, metavar="FILE|-", help="Write the table as CSV; - is stdout.")
@option("--sheet", type=_PATH, metavar="FILE", help="Write a picture of the worst predictions.")
@SIZE
@FIT
@FOLLOW_SYMLINKS
@HIDDEN
@option("-t", "--tile", type=click.IntRange(0), group=SPEED, metavar="PIXELS", help="Side of the tiles.")
@option("--device", default="auto", show_default=True, group=SPEED, help="cpu, cuda, cuda:1, mps.")
@PRECISION
@BACKEND
@option(
    "--progress",
    type=click.Choice(["auto", "rich", "plain", "none"]),
    default="auto",
    show_default=True,
    group=MESSAGES,
    help="How progress is shown on stderr.",
)
@option("-q", "--quiet", is_flag=True, group=MESSAGES, help="Only failures, and what was asked for.")
def evaluate(
    target: Path,
    pred: Path | None,
    model: str | None,
    inputs: Path | None,
    protocol: str,
    scale: int | None,
    numbers: tuple[float, float] | None,
    require: tuple[str, ...],
    json_file: Path | None,
    csv_file: Path | None,
    sheet: Path | None,
    progress: ProgressStyle,
    quiet: bool,
    follow_symlinks: bool,
    hidden: bool,
    **more: Any,
) -> int:
    """Compare predictions, or what a model makes, with the truth.

    Prints PSNR and SSIM for each picture and their means; of label maps mean IoU, pixel and class accuracy.
    Files are matched by their names; words that all names of a folder share, such as _x4 or _HR, may differ.
    What cannot be matched or read is named, and the exit code is 1.

    \b
      img2img evaluate -m x4 --target Set5
      img2img evaluate --scale 4 --pred results/ --target Set5 --rgb
      img2img evaluate -m bicubic --scale 4 --target Set5 --require 'psnr_y>=28.4'
      img2img evaluate --protocol translation -m net_G.pth --input labels/ --target photos/
      img2img evaluate --protocol labels --pred made/ --target labels/ --palette classes.csv
    """
    if (pred is None) == (model is None):
        raise click.UsageError("name either predictions with --pred or a model with -m.")
    if pred is not None and inputs is not None:
        raise click.UsageError("--input is for a model; --pred is compared as it is.")
    stdout = [path for path in (json_file, csv_file) if path is not None and str(path) == "-"]
    if len(stdout) > 1:
        raise click.UsageError("--json and --csv cannot both go to stdout.")
    if str(sheet) == "-":
        raise click.UsageError("--sheet is a picture; name its file, such as worst.png.")
    if numbers is not None and not -1e30 < numbers[0] < numbers[1] < 1e30:
        raise click.UsageError("--range takes black first, the smaller number, and white: --range 0 4095.")
    from img2img.evaluation import (
        Evaluation,
        PlainProtocol,
        choose_protocol,
        labels_protocol,
        open_predictor,
        plan,
        require_labels,
    )
    from img2img.evaluation.labels import COLUMNS
    from img2img.evaluation.requirement import Requirement
    from img2img.types import ValueRange

    choices = {name: more.pop(name) for name in ("y", "grey", "rgb")}
    if protocol != "sr" and choices != {"y": "rounded", "grey": "raw", "rgb": False}:
        raise click.UsageError("--y, --grey and --rgb belong to --protocol sr.")
    palette, ignore = more.pop("palette"), more.pop("ignore")
    named = protocol == "labels"
    if not named and (palette or ignore):
        raise click.UsageError("--palette and --ignore belong to --protocol labels.")
    if named and numbers is not None:
        raise click.UsageError("--range is for brightness, and label maps hold names; leave it out.")
    if numbers is not None:
        choices["numbers"] = ValueRange(*numbers)
    chosen = None
    if not named and (protocol != "sr" or scale is not None):
        chosen = choose_protocol(protocol, scale, **choices)
    if chosen is None and not named and (model is None or model == "bicubic"):
        raise click.UsageError("give the factor with --scale; other comparisons are --protocol plain.")
    outputs = [path for path in (json_file, csv_file, sheet) if path is not None and path not in stdout]
    _require_places(outputs)
    predict = classes = None
    columns = COLUMNS if named else None if chosen is None else chosen.columns
    if columns is not None:  # what can be wrong is found before a model is opened
        [Requirement.parse(text, columns) for text in require]
    if model is not None:
        predict, own, trained, classes = open_predictor(model, scale, **more)
        if not named and (chosen is None or numbers is None):
            choices.setdefault("numbers", trained)
            chosen = choose_protocol(protocol, own if scale is None else scale, **choices)
    if named:
        require_labels(model, classes, palette)
        pairs = plan(
            PlainProtocol(), target, pred, inputs, follow_symlinks=follow_symlinks, hidden=hidden
        ).pairs
        chosen = labels_protocol([pair[0] for pair in pairs], classes, palette, ignore)
    assert chosen is not None
    requirements = [Requirement.parse(text, chosen.columns) for text in require]
    work = plan(chosen, target, pred, inputs, follow_symlinks=follow_symlinks, hidden=hidden)
    _require_others(outputs, work)
    worst = _worst(chosen, sheet)
    evaluation = Evaluation(chosen, problems=list(work.problems), notes=list(work.notes))
    for problem in evaluation.problems[:MAX_SHOWN]:
        _say_problem(problem)
    if len(evaluation.problems) > MAX_SHOWN:
        say(f"... and {len(evaluation.problems) - MAX_SHOWN} more; --json FILE lists all.", "red")
    _measure(evaluation, work, predict, worst, "none" if quiet else progress)
    _write(evaluation, json_file, csv_file)
    if sheet is not None and worst is not None and evaluation.scores:
        from img2img.image import write_image
        from img2img.image.sheet import sheet as lay_out

        write_image(lay_out(worst.rows()), sheet)
    return _conclude(evaluation, requirements, quiet, table=not stdout)


def _require_places(outputs: Sequence[Path]) -> None:
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


def _require_others(outputs: Sequence[Path], work: Comparison) -> None:
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


def _worst(protocol: EvaluationProtocol, sheet: Path | None) -> Worst | None:
    if sheet is None:
        return None
    from img2img.evaluation.gallery import Worst
    from img2img.image import WRITABLE

    if sheet.suffix.lower() not in WRITABLE:
        raise UsageError(f"{display_path(sheet)}: a sheet is a picture; name it .png or .jpg.")
    column = protocol.columns[0]
    return Worst(column, protocol.higher_is_better(column))


def _measure(
    evaluation: Evaluation,
    work: Comparison,
    predict: Predict | None,
    worst: Worst | None,
    progress: ProgressStyle,
) -> None:
    """Fills `evaluation`."""
    from img2img.cli.render import ProgressBar, quiet_libraries
    from img2img.evaluation import Problem, measure

    with quiet_libraries(), ProgressBar(len(work.pairs), "images", progress) as bar:
        for result in measure(work, evaluation.protocol, predict):
            evaluation.add(result)
            if isinstance(result, Problem):
                _say_problem(result)
            elif worst is not None:
                worst.add(result)
            bar.advance(failed=isinstance(result, Problem))


def _say_problem(problem: Problem) -> None:
    say(f"failed  {display_path(problem.path)}: {problem.reason}", "red")


def _write(evaluation: Evaluation, json_file: Path | None, csv_file: Path | None) -> None:
    from img2img.files import write_bytes

    def write(path: Path | None, text: str) -> None:
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

    write(json_file, json.dumps(evaluation.to_json(), indent=1) + "\n")
    write(csv_file, _csv(evaluation))


def _csv(evaluation: Evaluation) -> str:
    """Returns one line for each picture, and one with the means, unrounded."""
    columns = evaluation.protocol.columns
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["name", *columns])
    for score in evaluation.scores:
        lines.writerow([score.name, *(score.values[column] for column in columns)])
    if evaluation.scores:
        mean = evaluation.mean()
        lines.writerow(
            ["all" if evaluation.protocol.names else "mean", *(mean[column] for column in columns)]
        )
    return text.getvalue()


def _conclude(evaluation: Evaluation, requirements: Sequence[Requirement], quiet: bool, table: bool) -> int:
    """Prints the table and what has to be said about it, and returns the exit code."""
    if table and evaluation.scores:
        _print(evaluation)
    remarks = evaluation.remarks()
    if not quiet:
        for remark in remarks[:MAX_SHOWN]:
            say(remark)
        if len(remarks) > MAX_SHOWN:
            say(f"... and {len(remarks) - MAX_SHOWN} more notes; --json FILE lists all.")
    failures = [failure for one in requirements if (failure := one.failure(evaluation.mean()))]
    if evaluation.problems:
        count, total = len(evaluation.problems), len(evaluation.scores)
        files = "1 file" if count == 1 else f"{count} files"
        rest = f"the mean is over the other {total}" if total else "there is nothing to take a mean of"
        say_error(f"{files} could not be measured; {rest}.")
    for failure in failures:
        say_error(failure)
    return 1 if evaluation.problems or failures else 0


def _print(evaluation: Evaluation) -> None:
    protocol = evaluation.protocol
    columns = protocol.columns

    def row(name: str, values: Any) -> list[str]:
        return [name, *(f"{values[column]:.{protocol.decimals(column)}f}" for column in columns)]

    rows = [row(display_path(score.name), score.values) for score in evaluation.scores]
    count = len(rows)
    mean = "all" if protocol.names else "mean"
    last = row(f"{mean}{'' if protocol.names else ' of'} {count}" if count > 1 else mean, evaluation.mean())
    print_table(protocol.describe(), ["", *columns], rows, last)
    if (confusion := evaluation.confusion()) is not None:
        cells = [
            [str(one["class"]), *("-" if one[n] is None else f"{one[n]:.4f}" for n in ("iou", "accuracy"))]
            for one in confusion.by_class()
        ]
        whole = evaluation.mean()
        last = ["mean", f"{whole['mean_iou']:.4f}", f"{whole['class_accuracy']:.4f}"]
        print_table("by class", ["", "iou", "accuracy"], cells, last)
