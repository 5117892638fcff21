"""`img2img evaluate`: predictions, or what models make, against the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from img2img.cli import completion
from img2img.cli.network import BACKEND, FIT, PRECISION, SIZE
from img2img.cli.options import (
    DEVICE,
    FOLLOW_SYMLINKS,
    HIDDEN,
    MESSAGES,
    PROGRESS,
    SPEED,
    GroupedCommand,
    option,
)
from img2img.cli.render import ProgressStyle, say
from img2img.cli.scores import (
    conclude,
    failures,
    print_contest,
    print_pictures,
    require_others,
    require_places,
    say_problem,
    say_problems,
    say_remarks,
    write,
)
from img2img.errors import UsageError, display_path

if TYPE_CHECKING:
    from img2img.evaluation import Evaluation, EvaluationProtocol
    from img2img.evaluation.gallery import Worst

_PATH = click.Path(path_type=Path)
_OUT = click.Path(dir_okay=False, allow_dash=True, path_type=Path)


@click.command(cls=GroupedCommand)
@option(
    "--target",
    "targets",
    required=True,
    multiple=True,
    type=_PATH,
    metavar="DIR|FILE",
    help="The truth; repeatable.",
)
@option(
    "--pred",
    "preds",
    multiple=True,
    type=_PATH,
    metavar="DIR|FILE",
    help="Predictions of it, matched by name; repeatable.",
)
@option(
    "-m",
    "--model",
    "models",
    multiple=True,
    metavar="NAME|FILE",
    shell_complete=completion.models,
    help="Or a model that makes them, or bicubic; repeatable. The first is what others are held against.",
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
    type=click.Choice(["sr", "plain", "translation", "labels", "sets"]),
    default="sr",
    show_default=True,
    help="Conventions: sr as in papers on super-resolution; plain, or translation: pictures as they are; "
    "labels: classes of label maps; sets: FID, KID, precision and recall of pictures without partners.",
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
@option(
    "--metric",
    "extra",
    multiple=True,
    metavar="NAME",
    help="A further metric: ms_ssim, lpips_alex, dists, niqe, haarpsi, ssimulacra2, ...; repeatable.",
)
@option(
    "--download",
    "allow_download",
    is_flag=True,
    help="Download the weights that a metric needs, if they are not at hand.",
)
@option(
    "--back",
    metavar="NAME|FILE",
    help="A model that predictions go through before they are compared: from where they are back to where "
    "they came from, or to label maps.",
)
@option(
    "--features",
    type=click.Choice(["inception", "alex", "vgg", "squeeze"]),
    default="inception",
    show_default=True,
    help="sets: the network. Numbers on others than FID's own bear other names.",
)
@option(
    "--feature-weights",
    type=_PATH,
    metavar="FILE",
    help="sets: a file with its weights. [default: the usual one, by its checksum]",
)
@option(
    "--save-statistics",
    type=_PATH,
    metavar="FILE.npz",
    help="sets: write mean and covariance of the targets' features, which --target takes instead of them.",
)
@option("--rgb", is_flag=True, help="sr: add the numbers over all colour channels.")
@option(
    "--require",
    multiple=True,
    metavar="CONDITION",
    help="Fail unless every mean meets it: 'psnr_y>=31.2', or the gain over the first: 'gain_psnr_y>0'; "
    "repeatable.",
)
@option("--json", "json_file", type=_OUT, metavar="FILE|-", help="Write everything as JSON; - is stdout.")
@option("--csv", "csv_file", type=_OUT, metavar="FILE|-", help="Write the table as CSV; - is stdout.")
@option("--sheet", type=_PATH, metavar="FILE", help="Write a picture of the worst predictions.")
@SIZE
@FIT
@FOLLOW_SYMLINKS
@HIDDEN
@option("-t", "--tile", type=click.IntRange(0), group=SPEED, metavar="PIXELS", help="Side of the tiles.")
@DEVICE
@PRECISION
@BACKEND
@PROGRESS
@option("-q", "--quiet", is_flag=True, group=MESSAGES, help="Only failures, and what was asked for.")
def evaluate(
    targets: tuple[Path, ...],
    preds: tuple[Path, ...],
    models: tuple[str, ...],
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
    extra: tuple[str, ...],
    allow_download: bool,
    features: str,
    feature_weights: Path | None,
    save_statistics: Path | None,
    **more: Any,
) -> int:
    """Compare predictions, or what models make, with the truth.

    Prints PSNR and SSIM for each picture and their means; of label maps mean IoU, pixel and class accuracy.
    Files are matched by their names; words that all names of a folder share, such as _x4 or _HR, may differ.
    What cannot be matched or read is named, and the exit code is 1.

    Of several models or folders it prints means, how sure they are, and what the others are above the first.

    \b
      img2img evaluate -m x4 --target Set5
      img2img evaluate -m bicubic -m x4 --pred results/ --scale 4 --target Set5 --target Set14
      img2img evaluate -m bicubic --scale 4 --target Set5 --require 'psnr_y>=28.4'
      img2img evaluate --protocol translation -m net_G.pth --input labels/ --target photos/ --metric ms_ssim
      img2img evaluate --protocol labels --pred made/ --target labels/ --palette classes.csv
      img2img evaluate --protocol sets -m a2b.safetensors --input a/ --target b/ --metric fid --metric kid
    """
    if not preds and not models:
        raise click.UsageError("name predictions with --pred or a model with -m, or several.")
    if inputs is not None and not models:
        raise click.UsageError("--input is for a model; --pred is compared as it is.")
    stdout = [path for path in (json_file, csv_file) if path is not None and str(path) == "-"]
    if len(stdout) > 1:
        raise click.UsageError("--json and --csv cannot both go to stdout.")
    if str(sheet) == "-":
        raise click.UsageError("--sheet is a picture; name its file, such as worst.png.")
    if numbers is not None and not -1e30 < numbers[0] < numbers[1] < 1e30:
        raise click.UsageError("--range takes black first, the smaller number, and white: --range 0 4095.")
    if protocol == "sets":
        from img2img.cli.sets import compare_sets

        if sheet is not None or numbers is not None or scale is not None:
            raise click.UsageError("--sheet, --range and --scale belong to pictures with partners.")
        how = {"features": features, "weights": feature_weights, "allow_download": allow_download}
        ends = {"json_file": json_file, "csv_file": csv_file, "statistics": save_statistics}
        given = _options(protocol, None, more)
        shown: ProgressStyle = "none" if quiet else progress
        return compare_sets(targets, models, preds, inputs, extra, require, given, how, ends, shown)
    if features != "inception" or feature_weights or save_statistics:
        raise click.UsageError(
            "--features, --feature-weights and --save-statistics belong to --protocol sets."
        )
    several = len(preds) + len(models) > 1
    if sheet is not None and (several or len(targets) > 1):
        raise click.UsageError("--sheet shows the worst predictions of one model or folder; name one.")
    given = _options(protocol, numbers, more)
    if protocol == "sr" and scale is None and (not models or "bicubic" in models[:1]):
        raise click.UsageError("give the factor with --scale; other comparisons are --protocol plain.")
    outputs = [path for path in (json_file, csv_file, sheet) if path is not None and path not in stdout]
    require_places(outputs)
    from img2img.evaluation import Contest
    from img2img.evaluation.extras import usable
    from img2img.evaluation.requirement import Requirement
    from img2img.evaluation.run import candidates

    ready, missing = usable(extra, allow_download)
    if ready:
        given["extra"] = ready
    columns = _columns(protocol, given)
    if several:
        columns = (*columns, *(f"gain_{column}" for column in columns))
    requirements = [Requirement.parse(text, columns) for text in require]  # before a model is opened
    for sentence in missing:
        say(sentence, "red")
    found: dict[str, dict[str, Evaluation]] = {}
    facts: list[dict[str, Any]] = []
    code = 1 if missing else 0
    for target in targets:
        evaluations = found.setdefault(display_path(target), {})
        chosen: str | EvaluationProtocol = protocol
        for name, model, pred in candidates(models, preds):
            made_by: dict[str, Any] = {"pred": pred} if model is None else {"model": model, "inputs": inputs}
            evaluation, worst = _one(
                target,
                outputs,
                sheet,
                "none" if quiet else progress,
                protocol=chosen,
                scale=scale,
                **made_by,
                **given,
            )
            evaluations[name], chosen = evaluation, evaluation.protocol
        if several:
            contest = Contest(evaluations)
            numbers_of, remarks, first = contest.requirements(), contest.remarks(), contest.first
            remarks += _remarks_on(evaluations)
            facts.append({"target": display_path(target), **contest.to_json()})
        else:
            ((name, evaluation),) = evaluations.items()
            numbers_of, remarks, first = {name: evaluation.mean()}, evaluation.remarks(), None
            facts.append(
                evaluation.to_json() | ({"target": display_path(target)} if len(targets) > 1 else {})
            )
        if not stdout:
            if len(targets) > 1:
                click.echo(display_path(target))
            if several:
                print_contest(contest)
            elif evaluation.scores:
                print_pictures(evaluation, quiet)
        if not quiet:
            say_remarks(remarks)
        counts = {name: (len(each.problems), len(each.scores)) for name, each in evaluations.items()}
        code |= conclude(counts, failures(requirements, numbers_of, first))
    write(found, facts[0] if len(facts) == 1 else {"targets": facts}, json_file, csv_file)
    if sheet is not None and worst is not None and evaluation.scores:
        from img2img.image import write_image
        from img2img.image.sheet import sheet as lay_out

        write_image(lay_out(worst.rows()), sheet)
    return code


def _remarks_on(evaluations: Mapping[str, Evaluation]) -> list[str]:
    """Returns what is to be said of several sets, each sentence once, with the names of its sets."""
    found: dict[str, list[str]] = {}
    for name, evaluation in evaluations.items():
        for said in dict.fromkeys(evaluation.remarks()):
            found.setdefault(said, []).append(name)
    return [
        said if len(names) == len(evaluations) else f"{', '.join(names)}: {said}"
        for said, names in found.items()
    ]


def _options(protocol: str, numbers: tuple[float, float] | None, more: dict[str, Any]) -> dict[str, Any]:
    """Returns the options of the library, without those that stand at what they are by default.

    Raises:
        UsageError: One belongs to another protocol.
    """
    from img2img.types import ValueRange

    usual = {"y": "rounded", "grey": "raw", "rgb": False, "palette": None, "ignore": (), "back": None}
    changed = {name for name, value in usual.items() if more[name] != value}
    if protocol != "sr" and changed & {"y", "grey", "rgb"}:
        raise click.UsageError("--y, --grey and --rgb belong to --protocol sr.")
    if protocol != "labels" and changed & {"palette", "ignore"}:
        raise click.UsageError("--palette and --ignore belong to --protocol labels.")
    if protocol == "labels" and numbers is not None:
        raise click.UsageError("--range is for brightness, and label maps hold names; leave it out.")
    given = {name: value for name, value in more.items() if name not in usual or name in changed}
    return given if numbers is None else given | {"numbers": ValueRange(*numbers)}


def _columns(protocol: str, given: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the names of the numbers that there will be."""
    from img2img.evaluation import choose_protocol
    from img2img.metrics.confusion import COLUMNS

    if protocol == "labels":
        if given.get("extra"):
            raise click.UsageError("--metric is for pictures; label maps have their own scores.")
        return COLUMNS
    return choose_protocol(protocol, 1, rgb=given.get("rgb", False), extra=given.get("extra", ())).columns


def _one(
    target: Path, outputs: Sequence[Path], sheet: Path | None, progress: ProgressStyle, **options: Any
) -> tuple[Evaluation, Worst | None]:
    """Measures one model or folder against one target."""
    from img2img.cli.render import ProgressBar, quiet_libraries
    from img2img.evaluation import Evaluation, Problem, measure, prepare

    protocol, work, predict = prepare(target, **options)
    require_others(outputs, work)
    worst = _worst(protocol, sheet)
    evaluation = Evaluation(protocol, problems=list(work.problems), notes=list(work.notes))
    say_problems(evaluation.problems)
    with quiet_libraries(), ProgressBar(len(work.pairs), "images", progress) as bar:
        for result in measure(work, protocol, predict):
            evaluation.add(result)
            if isinstance(result, Problem):
                say_problem(result)
            elif worst is not None:
                worst.add(result)
            bar.advance(failed=isinstance(result, Problem))
    return evaluation, worst


def _worst(protocol: EvaluationProtocol, sheet: Path | None) -> Worst | None:
    if sheet is None:
        return None
    from img2img.evaluation.gallery import Worst
    from img2img.image import WRITABLE

    if sheet.suffix.lower() not in WRITABLE:
        raise UsageError(f"{display_path(sheet)}: a sheet is a picture; name it .png or .jpg.")
    column = protocol.columns[0]
    return Worst(column, protocol.higher_is_better(column))
