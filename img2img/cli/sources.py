"""The options that name training pictures, shared by the commands of `img2img data`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from img2img.cli import completion
from img2img.cli.options import option

if TYPE_CHECKING:
    from img2img.data import DataConfig
    from img2img.fields import Fields

F = TypeVar("F", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)


@dataclass(frozen=True)
class Chosen:
    """The data section of a configuration or of the options.

    Attributes:
        config: Where the pictures are.
        fields: What a sample holds, by the method, or by the data alone.
        seed: Of the run.
        any_size: Whether what is trained is used on pictures of any size.
        notes: Sentences about what a training on these places does otherwise.
    """

    config: DataConfig
    fields: Fields
    seed: int
    any_size: bool = False
    notes: tuple[str, ...] = ()

    def require_apart(self, output: Path) -> None:
        """Refuses to write `output` among the pictures that a training takes.

        Raises:
            click.UsageError: It lies in one of their folders, or is one of them.
        """
        from img2img.data.records import find_records
        from img2img.errors import Img2ImgError, display_path

        config, place = self.config, output.resolve()
        for folder in config.folders:
            if place.is_relative_to(folder.resolve()):
                raise click.UsageError(
                    f"{display_path(output)} lies among the pictures of {display_path(folder)}; write it "
                    "elsewhere."
                )
        if not output.exists():
            return
        try:
            records = find_records(config.model_copy(update={"unmatched": "skip"}), self.fields)
        except Img2ImgError:  # then nothing is shown
            return
        parts = (*records.train, *records.validation)
        if any(path.resolve() == place for part in parts for record in part for path in record.paths):
            raise click.UsageError(f"{display_path(output)} is one of the pictures; write to another file.")


OTHER_PICTURES = "Tables and further fields"
_PLACING = ("paired", "aligned", "unpaired", "images", "listed", "further", "method", "assignments")


class SourcesCommand(click.Command):
    """A command whose help sets the options that say which pictures are meant apart from the others."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes both."""
        for heading, ours in (("The pictures", True), ("Options", False)):
            records = [
                parameter.get_help_record(ctx)
                for parameter in self.get_params(ctx)
                if isinstance(parameter, click.Option) and (parameter.name in _PLACING) == ours
            ]
            with formatter.section(heading):
                formatter.write_dl([record for record in records if record is not None])


def source_options(command: F) -> F:
    """Adds the options that name pictures; `named` takes their values."""
    declared = [
        click.option(
            "--paired", nargs=2, type=PATH, metavar="A B", help="Two folders of pairs, matched by file names."
        ),
        click.option(
            "--aligned",
            multiple=True,
            type=PATH,
            metavar="DIR",
            help="Side-by-side files: left half A, right half B; may be repeated.",
        ),
        click.option("--unpaired", nargs=2, type=PATH, metavar="A B", help="Two folders without partners."),
        click.option(
            "--images",
            multiple=True,
            type=PATH,
            metavar="DIR",
            help="Pictures alone, for upscalers, restoration and inpainting; may be repeated.",
        ),
        option(
            "--list",
            "listed",
            type=PATH,
            metavar="FILE",
            group=OTHER_PICTURES,
            help="CSV or JSON lines with a column each.",
        ),
        option(
            "--field",
            "further",
            group=OTHER_PICTURES,
            multiple=True,
            metavar="NAME=PLACE",
            help="A further field that the method needs: a folder or a table; mask=random draws masks.",
        ),
    ]
    for add in reversed(declared):
        add(command)
    return command


def named(
    paired: tuple[Path, Path] | None,
    aligned: tuple[Path, ...],
    unpaired: tuple[Path, Path] | None,
    images: tuple[Path, ...],
    listed: Path | None,
    further: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Returns what is given by its key in the section data, or nothing.

    Raises:
        click.UsageError: Several are given, or a field has no place.
    """
    found = {"paired": paired, "aligned": aligned, "unpaired": unpaired, "images": images, "list": listed}
    given = {key: value for key, value in found.items() if value}
    if len(given) > 1:
        raise click.UsageError(f"--{' and --'.join(given)} contradict each other; give one.")
    fields = {}
    for each in further:
        name, equals, place = each.partition("=")
        if not equals or not name.strip() or not place.strip():
            raise click.UsageError(f"--field {each}: say NAME=PLACE, such as mask=masks or mask=random.")
        if name.strip() in fields:
            raise click.UsageError(f"--field {name.strip()} is given twice; give one place.")
        fields[name.strip()] = place.strip()
    return {**given, "fields": fields} if fields else given


def sources(command: F) -> F:
    """Adds the options that name pictures, as `train` has them, and hands over `Chosen`."""

    @functools.wraps(command)
    def choosing(
        paired: tuple[Path, Path] | None,
        aligned: tuple[Path, ...],
        unpaired: tuple[Path, Path] | None,
        images: tuple[Path, ...],
        listed: Path | None,
        further: tuple[str, ...],
        assignments: tuple[str, ...],
        method: str | None = None,
        config: Path | None = None,
        folder: Path | None = None,
        **values: Any,
    ) -> Any:
        given = named(paired, aligned, unpaired, images, listed, further)
        if folder is not None and given.keys() - {"fields"}:
            raise click.UsageError(f"DIR and --{next(iter(given))} contradict each other; give one.")
        if folder is not None:
            given = {"images": folder, **given}
        return command(chosen=_choose(config, given, assignments, method), **values)

    add_assignments = click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="KEY=VALUE",
        help="A key of the section data, such as crop_size=128.",
    )
    return cast(F, source_options(METHOD(add_assignments(choosing))))


METHOD = click.option(
    "--method",
    metavar="NAME",
    shell_complete=completion.methods,
    help="What is trained, and so what a sample holds: pix2pix, inpainting, ...",
)


CONFIG = click.argument(
    "config", required=False, metavar="[CONFIG]", type=click.Path(dir_okay=False, path_type=Path)
)


def plain(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what `named` returns as a configuration has it."""
    return {
        key: list(map(str, value)) if isinstance(value, tuple) else value if key == "fields" else str(value)
        for key, value in given.items()
    }


def _choose(
    path: Path | None, given: dict[str, Any], assignments: tuple[str, ...], method: str | None = None
) -> Chosen:
    """Returns what `img2img train` would take for the same CONFIG, places and --method."""
    from img2img.config import override, validate
    from img2img.data import SOURCES, DataConfig
    from img2img.data.config import keep_jitter, lay_places
    from img2img.data.places import declared, require_places
    from img2img.errors import ConfigError, PlanError, display_path
    from img2img.methods import methods
    from img2img.training.experiment import with_conditions
    from img2img.training.starts import METHODS, choose, form_of

    set_here = {assignment.partition("=")[0].removeprefix("data.") for assignment in assignments}
    paper = path is not None and not path.is_file() and str(path) in methods
    if (path is None or paper) and not given and not set_here & set(SOURCES):
        raise click.UsageError(
            "name the pictures: --paired A B, --aligned DIR, --unpaired A B, --images DIR, --list FILE, "
            "--field NAME=PLACE, or a CONFIG."
        )
    if method is not None and path is not None and str(path) != method:
        raise click.UsageError("CONFIG names the method; give it, or --method.")
    tree: Any = {}
    wanted = str(path) if paper else method
    if path is None or paper:
        if wanted is not None:
            methods[wanted]  # raises, and names what there is
        if given or wanted:
            tree = choose(plain(given), assignments, paper, wanted).sections
    else:
        tree = _tree(path)
    if not isinstance(tree, dict) or not isinstance(tree.get("data", {}), dict):
        raise ConfigError(f"{display_path(path or '')}: holds no section data.")
    section = dict(tree.get("data", {}))
    if given:
        section = lay_places(section, given)
    whole, before = {"data": section}, dict(section)
    override(whole, assignments, {"": (), "data": DataConfig.model_fields})
    keep_jitter(whole["data"], before, (each.partition("=")[0] for each in assignments))
    config, problems = validate(DataConfig, whole["data"], "data")
    if config is None:
        name = "" if path is None else f"{display_path(path)}: "
        raise ConfigError("\n".join(name + problem for problem in problems))
    seed = tree.get("seed", 0)
    chosen = Chosen(
        config,
        _fields(with_conditions({**tree, "data": whole["data"]}).get("method"), config),
        seed if isinstance(seed, int) and seed >= 0 else 0,
        _any_size(tree.get("method")),
    )
    if not given or wanted is not None:
        return chosen
    if path is not None:  # pictures that the command line names need not be for the method of CONFIG
        try:
            require_places(config, chosen.fields)
        except ConfigError:
            return replace(chosen, fields=declared(config))
        return chosen
    try:
        fields = declared(config)
    except PlanError:  # what is wrong with the list is told where it is read
        return chosen
    return _without_method(chosen, fields, METHODS[form_of(given)], given, assignments)


def _without_method(
    chosen: Chosen, fields: Fields, usual: str, given: dict[str, Any], assignments: tuple[str, ...]
) -> Chosen:
    """Returns `chosen` for all `fields` that the places name, and a sentence where training takes others.

    Args:
        chosen: What a training takes that names no method.
        fields: What the places hold.
        usual: Its method.
        given, assignments: As of `_choose`.
    """
    from img2img.methods import methods

    more = [name for name in fields if name not in chosen.fields]
    lacking = [] if given.get("list") else [name for name in methods[usual].fields if name not in fields]
    if not more and not lacking:
        return replace(chosen, fields=fields)
    kinds = {name: field.kind for name, field in fields.items()}
    fitting = [name for name in methods if {n: f.kind for n, f in methods[name].fields.items()} == kinds]
    takes_more = "conditions" in methods[usual].Config.model_fields and not lacking
    if fitting and not takes_more:
        own = _choose(None, given, assignments, fitting[0])
        return replace(own, notes=(f"{_and(kinds)} are for {fitting[0]}: train with --method {fitting[0]}.",))
    if more:
        does = f"{'leaves out' if given.get('list') else 'does not know'} {_and(more)}"
    else:
        does = f"needs {_and(lacking)}, too"
    note = f"without --method a training is one of {usual}, which {does}; name the method for these fields."
    return replace(chosen, fields=fields, notes=(note,))


def _and(names: Iterable[str]) -> str:
    """Returns "a", "a and b", or "a, b and c"."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _tree(path: Path) -> Any:
    """Returns what a configuration holds: a file, or one that ships."""
    from img2img.config import find_config, load_yaml

    return load_yaml(path if path.is_file() else find_config(path))


def _any_size(method: object) -> bool:
    """Returns whether what the section method trains is used on pictures of any size."""
    from img2img.methods import methods

    name = method.get("name") if isinstance(method, dict) else None
    return isinstance(name, str) and name in methods and methods[name].any_size


def _fields(method: object, config: DataConfig) -> Fields:
    """Returns what a sample holds for the section method of a configuration."""
    from img2img.data.places import declared

    if not isinstance(method, dict):
        return declared(config)
    from img2img.methods import fields_in

    return fields_in(method) if isinstance(method.get("name"), str) else declared(config)


def count(number: int, noun: str) -> str:
    """Returns a number of things in words: "1 error", "2 errors", "no errors"."""
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
