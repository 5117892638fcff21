"""`img2img data`: check, make, divide, look at and download the pictures that a model learns from."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from img2img.cli.options import INPUTS, BatchOptions, GroupedCommand, batch_options
from img2img.cli.render import ProgressStyle

if TYPE_CHECKING:
    from img2img.batch import Result
    from img2img.cli.render import Progress
    from img2img.data import DataConfig
    from img2img.data.check import Checked, Finding
    from img2img.data.config import Kind
    from img2img.data.download import Recipe

F = TypeVar("F", bound=Callable[..., Any])
_SHOWN = 5  # files of each finding; --json lists all
_PATH = click.Path(path_type=Path)


class _Steps(click.Group):
    """A group that lists its commands in the order in which they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names."""
        return ["download", "pair", "split", "check", "preview"]


@click.group(cls=_Steps, epilog="Every command has examples: img2img data COMMAND --help")
def data() -> None:
    """Prepare the pictures that a model learns from.

    \b
      img2img data download facades                  get a public data set, or
      img2img data pair photos -o pairs --op edges   make pairs of your photographs, and then
      img2img data split --paired pairs/A pairs/B -o set
      img2img data check --paired set/A set/B
      img2img data preview --paired set/A set/B -o seen.png
      img2img train --paired set/A set/B -o runs/mine

    No command changes or removes a picture of yours.
    """


@dataclass(frozen=True)
class Chosen:
    """The data section of a configuration or of the options.

    Attributes:
        config: Where the pictures are.
        kind: What the method needs; the data's own kind without a method.
        scale: Of super-resolution; otherwise 1.
        seed: Of the run.
    """

    config: DataConfig
    kind: Kind
    scale: int
    seed: int


def _sources(command: F) -> F:
    """Adds the options that name pictures, as `train` has them, and hands over `Chosen`."""
    declared = [
        click.option(
            "--paired", nargs=2, type=_PATH, metavar="A B", help="Two folders, matched by file names."
        ),
        click.option(
            "--aligned", type=_PATH, metavar="DIR", help="Side-by-side files: left half A, right half B."
        ),
        click.option("--unpaired", nargs=2, type=_PATH, metavar="A B", help="Two folders without partners."),
        click.option("--images", type=_PATH, metavar="DIR", help="Sharp pictures, to learn upscaling from."),
        click.option("--list", "listed", type=_PATH, metavar="FILE", help="CSV or JSON lines of pairs."),
        click.option(
            "--set",
            "assignments",
            multiple=True,
            metavar="KEY=VALUE",
            help="A key of the section data, such as crop_size=128.",
        ),
    ]

    @functools.wraps(command)
    def choosing(
        paired: tuple[Path, Path] | None,
        aligned: Path | None,
        unpaired: tuple[Path, Path] | None,
        images: Path | None,
        listed: Path | None,
        assignments: tuple[str, ...],
        config: Path | None = None,
        folder: Path | None = None,
        **values: Any,
    ) -> Any:
        found = {"paired": paired, "aligned": aligned, "unpaired": unpaired, "images": images, "list": listed}
        given = {key: value for key, value in found.items() if value is not None}
        if folder is not None and given:
            raise click.UsageError(f"DIR and --{next(iter(given))} contradict each other; give one.")
        if folder is not None:
            given = {"images": folder}
        return command(chosen=_choose(config, given, assignments), **values)

    for add in reversed(declared):
        add(choosing)
    return cast(F, choosing)


_CONFIG = click.argument(
    "config", required=False, metavar="[CONFIG]", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)


def _choose(path: Path | None, given: dict[str, Any], assignments: tuple[str, ...]) -> Chosen:
    from img2img.config import load_yaml, override, validate
    from img2img.data import SOURCES, DataConfig
    from img2img.errors import ConfigError, display_path

    if len(given) > 1:
        raise click.UsageError(f"--{' and --'.join(given)} contradict each other; give one.")
    set_here = {assignment.partition("=")[0].removeprefix("data.") for assignment in assignments}
    if path is None and not given and not set_here & set(SOURCES):
        raise click.UsageError(
            "name the pictures: --paired A B, --aligned DIR, --unpaired A B, --images DIR, --list FILE, or a "
            "CONFIG."
        )
    tree = {} if path is None else load_yaml(path)
    if not isinstance(tree, dict) or not isinstance(tree.get("data", {}), dict):
        raise ConfigError(f"{display_path(path or '')}: holds no section data.")
    section = dict(tree.get("data", {}))
    if given:
        section = {key: value for key, value in section.items() if key not in SOURCES} | given
    whole = {"data": section}
    override(whole, assignments, {"": (), "data": DataConfig.model_fields})
    config, problems = validate(DataConfig, whole["data"], "data")
    if config is None:
        name = "" if path is None else f"{display_path(path)}: "
        raise ConfigError("\n".join(name + problem for problem in problems))
    kind, scale = _needs(tree.get("method"), config)
    seed = tree.get("seed", 0)
    return Chosen(config, kind, scale, seed if isinstance(seed, int) and seed >= 0 else 0)


def _needs(method: object, config: DataConfig) -> tuple[Kind, int]:
    """Returns the kind of data and the scale that the section method of a configuration asks for."""
    if not isinstance(method, dict):
        return config.kind, 4 if config.kind == "super_resolution" else 1
    from img2img.methods import methods

    kind = methods[method["name"]].data_kind if method.get("name") in methods else config.kind
    scale = method.get("scale", 4)
    return kind, scale if kind == "super_resolution" and isinstance(scale, int) and scale > 0 else 1


def _progress_option(command: F) -> F:
    return click.option(
        "--progress",
        type=click.Choice(["auto", "rich", "plain", "none"]),
        default="auto",
        show_default=True,
        help="How progress is shown on stderr.",
    )(command)


@data.command(short_help="Find what would ruin a training.")
@_CONFIG
@_sources
@click.option("--sheet", type=_PATH, metavar="OUT.png", help="Write a picture of what is complained about.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON on stdout.")
@click.option("--jobs", type=click.IntRange(1), help="Threads that read. [default: cores]")
@_progress_option
def check(
    chosen: Chosen, sheet: Path | None, as_json: bool, jobs: int | None, progress: ProgressStyle
) -> int:
    """Find what would ruin a training before it starts.

    Opens every picture and names the files that are broken, empty or cut off, have no partner or one of
    another size, show one colour only, are too small, differ in channels or depth, or are in the training set
    and in the held-out part as well (also as a copy in another size or quality). Label maps are compared with
    their palette.

    The exit code is 1 when there is an error, and 0 when there are warnings only.

    \b
      img2img data check --paired sketches photos
      img2img data check configs/mine.yaml --sheet offenders.png
    """
    from contextlib import ExitStack

    from img2img.cli.render import Progress, quiet_libraries, say
    from img2img.data import check as module

    with ExitStack() as stack:
        stack.enter_context(quiet_libraries())
        bar: list[Progress] = []
        checked = module.check(
            chosen.config,
            kind=chosen.kind,
            scale=chosen.scale,
            jobs=jobs,
            begin=lambda files: bar.append(stack.enter_context(Progress(files, "files", progress))),
            advance=lambda failed: bar[0].advance(failed),
        )
    for finding in checked.findings:
        _say_finding(finding)
    if as_json:
        click.echo(json.dumps(checked.to_json(), indent=1))
    if sheet is not None:
        _write_offenders(checked, sheet)
    samples = ", ".join(f"{part} {count}" for part, count in checked.samples)
    if samples:
        say(f"{checked.files} files; {samples} ({checked.origin}).")
    errors, warnings = (
        _count(checked.errors, "error"),
        _count(len(checked.findings) - checked.errors, "warning"),
    )
    if checked.errors:
        say(f"{errors} and {warnings}: not ready for training.", "red")
        return 1
    say(f"Ready for training ({warnings}).", "green")
    return 0


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


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
    help="What makes the source of a picture; repeatable, in order. `img2img process --list-ops` shows all.",
)
@click.option(
    "--recipe", metavar="FILE|NAME", help="A YAML list of operations; they come before those of --op."
)
@click.option("--aligned", is_flag=True, help="Write both side by side into one file, source left.")
@batch_options
def pair(
    inputs: tuple[Path, ...],
    operations: tuple[str, ...],
    recipe: str | None,
    aligned: bool,
    options: BatchOptions,
) -> int:
    """Make pairs from single pictures: what the operations make of a picture becomes the source.

    Writes DIR/A with the results and DIR/B with exact copies of the pictures, in the same tree; or, with
    --aligned, one file a pair in DIR. The same command again does only what is missing.

    \b
      img2img data pair photos -o pairs --op edges       edges to photographs
      img2img data pair photos -o pairs --op grayscale   grey to colour
      img2img data pair photos -o pairs --op blur=3      blurred to sharp
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
    folder = Path(options.output)
    if aligned:
        maker = SideBySide(chain)
        code = convert(inputs, options, lambda: (maker, {"operations": maker.settings()}))
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
        code = convert(inputs, inner, lambda: (chain, {"operations": chain.settings()}), place)
        for failure in failures:
            say_error(failure)
        code = code or int(bool(failures))
        words = f"--paired {display_path(folder / 'A')} {display_path(folder / 'B')}"
    if code in (0, 1) and not options.dry_run and not options.quiet:
        say(f"Next: img2img data check {words}")
    return code


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


@data.command()
@click.argument(
    "folder", required=False, metavar="[DIR]", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@_sources
@click.option("-o", "--output", required=True, type=_PATH, metavar="OUT", help="A new folder.")
@click.option(
    "--val",
    "validation",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.1,
    show_default=True,
    help="Share for validation.",
)
@click.option(
    "--test",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    help="Share for the final test.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Another number is another division."
)
@click.option(
    "--group",
    metavar="folder|REGEX",
    help="What else stays together: pictures of one folder, or with the same match in their names.",
)
@click.option("--link", is_flag=True, help="Make links instead of copies.")
@click.option("--lists", is_flag=True, help="Write lists of files instead of folders.")
@_progress_option
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
    from img2img.cli.render import Progress, say
    from img2img.data.split import divide, write_folders, write_lists
    from img2img.errors import display_path

    if link and lists:
        raise click.UsageError("--link and --lists contradict each other; give one.")
    division = divide(chosen.config, validation, test, seed, group)
    if lists:
        for name in write_lists(division, output):
            say(f"Wrote {display_path(output / name)}.")
    else:
        with Progress(len(division.files), "files", progress) as bar:
            symbolic = write_folders(division, output, "link" if link else "copy", bar.advance)
        if symbolic:
            say(f"{_count(symbolic, 'symbolic link')}, because {display_path(output)} is on another disk.")
    counts = ", ".join(f"{part} {count}" for part, count in division.counts.items())
    say(f"{counts} in {display_path(output)}.")
    if not lists:
        where = [output / "A", output / "B"] if division.layout in ("paired", "unpaired") else [output]
        words = " ".join(display_path(path) for path in where)
        say(f"Next: img2img data check --{division.layout} {words}")
    return 0


@data.command()
@_CONFIG
@_sources
@click.option("-o", "--output", required=True, type=_PATH, metavar="OUT.png", help="The picture to write.")
@click.option(
    "-n",
    "--samples",
    type=click.IntRange(1, 50),
    default=6,
    show_default=True,
    help="Samples, evenly spread: one row each.",
)
@click.option(
    "--epochs", type=click.IntRange(1, 12), default=2, show_default=True, help="Random versions of each."
)
@click.option("--seed", type=click.IntRange(0), help="Of the run. [default: that of CONFIG, or 0]")
def preview(chosen: Chosen, output: Path, samples: int, epochs: int, seed: int | None) -> int:
    """Show what the network will see: source and target after resizing, augmentation, crop and flip.

    The pictures come out of the same code as in training, with the same random numbers.

    \b
      img2img data preview configs/mine.yaml -o seen.png
      img2img data preview --aligned facades --set direction=BtoA -o seen.png --epochs 3
    """
    from img2img.cli.render import say
    from img2img.data import open_data
    from img2img.data import preview as module
    from img2img.errors import display_path
    from img2img.image import write_image
    from img2img.image.sheet import sheet

    config = chosen.config.model_copy(update={"cache": "none"})
    opened = open_data(
        config, kind=chosen.kind, scale=chosen.scale, seed=chosen.seed if seed is None else seed
    )
    say(f"{opened.describe()}.")
    for note in opened.notes:
        say(note, "yellow")
    write_image(sheet(module.preview(opened.train, samples, epochs), 256), output)
    say(f"Look at {display_path(output)}.")
    return 0


@data.command()
@click.argument("name", required=False)
@click.option(
    "-o", "--output", type=_PATH, metavar="DIR", help="The data set's new folder. [default: data/NAME]"
)
@click.option("--list", "list_all", is_flag=True, help="Show the data sets.")
@click.option("--json", "as_json", is_flag=True, help="With --list: print the recipes as JSON.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--keep", is_flag=True, help="Keep the archive beside DIR.")
@click.option(
    "--archive",
    "archives",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Unpack this archive, which is here already, instead of downloading; repeatable.",
)
@_progress_option
def download(
    name: str | None,
    output: Path | None,
    list_all: bool,
    as_json: bool,
    yes: bool,
    keep: bool,
    archives: tuple[Path, ...],
    progress: ProgressStyle,
) -> int:
    """Download a public data set.

    Says what it is, how large, and on which terms, and asks before it begins. What breaks off is continued
    by the same command. The archive is checked, unpacked beside DIR and put there in one step. NAME may also
    be a recipe of your own, NAME.yaml.

    \b
      img2img data download --list
      img2img data download facades -o data/facades
    """
    from img2img.cli.render import say, say_warning
    from img2img.data import download as module
    from img2img.errors import display_path

    if list_all:
        return _list_recipes(as_json)
    if name is None:
        raise click.UsageError("name a data set; img2img data download --list shows them.")
    recipe = module.open_recipe(name)
    folder = output or Path("data") / Path(name).stem
    module.require(recipe, folder, archives)
    size = "unknown size" if recipe.bytes is None else f"{_size(recipe.bytes)} to download"
    say(f"{recipe.title}: {size}, into {display_path(folder)}.", "bold")
    say(recipe.layout)
    say(f"Terms: {recipe.licence}")
    say(f"About it: {recipe.homepage}")
    say(f"Please cite:\n{recipe.citation.rstrip()}")
    if not yes and not (folder / module.MARK).is_file():
        if not sys.stdin.isatty():
            raise click.UsageError("nobody can be asked here; --yes agrees to the size and the terms.")
        click.confirm("Go on?", abort=True, err=True)
    show = _Transfer(progress)
    try:
        made = module.download(recipe, folder, archives=archives, keep=keep, progress=show, say=say)
    finally:
        show.close()
    if not made.files:
        say(f"{display_path(folder)} is complete already.")
        return 0
    for archive in made.unchecked:
        say_warning(
            f"nobody has published a checksum of {archive}. What came is on record in {archive}.lock; a "
            "later download must be the same."
        )
    if made.left_out:
        say_warning(
            f"{_count(len(made.left_out), 'link')} in the archive left out, such as "
            f"{display_path(made.left_out[0])}."
        )
    say(f"{made.files} files in {display_path(folder)}.")
    direction = "" if recipe.direction == "AtoB" else f" --set direction={recipe.direction}"
    say(f"Next: img2img data check --{recipe.kind} {_halves(folder, recipe)}{direction}")
    return 0


def _halves(folder: Path, recipe: Recipe) -> str:
    from img2img.errors import display_path

    if recipe.kind != "unpaired":
        return display_path(folder)
    return f"{display_path(folder / 'trainA')} {display_path(folder / 'trainB')}"


def _size(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{max(1, round(size / 2**20))} MiB"


def _list_recipes(as_json: bool) -> int:
    from img2img.cli.render import print_facts
    from img2img.data.download import open_recipe, recipes

    found = {name: open_recipe(name) for name in recipes()}
    if as_json:
        click.echo(
            json.dumps({name: recipe.model_dump(mode="json") for name, recipe in found.items()}, indent=1)
        )
        return 0
    lines = []
    for name, recipe in found.items():
        size = "by hand" if recipe.by_hand else "" if recipe.bytes is None else _size(recipe.bytes)
        lines.append((name, f"{recipe.kind:9} {size:>8}  {recipe.title}"))
    print_facts(lines)
    return 0


class _Transfer:
    """Shows the progress of downloads, one after the other."""

    def __init__(self, style: ProgressStyle) -> None:
        self._style = style
        self._bar: Progress | None = None
        self._first = self._total = 0

    def __call__(self, done: int, total: int | None) -> None:
        from img2img.cli.render import Progress

        if total is None:
            return
        if self._bar is None or total != self._total or done < self._first:
            self.close()
            self._first, self._total = done, total
            self._bar = Progress((total - done) // 2**20 + 1, "MiB", self._style)
            self._bar.__enter__()
        while self._bar.done < (done - self._first) // 2**20:
            self._bar.advance()
        if done >= total:
            self.close()

    def close(self) -> None:
        """Ends what is shown."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None
