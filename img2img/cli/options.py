"""The options that all folder commands share, in groups: a dozen in --help, everything in --help-all."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click
from click.core import ParameterSource

from img2img.cli import completion
from img2img.cli.render import ProgressStyle

if TYPE_CHECKING:
    from img2img.batch import Rules
    from img2img.image import EncodeOptions, Limits
    from img2img.video import VideoOptions
    from img2img.video.options import BrokenFrames

F = TypeVar("F", bound=Callable[..., Any])
FILES, OUTPUT, LIMITS, SPEED, MESSAGES = "Which files", "What is written", "Limits", "Speed", "Messages"
VIDEO = "Videos"


class GroupedOption(click.Option):
    """An option that only --help-all shows, under the heading `group`."""

    def __init__(self, *args: Any, group: str | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Leaves out names with an underscore: other tools' spellings, taken without being advertised."""
        record = super().get_help_record(ctx)
        return record and (re.sub(r", --[a-z]+_\w+", "", record[0]), record[1])


class GroupedCommand(click.Command):
    """A command whose plain --help stays short."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Adds --help-all beside --help."""
        return [*super().get_params(ctx), _HELP_ALL]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the ungrouped options, then either the groups or how to see them."""
        groups: dict[str | None, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                groups.setdefault(getattr(parameter, "group", None), []).append(record)
        for heading, records in groups.items():
            if heading is None or ctx.meta.get("help_all"):
                with formatter.section(heading or "Options"):
                    formatter.write_dl(records)
        if not ctx.meta.get("help_all") and len(groups) > 1:
            names = ", ".join(name.lower() for name in groups if name)
            formatter.write_paragraph()
            formatter.write_text(f"More with --help-all: {names}.")


def _show_all(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        ctx.meta["help_all"] = True
        click.echo(ctx.get_help())
        ctx.exit()


_HELP_ALL = click.Option(
    ["--help-all"],
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_show_all,
    help="Show every option, in groups.",
)


class FileSize(click.ParamType):  # type: ignore[type-arg]
    """A number of bytes: "512M", "2GiB", "1500000"."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Returns bytes."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", str(value).strip().lower())
        if match is None or float(match[1]) == 0:
            self.fail(
                f"{value!r} is not a size; write bytes or a number with K, M, G or T: 512M.", param, ctx
            )
        return int(float(match[1]) * 1024 ** " kmgt".index(match[2] or " "))


def _companions(ctx: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    """Returns what NAME=DIR, NAME=FILE and NAME=0.1,0.2 say, by name."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, place = text.partition("=")
        if not equals or not name.isidentifier() or not place:
            raise click.BadParameter(
                f"{text!r} is not of the form NAME=DIR, NAME=FILE or NAME=0.1,0.2.", ctx, parameter
            )
        if name in found:
            raise click.BadParameter(f"{name} is given twice.", ctx, parameter)
        found[name] = place
    return found


class PlaceType(click.Path):
    """A path of this machine, or a place in a store such as s3://bucket/folder."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Returns the path."""
        from img2img.remote import is_remote, place

        text = str(value)
        if is_remote(text) or text.startswith("file://"):
            return place(text)
        return super().convert(value, param, ctx)


class Count(click.ParamType):  # type: ignore[type-arg]
    """A number of things: "100M" pixels, "250000"; thousands, not 1024."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Returns the count."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]?)(?:p|px|pixels)?", str(value).strip().lower())
        if match is None or float(match[1]) == 0:
            self.fail(f"{value!r} is not a count; write a number, or one with K, M or G: 200M.", param, ctx)
        return int(float(match[1]) * 1000 ** " kmg".index(match[2] or " "))


class FrameRange(click.ParamType):  # type: ignore[type-arg]
    """Frames of a video from 0 on, without the last: "100:200", "100:", ":200"."""

    name = "range"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int | None]:
        """Returns the first and the one behind the last; None is the end."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d{0,12}):(\d{0,12})", str(value).strip())
        if match is None:
            self.fail(f"{value!r} is no range; write 100:200 for the frames 100 to 199.", param, ctx)
        return int(match[1] or 0), int(match[2]) if match[2] else None


class Rate(click.ParamType):  # type: ignore[type-arg]
    """Frames a second: "24", "23.976", "30000/1001"."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Fraction:
        """Returns it as a fraction."""
        text = str(value).strip()
        if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?|\d{1,6}/\d{1,6}", text) or not float(text.split("/")[-1]):
            self.fail(f"{value!r} is no rate; write 24, 23.976 or 24000/1001.", param, ctx)
        return Fraction(text)


@dataclass(frozen=True)
class BatchOptions:
    """The values of the options that `batch_options` adds; the fields carry the options' names."""

    output: str
    suffix: str
    ext: str | None
    overwrite: bool
    dry_run: bool
    report: Path | None
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    recursive: bool
    follow_symlinks: bool
    hidden: bool
    shard: str | None
    checksum: bool
    quality: int
    lossless: bool
    jpeg_sampling: str
    png_level: int
    strip_metadata: bool
    strip_gps: bool
    as_json: bool
    max_pixels: int
    max_file_size: int
    max_failures: int | None
    jobs: int | None
    batch: int | None
    cluster: str | None
    workers: int | None
    progress: ProgressStyle
    verbose: bool
    quiet: bool
    codec: str | None = None
    crf: float | None = None
    frames: tuple[int, int | None] = (0, None)
    broken_frames: BrokenFrames = "hold"
    smooth: float = 0.0
    animated: bool = False
    fps: Fraction | None = None

    def rules(self) -> Rules:
        """Returns which files are taken and how outputs are named."""
        from img2img.batch import Rules, Shard, shard_from_environment

        shard = Shard.parse(self.shard) if self.shard else shard_from_environment()
        return Rules(
            include=self.include,
            exclude=self.exclude,
            recursive=self.recursive,
            follow_symlinks=self.follow_symlinks,
            hidden=self.hidden,
            suffix=self.suffix,
            extension=self.ext,
            shard=shard,
            video=self.video(),
        )

    def video(self) -> VideoOptions:
        """Returns how videos are read and stored."""
        from img2img.video import VideoOptions

        return VideoOptions(**{each.name: getattr(self, each.name) for each in fields(VideoOptions)})

    def limits(self) -> Limits:
        """Returns what is refused before it is decoded."""
        from img2img.image import Limits
        from img2img.image.limits import DEFAULT_MAX_PIXELS

        trusted = self.max_pixels > DEFAULT_MAX_PIXELS  # who raises it trusts the files
        return Limits(
            max_pixels=self.max_pixels,
            max_file_size=self.max_file_size,
            max_expansion=None if trusted else Limits.max_expansion,
        )

    def encoding(self) -> EncodeOptions:
        """Returns how pictures are stored."""
        from img2img.image import EncodeOptions

        context = click.get_current_context(silent=True)
        source = context.get_parameter_source("quality") if context else ParameterSource.DEFAULT
        by_quality = source is not ParameterSource.DEFAULT
        return EncodeOptions(
            quality=self.quality,
            lossless=True if self.lossless else False if by_quality else None,
            jpeg_sampling=self.jpeg_sampling,
            png_level=self.png_level,
            strip_metadata=self.strip_metadata,
            strip_gps=self.strip_gps,
        )


def option(*declarations: str, group: str | None = None, **attributes: Any) -> Callable[[F], F]:
    """Like `click.option`, with the heading under which --help-all shows it."""
    return click.option(*declarations, cls=GroupedOption, group=group, **attributes)


DEVICE = option(
    "--device",
    metavar="NAME",
    group=SPEED,
    default="auto",
    show_default=True,
    shell_complete=completion.devices,
    help="cpu, cuda, cuda:1, mps.",
)
PROGRESS = option(
    "--progress",
    type=click.Choice(["auto", "rich", "plain", "none"]),
    default="auto",
    show_default=True,
    group=MESSAGES,
    help="How progress is shown on stderr.",
)


def packed(kind: type, name: str, declared: Sequence[Callable[[Any], Any]]) -> Callable[[F], F]:
    """Returns a decorator that adds the options `declared` and hands them over as one argument.

    Such decorators stand directly above the function; what other decorators add comes first on the help page.

    Args:
        kind: A dataclass with a field for each option; what else it has keeps its default.
        name: The argument of the command that receives it.
        declared: Results of `option`.
    """

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def packing(**values: Any) -> Any:
            own = {f.name: values.pop(f.name) for f in fields(kind) if f.name in values}
            return command(**{name: kind(**own)}, **values)

        for add in reversed(declared):
            add(packing)
        return cast(F, packing)

    return decorate


def _format(ctx: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    """Returns ".png" for "png" or ".png"; None for "auto" and "keep"."""
    text = (text or "keep").lower().lstrip(".")
    return None if text in ("auto", "keep") else f".{text}"


FOLLOW_SYMLINKS = option(
    "--follow-symlinks",
    is_flag=True,
    group=FILES,
    help="Follow links to folders; those to files always are.",
)
HIDDEN = option(
    "--hidden", is_flag=True, group=FILES, help="Take files and folders that begin with a dot, too."
)

WITH = option(
    "--with",
    "companions",
    multiple=True,
    metavar="NAME=DIR|FILE",
    callback=_companions,
    group=FILES,
    help="What a model needs beside each picture: a folder with the same names, a table (CSV, JSON lines) "
    "with a column file, or one file or numbers for all.",
)

_OF_VIDEOS: list[Callable[[Any], Any]] = [
    option(
        "--codec",
        metavar="NAME",
        group=VIDEO,
        help="h264, hevc, vp9, av1, prores, ffv1 or an encoder of FFmpeg. [default: as the input]",
    ),
    option(
        "--crf",
        type=click.FloatRange(0),
        group=VIDEO,
        help="Quality on the codec's scale, lower is better; 0 is without loss. [default: 18 for H.264]",
    ),
    option(
        "--frames",
        type=FrameRange(),
        default=":",
        metavar="FROM:TO",
        group=VIDEO,
        help="Only these frames, from 0 on, TO left out: 100:200.",
    ),
    option(
        "--broken-frames",
        type=click.Choice(["hold", "fail"]),
        default="hold",
        show_default=True,
        group=VIDEO,
        help="Show the frame before a broken one in its place and report it, or fail the file.",
    ),
    option(
        "--smooth",
        type=click.FloatRange(0, 1, max_open=True),
        default=0.0,
        metavar="SHARE",
        group=VIDEO,
        help="Share of the result before where the input stands still, against flicker. [default: 0]",
    ),
    option(
        "--fps",
        type=Rate(),
        group=VIDEO,
        help="Pictures of an image sequence (frame_%04d.png) in a second: 24, 30000/1001. [default: 25]",
    ),
    option(
        "--animated",
        is_flag=True,
        group=VIDEO,
        help="Take animated GIF, WebP and PNG files for short videos, and write such.",
    ),
]
_BATCH_OPTIONS: list[Callable[[Any], Any]] = [
    option("-o", "--output", required=True, metavar="DIR|FILE|-", help="Where results go; - is stdout."),
    option("--suffix", default="", help="Text before the extension of every output name: _x4."),
    option(
        "--ext",
        metavar="FORMAT",
        shell_complete=completion.formats,
        callback=_format,
        help="Format of the outputs: png, jpg, webp, tif, ... [default: as the input]",
    ),
    option("--overwrite", is_flag=True, help="Replace files that are there already."),
    option("--dry-run", is_flag=True, help="Print what would be done and stop."),
    option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write one JSON line per file."),
    option(
        "--include", multiple=True, metavar="GLOB", group=FILES, help="Only files that match; repeatable."
    ),
    option("--exclude", multiple=True, metavar="GLOB", group=FILES, help="No files that match; repeatable."),
    option(
        "--recursive/--no-recursive",
        default=True,
        show_default=True,
        group=FILES,
        help="Descend into folders.",
    ),
    FOLLOW_SYMLINKS,
    HIDDEN,
    option(
        "--shard",
        metavar="I/N",
        group=FILES,
        help="Only this share of the files. [default: from torchrun or SLURM]",
    ),
    option(
        "--checksum",
        is_flag=True,
        group=FILES,
        help="Tell changed inputs by content instead of size and time.",
    ),
    option(
        "--quality",
        type=click.IntRange(1, 100),
        default=95,
        show_default=True,
        group=OUTPUT,
        help="Of JPEG, WebP and AVIF.",
    ),
    option(
        "--lossless", is_flag=True, group=OUTPUT, help="Write WebP without loss, and AVIF with the least."
    ),
    option(
        "--jpeg-sampling",
        type=click.Choice(["4:2:0", "4:2:2", "4:4:4"]),
        default="4:2:0",
        show_default=True,
        group=OUTPUT,
        help="Resolution of colour in JPEG; 4:4:4 is all of it.",
    ),
    option(
        "--png-level",
        type=click.IntRange(0, 9),
        default=3,
        show_default=True,
        group=OUTPUT,
        help="Compression of PNG: 0 fast, 9 small.",
    ),
    option("--strip-metadata", is_flag=True, group=OUTPUT, help="Write no metadata; colours look the same."),
    option("--strip-gps", is_flag=True, group=OUTPUT, help="Write EXIF without the place."),
    option("--json", "as_json", is_flag=True, group=OUTPUT, help="Print the summary as JSON on stdout."),
    option(
        "--max-pixels",
        type=Count(),
        default="210M",
        show_default=True,
        group=LIMITS,
        help="Refuse larger inputs before decoding.",
    ),
    option(
        "--max-file-size",
        type=FileSize(),
        default="2G",
        show_default=True,
        group=LIMITS,
        help="Refuse larger input files.",
    ),
    option("--max-failures", type=click.IntRange(1), group=LIMITS, help="Stop after this many failed files."),
    *_OF_VIDEOS,
    option(
        "--jobs",
        type=click.IntRange(1, 1024),
        group=SPEED,
        help="Threads that decode and that encode. [default: cores]",
    ),
    option(
        "--batch", type=click.IntRange(1), group=SPEED, help="Same-shape images per call. [default: chosen]"
    ),
    option(
        "--cluster",
        metavar="ray|ADDRESS",
        group=SPEED,
        help="Share the files out over a Ray cluster: auto (of this machine), HOST:PORT; ray starts one here "
        "unless RAY_ADDRESS names one.",
    ),
    option(
        "--workers",
        type=click.IntRange(1, 10_000),
        group=SPEED,
        help="Processes of --cluster. [default: one for each GPU, else for every four cores]",
    ),
    PROGRESS,
    option(
        "-v",
        "--verbose",
        is_flag=True,
        group=MESSAGES,
        help="One line per file, and details of unexpected errors.",
    ),
    option("-q", "--quiet", is_flag=True, group=MESSAGES, help="Only failures."),
]

batch_options = packed(BatchOptions, "options", _BATCH_OPTIONS)
picture_options = packed(BatchOptions, "options", [each for each in _BATCH_OPTIONS if each not in _OF_VIDEOS])
"""For commands that take no videos."""

INPUTS = click.argument("inputs", nargs=-1, required=True, metavar="INPUT...", type=PlaceType())
