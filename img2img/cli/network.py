"""The options of all commands that run a network, and opening the model that they describe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from img2img.cli.options import LIMITS, OUTPUT, SPEED, Size, option, packed

if TYPE_CHECKING:
    from img2img.inference import Translator


@dataclass(frozen=True)
class NetworkOptions:
    """The values of the options that `network_options` adds."""

    model: str
    tile: int | None
    device: str
    precision: str
    memory: int | None
    alpha: str

    def load(self, **more: Any) -> tuple[Translator, dict[str, Any]]:
        """Opens the model; `more` goes to `load_model`.

        Returns:
            The model, and what identifies it and all that changes its results.
        """
        from img2img.inference import load_model

        translator = load_model(
            self.model,
            device=self.device,
            precision=self.precision,
            tile=self.tile or None,
            memory=self.memory,
            alpha=self.alpha,
            **more,
        )
        settings = {
            "model": translator.fingerprint,
            "precision": translator.precision,
            "alpha": self.alpha,
            "size": translator.size,
            **more,
        }
        return translator, settings


network_options = packed(
    NetworkOptions,
    "network",
    [
        option(
            "-m",
            "--model",
            "-n",
            "--model-name",
            "--model_name",
            "--model_path",
            "model",
            required=True,
            metavar="NAME|FILE",
            help="A model file (.safetensors, .pth) or a name from `model list`.",
        ),
        option(
            "-t",
            "--tile",
            type=click.IntRange(0),
            metavar="PIXELS",
            help="Side of the tiles. [default: fits the memory]",
        ),
        option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps."),
        option(
            "--precision",
            type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
            default="auto",
            show_default=True,
            group=SPEED,
            help="Number format of the network.",
        ),
        option("--fp32", "precision", flag_value="fp32", hidden=True),
        option(
            "--memory",
            type=Size(),
            group=LIMITS,
            help="What the network may use: 4G. [default: a share of what is free]",
        ),
        option(
            "--alpha",
            type=click.Choice(["model", "bicubic", "drop"]),
            default="model",
            show_default=True,
            group=OUTPUT,
            help="How transparency is enlarged.",
        ),
    ],
)
