"""`img2img data`: check, make, divide, look at and download the pictures that a model learns from."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from img2img.cli import completion
from img2img.cli.download import download
from img2img.cli.expand import expand
from img2img.cli.options import INPUTS, PROGRESS, BatchOptions, GroupedCommand, picture_options
from img2img.cli.render import ProgressStyle
from img2img.cli.sources import CONFIG, PATH, Chosen, SourcesCommand, count, sources

if TYPE_CHECKING:
    from img2img.batch import Processor, Result
    from img2img.cli.render import ProgressBar
    from img2img.data.findings import Checked, Finding
    from img2img.processors import Chain

_SHOWN = 5  # files of each finding; --json lists all


class _InOrderOfWork(click.Group):
    """A group that lists its commands in the order in which they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names."""
        return ["download", "pair", "split", "check", "preview", "expand"]


@click.group(cls=_InOrderOfWork, epilog="Every command has examples: img2img data COMMAND --help")
def data() -> None:
    """Prepare the pictures that a model learns from.

    \b
      img2img data download facades                  get a public data set, or
      img2img data pair photos -o pairs --op edges   make pairs of your photographs, and then
      img2img data split --paired pairs/A pairs/B -o set
      img2img data check --paired set/A set/B
      img2img data preview --paired set/A set/B -o seen.png
      img2img train --paired set/A set/B -o runs/mine

    split, check, preview and train are told in one way what the pictures are:

    \b
      --paired A B        two folders of pairs, matched by file names
      --aligned DIR       pairs side by side in one file each
      --unpaired A B      two folders without partners
      --images DIR        single pictures: for upscaling, or with --method inpainting
      --list FILE         a table with a column for each field
      --field NAME=PLACE  what else belongs to a sample: masks, ids, labels, numbers

    What a model that you have makes of them can be training pictures, too, for programs of others:

    \b
      img2img data expand yolo_set -o larger -m winter.safetensors

    No command changes or removes a picture of yours.
    """


@data.command(cls=SourcesCommand, short_help="Find what would ruin a training.")
@CONFIG
@sources
@click.option("--sheet", type=PATH, metavar="OUT.png", help="Write a picture of what is complained about.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON on stdout.")
@click.option("--jobs", type=click.IntRange(1, 1024), metavar="N", help="Threads that read. [default: cores]")
@PROGRESS
def check(
    chosen: Chosen, sheet: Path | None, as_json: bool, jobs: int | None, progress: ProgressStyle
) -> int:
    """Find what would ruin a training before it starts.

    Opens every picture and names the files that are broken, empty or cut off, have no partner or one of
    another size, show one colour only, are too small, differ in channels or depth, or are in the training set
    and in the held-out part as well (also as a copy in another size or quality). Label maps are compared with
    their palette, masks and maps of ids with their pictures.

    Sizes are those that `img2img train` takes for the same pictures, unless CONFIG, --method or --set say
    others. The exit code is 1 when there is an error, and 0 when there are warnings only.

    \b
      img2img data check --paired sketches photos
      img2img data check --images photos --method inpainting
      img2img data check configs/mine.yaml --sheet offenders.png
    """
    from contextlib import ExitStack

    from img2img.cli.render import ProgressBar, quiet_libraries, say
    from img2img.data import check as module
    from img2img.data.findings import Finding

    if sheet is not None:
        chosen.require_apart(sheet)
    with ExitStack() as stack:
        stack.enter_context(quiet_libraries())
        bar: list[ProgressBar] = []
        checked = module.check(
            chosen.config,
            fields=chosen.fields,
            any_size=chosen.any_size,
            jobs=jobs,
            begin=lambda files: bar.append(stack.enter_context(ProgressBar(files, "files", progress))),
            advance=lambda failed: bar[0].advance(failed),
        )
    further = tuple(Finding("warning", "no-method", note) for note in chosen.notes)
    checked = replace(checked, findings=checked.findings + further)
    for finding in checked.findings:
        _say_finding(finding)
    if as_json:
        click.echo(json.dumps(checked.to_json(), indent=1))
    if sheet is not None:
        _write_offenders(checked, sheet)
    samples = ", ".join(f"{part} {count}" for part, count in checked.samples)
    if samples:
        prepared = chosen.config.preparation(chosen.fields)
        say(f"{checked.files} files; {samples} ({checked.origin}){prepared and f'; {prepared}'}.")
    errors, warnings = (
        count(checked.errors, "error"),
        count(len(checked.findings) - checked.errors, "warning"),
    )
    if checked.errors:
        say(f"{errors} and {warnings}: not ready for training.", "red")
        return 1
    say(f"Ready for training ({warnings}).", "green")
    return 0


def _say_finding(finding: Finding) -> None:
    from img2img.cli.render import say
    from img2img.errors import display_path

    error = finding.level == "error"
    say(f"{'error' if error else 'warning':8}{finding.text}", "bold red" if error else "bold yellow")
    for case in finding.cases[:_SHOWN]:
        files = ", ".join(display_path(path) for path in case.files[:_SHOWN])
        more = f" and {len(case.files) - _SHOWN} more" if len(case.files) > _SHOWN else ""
        say(f"        {files}{more}{f': {case.detail}' if case.detail else ''}")
    if len(finding.cases) > _SHOWN:
        say(f"        ... and {len(finding.cases) - _SHOWN} more; --json lists all.")
    if finding.hint:
        say(f"        {finding.hint}", "dim")


def _write_offenders(checked: Checked, path: Path) -> None:
    from img2img.cli.render import quiet_libraries, say
    from img2img.data.preview import offenders
    from img2img.errors import display_path
    from img2img.image import write_image
    from img2img.image.sheet import sheet

    with quiet_libraries():
        rows = offenders(checked)
    if not rows:
        say("There is nothing to show on a sheet.")
        return
    write_image(sheet(rows, 256), path)
    say(f"Look at {display_path(path)}.")


@data.command(cls=GroupedCommand, short_help="Make pairs from single pictures.")
@INPUTS
@click.option(
    "--op",
    "operations",
    multiple=True,
    metavar="NAME[=VALUE,...]",
    shell_complete=completion.operations,
    help="What makes the source of a picture; repeatable, in order. `img2img process --list-ops` shows all.",
)
@click.option(
    "--recipe",
    metavar="FILE|NAME",
    shell_complete=completion.recipes,
    help="A YAML list of operations; they come before those of --op.",
)
@click.option(
    "--also",
    multiple=True,
    metavar="FIELD:NAME[=VALUE,...]",
    help="A further picture of each, made by another operation, for a training with several conditions: "
    "hint:blur=12; repeatable, in order where FIELD is the same.",
)
@click.option("--aligned", is_flag=True, help="Write both side by side into one file, source left.")
@picture_options
def pair(
    inputs: tuple[Path, ...],
    operations: tuple[str, ...],
    recipe: str | None,
    also: tuple[str, ...],
    aligned: bool,
    options: BatchOptions,
) -> int:
    """Make pairs from single pictures: what the operations make of a picture becomes the source.

    Writes DIR/A with the results and DIR/B with exact copies of the pictures, in the same tree, and DIR/FIELD
    for each --also; or, with --aligned, one file a pair in DIR. The same command again does only what is
    missing.

    \b
      img2img data pair photos -o pairs --op edges       edges to photographs
      img2img data pair photos -o pairs --op grayscale   grey to colour
      img2img data pair photos -o pairs --op blur=3      blurred to sharp
      img2img data pair photos -o pairs --op edges --also hint:blur=12
    """
    from img2img.cli.convert import convert
    from img2img.cli.render import say, say_error
    from img2img.data.pairs import SideBySide, place_original
    from img2img.errors import ImageWriteError, ProcessingError, display_path
    from img2img.processors import Chain, open_recipe, parse_operations

    if not operations and recipe is None:
        raise click.UsageError("name what makes the sources with --op or --recipe, such as --op edges.")
    if options.output in ("", "-"):
        raise click.UsageError("pairs need a folder: -o DIR.")
    first = open_recipe(recipe).operations if recipe else ()
    chain = Chain((*first, *parse_operations(operations).operations))
    further = {name: parse_operations(some) for name, some in _further(also).items()}
    if further and aligned:
        raise click.UsageError("--also needs folders of its own; leave --aligned out.")
    folder = Path(options.output)
    if aligned:
        maker = SideBySide(chain)
        code = convert(inputs, options, lambda: (maker, {"operations": maker.settings()}), videos=False)
        words = f"--aligned {display_path(folder)}"
    else:
        failures: list[str] = []

        def place(result: Result) -> None:
            if result.status == "failed" or result.output is None:
                return
            own = result.output.relative_to(folder / "A").with_suffix(result.source.suffix)
            try:
                place_original(result.source, folder / "B" / own)
            except (ProcessingError, ImageWriteError) as error:
                failures.append(str(error))

        inner = replace(options, output=str(folder / "A"))
        code = convert(inputs, inner, lambda: (chain, {"operations": chain.settings()}), place, videos=False)
        for failure in failures:
            say_error(failure)
        code = code or int(bool(failures))
        words = f"--paired {display_path(folder / 'A')} {display_path(folder / 'B')}"
        for name, own in further.items():
            quiet = replace(options, output=str(folder / name), report=None, as_json=False)
            more = convert(inputs, quiet, partial(_loaded, own), videos=False)
            code = max(code, more) if code in (0, 1) else code
            words += f" --field {name}={display_path(folder / name)}"
    if code in (0, 1) and not options.dry_run and not options.quiet:
        say(f"Next: img2img data check {words}")
    return code


def _loaded(chain: Chain) -> tuple[Processor, dict[str, Any]]:
    return chain, {"operations": chain.settings()}


def _further(also: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Returns the operations for each further field, in order."""
    from img2img.errors import ConfigError
    from img2img.fields import require_names

    found: dict[str, tuple[str, ...]] = {}
    for each in also:
        name, colon, operation = each.partition(":")
        if not colon or not operation:
            raise click.UsageError(f"--also {each}: say FIELD:NAME, such as hint:blur=12.")
        try:
            require_names({name: None})  # type: ignore[dict-item]
        except ConfigError as error:
            raise click.UsageError(f"--also {each}: {error}") from None
        if name in ("source", "target"):
            raise click.UsageError(f"--also {each}: {name} is what --op and the picture itself are for.")
        found[name] = (*found.get(name, ()), operation)
    return found


def _adapt(command: click.Command) -> None:
    """Lets the shared options say what they mean for pairs: lines and labels keep their values in PNG."""
    for parameter in command.params:
        if parameter.name == "output" and isinstance(parameter, click.Option):
            parameter.metavar, parameter.help = "DIR", "Where the pairs go."
        if parameter.name == "ext" and isinstance(parameter, click.Option):
            parameter.default = "png"
            parameter.help = (
                "Format of what is made: png, jpg, webp, tif, ...; keep is that of the input. [default: png]"
            )


_adapt(pair)


@data.command(cls=SourcesCommand)
@click.argument(
    "folder", required=False, metavar="[DIR]", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@sources
@click.option("-o", "--output", required=True, type=PATH, metavar="OUT", help="A new folder.")
@click.option(
    "--val",
    "validation",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.1,
    metavar="SHARE",
    show_default=True,
    help="Share for validation.",
)
@click.option(
    "--test",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    metavar="SHARE",
    show_default=True,
    help="Share for the final test.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Another number is another division.",
)
@click.option(
    "--group",
    metavar="folder|REGEX",
    help="What else stays together: pictures of one folder, or with the same match in their names.",
)
@click.option("--link", is_flag=True, help="Make links instead of copies.")
@click.option("--lists", is_flag=True, help="Write lists of files instead of folders.")
@PROGRESS
def split(
    chosen: Chosen,
    output: Path,
    validation: float,
    test: float,
    seed: int,
    group: str | None,
    link: bool,
    lists: bool,
    progress: ProgressStyle,
) -> int:
    """Divide pictures into training, validation and test.

    DIR holds pictures or side-by-side files, each a sample of its own; --paired keeps pairs together. The
    seed and the names decide, not the order or the number of files: a picture that is added later moves no
    other one. OUT gets the folders train, val and test (A/train, B/train, ... for two folders), or lists of
    the files with --lists; the pictures themselves are only read.

    \b
      img2img data split photos -o set --val 0.1 --test 0.1
      img2img data split --paired sketches photos -o set
      img2img data split --aligned facades -o set --group '^([^_]+)_' --link
    """
    from img2img.cli.render import ProgressBar, say, say_warning
    from img2img.data.split import divide, write_folders, write_lists
    from img2img.errors import display_path

    if link and lists:
        raise click.UsageError("--link and --lists contradict each other; give one.")
    if str(output) in ("-", "."):
        raise click.UsageError("a division needs a new folder: -o OUT.")
    division = divide(chosen.config, validation, test, seed, group, chosen.fields)
    for note in division.notes:
        say(note, "yellow")
    if lists:
        for name in write_lists(division, output):
            say(f"Wrote {display_path(output / name)}.")
    else:
        with ProgressBar(len(division.files), "files", progress) as bar:
            symbolic = write_folders(division, output, "link" if link else "copy", bar.advance)
        if symbolic:
            say(f"{count(symbolic, 'symbolic link')}, because {display_path(output)} is on another disk.")
    counts = ", ".join(f"{part} {count}" for part, count in division.counts.items())
    say(f"{counts} in {display_path(output)}.")
    for part, share in (("val", validation), ("test", test)):
        if share and not division.counts[part]:
            say_warning(f"nothing fell into {part}: there are too few samples, or groups that stay together.")
    say(f"Next: img2img data check {_options(division.places(output, lists))}")
    return 0


def _options(section: Mapping[str, Any]) -> str:
    """Returns keys of the section data as the options of a command."""
    from img2img.errors import display_path

    words = []
    for key, value in section.items():
        if key == "fields":
            places = {name: p if isinstance(p, str) else display_path(p) for name, p in value.items()}
            words += [f"--field {shlex.quote(f'{name}={place}')}" for name, place in places.items()]
        elif key in ("paired", "unpaired", "aligned", "images", "list"):
            paths = value if isinstance(value, list) else [value]
            words.append(f"--{key} {' '.join(shlex.quote(display_path(path)) for path in paths)}")
        else:
            texts = ", ".join(map(str, value)) if isinstance(value, list) else value
            words.append(
                f"--set {shlex.quote(f'{key}=[{texts}]' if isinstance(value, list) else f'{key}={value}')}"
            )
    return " ".join(words)


@data.command(cls=SourcesCommand, short_help="Show what the network will see.")
@CONFIG
@sources
@click.option("-o", "--output", required=True, type=PATH, metavar="OUT.png", help="The picture to write.")
@click.option(
    "-n",
    "--samples",
    type=click.IntRange(1, 50),
    metavar="N",
    default=6,
    show_default=True,
    help="Samples, evenly spread: one row each.",
)
@click.option(
    "--epochs",
    type=click.IntRange(1, 12),
    default=2,
    show_default=True,
    metavar="N",
    help="Random versions of each.",
)
@click.option(
    "--seed", type=click.IntRange(0), metavar="N", help="Of the run. [default: that of CONFIG, or 0]"
)
def preview(chosen: Chosen, output: Path, samples: int, epochs: int, seed: int | None) -> int:
    """Show what the network will see: source and target after resizing, augmentation, crop and flip.

    The pictures come out of the same code as in training, with the same random numbers.

    \b
      img2img data preview configs/mine.yaml -o seen.png
      img2img data preview --aligned facades --set direction=BtoA -o seen.png --epochs 3
    """
    from img2img.cli.render import say, say_warning
    from img2img.data import open_data
    from img2img.data import preview as module
    from img2img.errors import display_path
    from img2img.image import write_image
    from img2img.image.sheet import sheet

    chosen.require_apart(output)
    config = chosen.config.model_copy(update={"cache": "none"})
    seed = chosen.seed if seed is None else seed
    opened = open_data(config, chosen.fields, seed=seed, any_size=chosen.any_size)
    say(f"{opened.description}.")
    for note in opened.notes:
        say(note, "yellow")
    for sentence in (*opened.warnings, *chosen.notes):
        say_warning(sentence)
    write_image(sheet(module.preview(opened.train, samples, epochs), 256), output)
    say(f"Look at {display_path(output)}.")
    return 0


data.add_command(expand)
data.add_command(download)
