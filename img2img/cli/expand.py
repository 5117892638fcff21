"""`img2img data expand`: a data set with translated copies, for the training of other programs' models."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from img2img.cli import completion
from img2img.cli.network import networks_options
from img2img.cli.options import BatchOptions, GroupedCommand, picture_options
from img2img.cli.sources import count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from img2img.batch import Processor, Result
    from img2img.cli.network import NetworkOptions
    from img2img.data.annotated import AnnotatedSet
    from img2img.data.expand import Copy
    from img2img.inference.copies import Maker

# what programs call every model, so that it says nothing
_GENERIC = re.compile(
    r"(?:.*_)?(?:last|best|ema|latest|net|generator|model)(?:_.*)?|G(?:_.*)?", re.IGNORECASE
)
_SHOWN = 5


@click.command(cls=GroupedCommand, short_help="Add translated copies, with their annotations.")
@click.argument("source", metavar="DIR|LIST", type=click.Path(exists=True, path_type=Path))
@click.option(
    "-m",
    "--model",
    "models",
    required=True,
    multiple=True,
    metavar="NAME|FILE",
    shell_complete=completion.models,
    help="A model file (.safetensors, .pth) or a name from `model list`; repeatable.",
)
@click.option(
    "--copies",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    metavar="N",
    help="Copies of each picture; of several models those that the name of the picture draws.",
)
@click.option(
    "--dropout", is_flag=True, help="Leave dropout on, so that a model makes several copies that differ."
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Of the choice of models, and of --dropout.",
)
@click.option(
    "--masks", multiple=True, metavar="DIR", help="A folder in the set that holds masks; repeatable."
)
@networks_options
@picture_options
def expand(
    source: Path,
    models: tuple[str, ...],
    copies: int,
    dropout: bool,
    seed: int,
    masks: tuple[str, ...],
    network: NetworkOptions,
    options: BatchOptions,
) -> int:
    """Expand a data set: its pictures, and copies of them that models make.

    For the training of a classifier, a detector or a segmentation of any program. SET gets all files as they
    are, and for each picture copies called after the model: 1_winter.jpg. Models leave things where they are,
    so annotations fit: the copies get those of their originals, in YOLO's text files, VOC's XML, COCO's JSON,
    masks, LabelMe's JSON, tables and lists. Copies lie beside their originals, in the same part (train, val,
    test) and class. provenance.csv says which model made which. Nothing is overwritten; the same command
    again does what is missing, and with another model adds to the set.

    \b
      img2img data expand coco -o more -m summer2winter.safetensors
      img2img data expand voc -o more -m night.pth -m fog.pth --copies 2
      img2img data expand list.csv -o more -m pix2pix.pth --dropout --copies 3
    """
    from img2img.batch import plan_files
    from img2img.cli.convert import convert
    from img2img.cli.render import ProgressBar, say, say_error, say_warning
    from img2img.data.annotated import survey
    from img2img.data.expand import annotate, chosen, place_originals, require_new
    from img2img.errors import display_path
    from img2img.inference.copies import MAKER, Makers

    output = Path(options.output)
    if options.output in ("", "-"):
        raise click.UsageError("a data set needs a folder: -o SET.")
    if options.shard is not None or "," in network.device:
        raise click.UsageError("one process expands a data set; leave --shard out, and name one device.")
    if options.suffix:
        raise click.UsageError("copies are called after their models; leave --suffix out.")
    data = survey(source, masks, options.hidden)
    require_new(data, output)
    if data.unmatched:
        names = ", ".join(map(display_path, data.unmatched[:_SHOWN]))
        say_warning(
            f"{count(len(data.unmatched), 'annotation')} with the name of no picture: {names}"
            f"{', ...' * (len(data.unmatched) > _SHOWN)}. Copies of pictures get none of them."
        )
    makers, settings = _makers(network, models, copies, dropout, seed)
    process = Makers(makers)
    if copies > len(makers):
        say_warning(
            f"{copies} copies of each picture are asked for, and {count(len(makers), 'model')} "
            f"make{'s' * (len(makers) == 1)} one each: a second one would be the same picture. Name more "
            "models, or --dropout for models that have it."
        )
    who: dict[str, tuple[str, Maker]] = {}
    work = []
    for picture in data.pictures:
        for number in chosen(picture, copies, len(makers), seed):
            work.append((picture, f"_{makers[number].name}", {MAKER: makers[number].identity}))
    rules = replace(options.rules(), shard=None)
    planned = plan_files(
        data.root, work, output, data.listed is not None, rules, network.companions, process.conditions
    )
    for item in planned.items:
        who[str(item.output)] = item.relative, process.makers[item.companions[MAKER]]  # type: ignore[index]

    def load() -> tuple[Processor, dict[str, Any]]:
        return process, settings

    failures: list[str] = []
    if not options.dry_run:
        files = sum(1 for _ in data.files) - len(data.shared)
        with ProgressBar(files, "files", "none" if options.quiet else options.progress) as bar:
            place_originals(data, output, failures.append, bar.advance)
        _say_turned(data)
    made: list[Copy] = []

    def note(result: Result) -> None:
        if result.status == "failed" or result.output is None:
            return
        found = who.get(str(result.output)) or who.get(str(result.output.with_suffix("")))
        if found is not None:
            made.append(_copy(result.output, output, *found, network))

    code = convert([data.root], options, load, note, planned=planned)
    if options.dry_run:
        return code
    table = annotate(data, output, made, failures.append)
    for failure in failures[:_SHOWN]:
        say_error(failure)
    if len(failures) > _SHOWN:
        say_error(f"... and {len(failures) - _SHOWN} more files could not be written.")
    if not options.quiet:
        by_model = Counter(one.model for one in table)
        by_whom = ", ".join(f"{number} by {name}" for name, number in by_model.items()) or "none"
        say(
            f"{count(len(data.pictures), 'picture')} and "
            f"{count(len(table), 'copy').replace('copys', 'copies')} ({by_whom}) in {display_path(output)}; "
            "provenance.csv names all."
        )
    return code or int(bool(failures))


def _makers(
    network: NetworkOptions, models: Sequence[str], copies: int, dropout: bool, seed: int
) -> tuple[list[Maker], dict[str, Any]]:
    """Opens the models; with dropout each as often as it takes for so many copies that differ.

    Returns:
        The models, and what identifies each, as the settings of a run where there is a choice.
    """
    from img2img.inference.copies import Maker

    seeds = [seed + again for again in range(math.ceil(copies / len(models)))] if dropout else [None]
    opened = [[network.load(Path(place), dropout=one) for place in models] for one in seeds]
    names = _names(models, [translator.fingerprint for translator, _ in opened[0]])
    makers, choices = [], {}
    for one, round_ in zip(seeds, opened, strict=True):
        for name, (translator, settings) in zip(names, round_, strict=True):
            makers.append(Maker(name if one is None else f"{name}_{one}", translator, one))
            choices[makers[-1].name] = settings
    return makers, {"choices": choices}


def _names(places: Sequence[str], digests: Sequence[str]) -> list[str]:
    """Returns what copies are called after: the names of the files, with a folder where those say nothing."""
    names = []
    for place in places:
        path = Path(place)
        stem = path.stem if path.suffix else path.name
        if _GENERIC.fullmatch(stem) and path.absolute().parent.name:
            stem = f"{path.absolute().parent.name}_{stem}"
        names.append(re.sub(r"[^\w.-]+", "-", stem).strip(".") or "model")
    twice = {name for name, number in Counter(name.lower() for name in names).items() if number > 1}
    return [
        f"{name}_{digest[:6]}" if name.lower() in twice else name
        for name, digest in zip(names, digests, strict=True)
    ]


def _copy(place: Path, output: Path, original: str, maker: Maker, network: NetworkOptions) -> Copy:
    from img2img.data.expand import Copy, part_of

    return Copy(
        copy=place.relative_to(output).as_posix(),
        original=original,
        split=part_of(original),
        model=maker.name,
        model_sha256=maker.translator.fingerprint,
        seed="" if maker.seed is None else str(maker.seed),
        conditions=" ".join(f"{name}={where}" for name, where in network.companions.items()),
    )


def _say_turned(data: AnnotatedSet) -> None:
    """Says which pictures are stored turned: copies stand upright, and annotations may not."""
    from img2img.cli.render import say_warning
    from img2img.errors import display_path
    from img2img.image import is_turned

    asked = data.own.keys() if data.own else data.pictures if data.shared else ()
    turned = [path for path in asked if is_turned(data.root / path)]
    if turned:
        names = ", ".join(map(display_path, turned[:_SHOWN])) + (", ..." if len(turned) > _SHOWN else "")
        say_warning(
            f"{count(len(turned), 'picture')} {'are' if len(turned) > 1 else 'is'} stored turned (EXIF "
            f"orientation), and copies stand upright: {names}. Annotations fit the copies where they are "
            "those of the upright picture."
        )
