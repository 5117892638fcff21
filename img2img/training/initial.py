"""Weights of others to start from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Size, Tensor

from img2img.errors import ConfigError, ModelError, display_path
from img2img.interop import open_checkpoint
from img2img.interop.onnx_files import OnnxNetwork
from img2img.models import Generator
from img2img.weights import find_model

_CHANNELS = {"in_channels": "data.source_channels", "out_channels": "data.target_channels"}
_NAMED = 4  # layers in a sentence
_ADVICE = (
    "give method.generator the same arguments, or start without a configuration: then the architecture of "
    "the file is taken."
)


def start_from(generators: Mapping[str, Generator], initial: Mapping[str, Path]) -> Iterator[str]:
    """Gives `generators` the weights that `training.initial` names, and yields a sentence for each.

    Raises:
        ConfigError: There is no such generator, or a file is for another one.
        ModelError: A file cannot be opened.
    """
    for name, path in initial.items():
        if name not in generators:
            raise ConfigError(
                f"training.initial: there is no generator {name!r}; there is {' and '.join(generators)}."
            )
        left_out = load_initial(generators[name], path)
        text = f"{name} starts with the weights of {display_path(path)}"
        yield f"{text}, {left_out}." if left_out else f"{text}."


def load_initial(generator: Generator, path: Path) -> str:
    """Gives `generator` the weights of a model file or of any checkpoint that can be imported.

    An upscaler may start from one of another scale: what does not depend on the scale is taken, the layers
    that make the output's pixels stay fresh. EDSR's authors start theirs so (arXiv:1707.02921, section 3.3).
    Likewise pix2pixHD with a local enhancer from one without.

    Returns:
        What is not as in the file, as a clause for a sentence; empty where everything is.

    Raises:
        ConfigError: It is of another architecture or size; both are named.
        ModelError: The file cannot be opened.
    """
    found = _opened(path)
    own, theirs = generator.spec, found.spec
    if own.name != theirs.name:
        raise ConfigError(
            f"{display_path(path)} has the architecture {theirs.name}, the configuration {own.name}; "
            f"{_ADVICE}"
        )
    weights, shapes = found.state_dict(), _shapes(generator.state_dict())
    differing = {
        key: f"{key} {theirs.arguments.get(key)} (here {value})"
        for key, value in own.arguments.items()
        if value != theirs.arguments.get(key) and key not in generator.training_arguments
    }
    left_out: list[str] = []
    if differing and differing.keys() <= set(generator.grown_arguments):
        names = [*shapes, *(name for name in weights if name not in shapes)]
        taken = {name for name, value in weights.items() if shapes.get(name) == value.shape}
        left_out = list(dict.fromkeys(name.rpartition(".")[0] for name in names if name not in taken))
        if len(left_out) > _NAMED:
            left_out = list(dict.fromkeys(".".join(name.split(".")[:2]) for name in left_out))
        weights = {name: weights[name] for name in taken}
    elif _shapes(weights) != shapes:
        found_there = ", ".join(differing.values()) or "other weights"
        places = _CHANNELS | ({"in_channels": "data.palette"} if theirs.arguments.get("labels") else {})
        given = [f"{places[key]}={theirs.arguments[key]}" for key in places if key in differing]
        advice = _ADVICE
        if given:
            advice = f"the pictures decide on channels: set {' and '.join(given)}, which fits the file."
        raise ConfigError(
            f"{display_path(path)} has the architecture {theirs.name} with {found_there}; {advice}"
        )
    generator.load_state_dict(weights, strict=not left_out)
    try:
        generator.check_state()
    except ConfigError as error:
        raise ConfigError(f"{display_path(path)}: {error} Or start without its weights.") from None
    if left_out:
        layers = ", ".join(left_out)
        if found.scale != generator.scale:
            return f"all but {layers}, for the file is for x{found.scale} and this is x{generator.scale}"
        return f"all but {layers}, for the file has {', '.join(differing.values())}"
    return (
        f"which has the architecture {theirs.name} with {', '.join(differing.values())}" if differing else ""
    )


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, Size]:
    return {name: value.shape for name, value in weights.items()}


def architecture(path: Path) -> tuple[dict[str, Any], int]:
    """Returns the key `generator:` that fits the weights in `path`, and the scale of the network.

    How many channels it has is left to the data, and compared when the weights are taken.

    Raises:
        ModelError: The file cannot be opened.
    """
    found = _opened(path)
    arguments = found.fine_tuning_arguments().items()
    return {"name": found.spec.name} | {k: v for k, v in arguments if k not in _CHANNELS}, found.scale


def _opened(path: Path) -> Generator:
    path = find_model(path)
    found, _ = open_checkpoint(path)
    if isinstance(found, OnnxNetwork):
        raise ModelError("is an ONNX file, which cannot be trained; start from what it was made of.", path)
    return found.exported()
