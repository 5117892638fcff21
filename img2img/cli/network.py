"""The options of all commands that run a network, and opening the model that they describe."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from img2img.cli import completion
from img2img.cli.convert import ONCE, Load, convert
from img2img.cli.options import LIMITS, OUTPUT, SPEED, WITH, BatchOptions, FileSize, option, packed
from img2img.cli.render import say, say_error
from img2img.errors import ConfigError, display_path

if TYPE_CHECKING:
    from img2img.batch import Result
    from img2img.inference import Translator


AUTO = "auto"
"""The name that stands for a choice by what is found in each picture."""


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """The values of the options that `network_options` adds; `model` is None where none was named."""

    model: str | None = None
    tile: int | None
    device: str
    precision: str
    backend: str
    memory: int | None
    companions: Mapping[str, str]
    mark: bool
    alpha: str = "model"

    def convert(
        self,
        inputs: Sequence[Path],
        options: BatchOptions,
        load: Load,
        arguments: Sequence[str],
        on_result: Callable[[Result], None] = lambda result: None,
        estimate: bool = False,
        variants: Mapping[str, Mapping[str, Any]] = ONCE,
    ) -> int:
        """Runs the model that `load` opens over `inputs`, on one device or on several.

        Args:
            inputs: Files and folders.
            options: The shared options.
            load: Returns the processor and its settings.
            arguments: What the user typed after the program's name; each device gets it with its shard.
            on_result, estimate, variants: See `img2img.cli.convert.convert`.

        Returns:
            The exit code; of several devices the worst.
        """
        devices = self.device.split(",")
        if len(devices) == 1 or options.dry_run:
            return convert(inputs, options, load, on_result, self.companions, estimate, variants=variants)
        if options.output == "-":
            raise click.UsageError("-o - writes one picture; it takes one device.")
        if options.cluster is not None:
            raise click.UsageError("a worker of --cluster takes one device: --device cuda, or auto.")
        from img2img.batch import check_report
        from img2img.cli.launch import launch, per_device

        if options.report is not None:
            check_report(options.report)
        program = [sys.executable, "-m", "img2img"]
        commands = per_device([*program, *arguments], devices, options.rules().shard)
        parts = [Path(f"{options.report}.{number}") for number in range(len(devices))]
        if options.report is not None:
            for command, part in zip(commands, parts, strict=True):
                command += ["--report", str(part)]
        code = launch(commands, devices, say)
        if options.report is not None:
            try:
                _join([part for part in parts if part.exists()], options.report)
            except OSError as error:
                name = display_path(options.report)
                say_error(f"the report {name} cannot be written: {error.strerror or error}.")
                return code or 1
        return code

    def makes_labels(self) -> bool:
        """Returns whether the model makes label maps, as its file says; nothing else of it is opened.

        What is wrong with the file is told when it is.
        """
        from img2img.checkpoint import KEY, read_header
        from img2img.errors import ModelError
        from img2img.weights import find_model

        try:
            metadata = read_header(find_model(self.model or "")).get("__metadata__", {})
            return bool(json.loads(metadata[KEY])["output"] == "labels")
        except (ModelError, ValueError, KeyError, TypeError):
            return False

    def load(
        self, model: Path | None = None, numbers: bool = True, **more: Any
    ) -> tuple[Translator, dict[str, Any]]:
        """Opens the model that was named, or else `model`; `more` goes to `load_model`.

        Args:
            model: A name or a file.
            numbers: Whether vectors that the model takes must be given; if not, something else says them.
            **more: What else `load_model` takes.

        Returns:
            The model, and what identifies it and all that changes its results.
        """
        from img2img.conditions import require_conditions
        from img2img.fields import Vector
        from img2img.inference import load_model
        from img2img.inference.identity import identity
        from img2img.inference.inpainting import fills_holes

        name = model if self.model is None else self.model
        if name is None:
            raise click.UsageError("name a model with -m.")
        translator = load_model(
            name,
            device=self.device.split(",")[0],  # several are of several processes, or of a dry run
            precision=self.precision,
            tile=self.tile or None,
            memory=self.memory,
            alpha=self.alpha,
            backend=self.backend,
            mark=self.mark,
            **more,
        )
        needed = {
            name: field
            for name, field in translator.conditions.items()
            if numbers or field.spatial or name in self.companions
        }
        try:
            require_conditions(needed, self.companions, "`companions`")
        except ConfigError as error:
            context = click.get_current_context(silent=True)
            lacking = [needed[name] for name in needed.keys() - self.companions.keys()]
            may_set = context is not None and "set_attribute" in context.params  # of translate alone
            if may_set and any(isinstance(field, Vector) for field in lacking):
                raise ConfigError(f"{error} Or set some by their names (`set_attribute`).") from None
            if not fills_holes(translator.generator):
                raise
            other = f"It fills holes: img2img inpaint -m {name} --mask DIR does it, and keeps what is known."
            raise ConfigError(f"{error} {other}") from None
        return translator, identity(translator, more)


def origin(path: Path) -> str:
    """Returns where a model that the user did not name comes from, in words."""
    from img2img.weights import ships

    return "which ships with img2img" if ships(path) else f"from {display_path(path.parent)}"


def _join(parts: Sequence[Path], report: Path) -> None:
    """Makes one report of those of several processes."""
    with report.open("wb") as whole:
        for part in parts:
            whole.write(part.read_bytes())
            part.unlink()


def _model(**more: Any) -> Any:
    return option(
        "-m",
        "--model",
        "-n",
        "--model-name",
        "--model_name",
        "--model_path",
        "model",
        metavar="NAME|FILE",
        shell_complete=completion.models,
        **more,
    )


class Sides(click.ParamType):  # type: ignore[type-arg]
    """A side length in pixels, width x height, or "native"."""

    name = "size"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | tuple[int, int] | Literal["native"]:
        """Returns the side of a square, (height, width), or "native"."""
        if value == "native":
            return "native"
        found = re.fullmatch(r"(\d{1,9})(?:\s*[xX\u00d7]\s*(\d{1,9}))?", value.strip())
        width, height = (int(side or found[1]) for side in found.groups()) if found else (0, 0)
        if min(width, height) < 1:
            self.fail(
                f"{value!r} is no size; write a side length in pixels (256), WIDTHxHEIGHT (96x64) or native.",
                param,
                ctx,
            )
        return width if width == height else (height, width)


SIZE = option(
    "--size",
    type=Sides(),
    metavar="N|WxH|native",
    help="What the network sees: N x N pixels, W x H, or each image as it is. [default: as it was trained]",
)
FIT = option(
    "--fit",
    group=OUTPUT,
    type=click.Choice(["squeeze", "keep"]),
    help="How images of other proportions come to that size: squeezed into it, or in their proportions with "
    "neither side smaller. [default: as it was trained]",
)
COLOR_FIX = option(
    "--color-fix",
    type=click.Choice(["off", "lowfreq", "wavelet"]),
    group=OUTPUT,
    help="Give results the colours of their inputs, which GAN models shift: by a Gaussian, or by wavelets. "
    "[default: lowfreq for models known to be of a GAN, else off]",
)
MARK = option(
    "--mark/--no-mark",
    default=True,
    show_default=True,
    group=OUTPUT,
    help="Whether results of translation and GAN models say in XMP that a network made them.",
)
PRECISION = option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
    default="auto",
    show_default=True,
    group=SPEED,
    help="Number format of the network.",
)
BACKEND = option(
    "--backend",
    type=click.Choice(["auto", "eager", "compile", "openvino", "onnxruntime"]),
    default="auto",
    show_default=True,
    group=SPEED,
    help="What computes the network. auto takes OpenVINO where it is installed and faster.",
)
_MODEL_HELP = "A model file (.safetensors, .pth) or a name from `model list`."
_OTHERS = [
    WITH,
    option(
        "-t",
        "--tile",
        type=click.IntRange(0),
        metavar="PIXELS",
        help="Side of the tiles. [default: fits the memory]",
    ),
    option(
        "--device",
        shell_complete=completion.devices,
        default="auto",
        show_default=True,
        help="cpu, cuda, cuda:1, mps; cuda:0,cuda:1 shares the files out over both.",
    ),
    PRECISION,
    option("--fp32", "precision", flag_value="fp32", hidden=True),
    BACKEND,
    option(
        "--compile",
        "backend",
        flag_value="compile",
        group=SPEED,
        help="The same as --backend compile: torch.compile, worth it for many images.",
    ),
    option(
        "--memory",
        type=FileSize(),
        group=LIMITS,
        help="What the network may use: 4G. [default: a share of what is free]",
    ),
    MARK,
]
_ALPHA = option(
    "--alpha",
    type=click.Choice(["model", "bicubic", "drop"]),
    default="model",
    show_default=True,
    group=OUTPUT,
    help="How transparency is enlarged.",
)
network_options = packed(
    NetworkOptions, "network", [_model(required=True, help=_MODEL_HELP), *_OTHERS, _ALPHA]
)
networks_options = packed(NetworkOptions, "network", [*_OTHERS, _ALPHA])
"""Those of commands that name several models in their own way."""
upscaler_options = packed(
    NetworkOptions,
    "network",
    [
        _model(
            help=f"{_MODEL_HELP} auto chooses for each picture, by the damage in it. [default: x2 or x4, "
            "which ship]"
        ),
        *_OTHERS,
        _ALPHA,
    ],
)
stylizer_options = packed(NetworkOptions, "network", [_model(required=True, help=_MODEL_HELP), *_OTHERS])
restorer_options = packed(
    NetworkOptions, "network", [_model(help=f"{_MODEL_HELP} [default: by --task]"), *_OTHERS]
)
