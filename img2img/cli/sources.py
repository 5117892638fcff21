"""The options that name training pictures, shared by the commands of `img2img data`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

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
    """

    config: DataConfig
    fields: Fields
    seed: int


OTHER_PICTURES = "Tables and further fields"


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
            help="Sharp pictures, to learn upscaling from; may be repeated.",
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
    "--method", metavar="NAME", help="What is trained, and so what a sample holds: pix2pix, inpainting, ..."
)


CONFIG = click.argument(
    "config", required=False, metavar="[CONFIG]", type=click.Path(dir_okay=False, path_type=Path)
)


def _choose(
    path: Path | None, given: dict[str, Any], assignments: tuple[str, ...], method: str | None = None
) -> Chosen:
    from img2img.config import override, validate
    from img2img.data import SOURCES, DataConfig
    from img2img.data.config import keep_jitter, lay_places
    from img2img.data.places import declared, require_places
    from img2img.errors import ConfigError, display_path

    set_here = {assignment.partition("=")[0].removeprefix("data.") for assignment in assignments}
    if path is None and not given and not set_here & set(SOURCES):
        raise click.UsageError(
            "name the pictures: --paired A B, --aligned DIR, --unpaired A B, --images DIR, --list FILE, "
            "--field NAME=PLACE, or a CONFIG."
        )
    tree = {} if path is None else _tree(path)
    if not isinstance(tree, dict) or not isinstance(tree.get("data", {}), dict):
        raise ConfigError(f"{display_path(path or '')}: holds no section data.")
    section = dict(tree.get("data", {}))
    wanted = tree.get("method") if method is None else {"name": method}
    own = _own_places(wanted)
    if own:  # such as masks that are drawn
        section["fields"] = {**own, **(section.get("fields") or {})}
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
    fields = _fields(wanted, config)
    if given and method is None:  # pictures that the command line names need not be for the method of CONFIG
        try:
            require_places(config, fields)
        except ConfigError:
            fields = declared(config)
    return Chosen(config, fields, seed if isinstance(seed, int) and seed >= 0 else 0)


def _tree(path: Path) -> Any:
    """Returns what a configuration holds: a file, one that ships, or that of a method, as for `train`."""
    from img2img.config import load_yaml

    if path.is_file():
        return load_yaml(path)
    from img2img.methods import methods
    from img2img.training.experiment import find_config

    return {"method": {"name": str(path)}} if str(path) in methods else load_yaml(find_config(path))


def _own_places(method: object) -> Mapping[str, Any]:
    """Returns the places of fields that a method has by default."""
    from img2img.methods import methods

    name = method.get("name") if isinstance(method, dict) else None
    if not isinstance(name, str) or name not in methods:
        return {}
    found: Mapping[str, Any] = methods[name].defaults.get("data", {}).get("fields", {})
    return found


def _fields(method: object, config: DataConfig) -> Fields:
    """Returns what a sample holds for the section method of a configuration."""
    from img2img.data.places import declared

    if not isinstance(method, dict):
        return declared(config)
    from img2img.errors import ConfigError
    from img2img.methods import methods

    name = method.get("name")
    if not isinstance(name, str) or name not in methods:
        if isinstance(name, str):
            methods[name]  # raises, and names what there is
        return declared(config)
    cls = methods[name]
    try:
        return cls.fields_of(cls.Config.model_validate(method))
    except (ValueError, ConfigError):  # `config validate` says what is wrong with it
        return cls.fields


def progress_option(command: F) -> F:
    """Adds --progress."""
    return click.option(
        "--progress",
        type=click.Choice(["auto", "rich", "plain", "none"]),
        default="auto",
        show_default=True,
        help="How progress is shown on stderr.",
    )(command)


def count(number: int, noun: str) -> str:
    """Returns a number of things in words: "1 error", "2 errors", "no errors"."""
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
