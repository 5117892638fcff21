"""The generator of the Domain Transfer Network: what another network sees in a picture, drawn anew.

Taigman, Polyak, Wolf: Unsupervised Cross-Domain Image Generation (arXiv:1611.02200).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from img2img.errors import ConfigError
from img2img.models.base import ArchSpec, Generator, build, generators
from img2img.models.norm import NormKind, make_norm
from img2img.models.stage import Upsampling, stage, upsampling
from img2img.registry import unknown
from img2img.types import SYMMETRIC

CLASSIFIERS = "torchvision/"
"""What the names of torchvision's classifiers begin with here."""
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, channels in [0, 1]
_SIDE = 64  # of the picture that tells what features look like
_CLASSIFIER_VALUES = 400  # activations of a classifier alive at once, per pixel, at most


class _FoundError(Exception):
    """The layer has been reached."""


class FrozenFeatures(nn.Module):
    """A trained network up to one of its layers; it never learns.

    Its weights are buffers. What comes after the layer is left out.

    Args:
        network: An architecture of `generators`, or "torchvision/" and the name of a classifier there.
        arguments: Its arguments as a JSON object.
        layer: The name of the submodule whose output is taken.

    Attributes:
        channels: Of the features.
        ratio: Pixels per place of the features along one side, a power of 2.

    Raises:
        ConfigError: There is no such network or layer, or its output is no map of features.
    """

    def __init__(self, network: str, arguments: str, layer: str) -> None:
        super().__init__()
        self.network = _network(network, arguments).eval()
        self.is_classifier, self.layer = network.startswith(CLASSIFIERS), layer
        own = self.network
        self.in_channels: int = own.in_channels if isinstance(own, Generator) else 3
        self.multiple_of: int = own.multiple_of if isinstance(own, Generator) else 1
        self.live_features = own.live_features if isinstance(own, Generator) else _CLASSIFIER_VALUES
        names = [name for name, _ in own.named_modules() if name]
        if layer not in names:
            raise ConfigError(unknown(f"layer of {network}", layer, names))
        for module in own.modules():
            for name, weight in list(module.named_parameters(recurse=False)):
                delattr(module, name)
                module.register_buffer(name, weight.detach())
        self.channels, self.ratio = self._probe(network)

    def _probe(self, network: str) -> tuple[int, int]:
        """Returns channels and ratio, and leaves out what the layer does not need."""
        sizes = {id(weight): torch.empty_like(weight, device="meta") for weight in self.buffers()}
        trial, ran = copy.deepcopy(self, sizes), set()  # a copy without the values
        for name, module in trial.network.named_modules():
            module.register_forward_pre_hook(lambda module, inputs, name=name: ran.add(name))
        side = -(-_SIDE // self.multiple_of) * self.multiple_of
        shapes = []
        with torch.no_grad():
            for height in (side, 2 * side):  # borders that a network loses are not in the difference
                found = trial.seen(torch.zeros(1, self.in_channels, height, side, device="meta"))
                shapes.append(tuple(found.shape) if isinstance(found, Tensor) else ())
        grown = shapes[1][2] - shapes[0][2] if len(shapes[0]) == 4 else 0
        if not grown or side % grown or (ratio := side // grown) & (ratio - 1):
            raise ConfigError(
                f"the layer {self.layer} of {network} makes {shapes[0]} of {side}x{side} pixels and of twice "
                f"the height {shapes[1]}: no map of features at a half, a quarter, ... of the resolution."
            )
        for name, module in list(self.network.named_modules()):
            if name and name not in ran and not list(module.children()):
                holder, _, own = name.rpartition(".")
                setattr(self.network.get_submodule(holder), own, nn.Identity())
        return shapes[0][1], ratio

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) in [-1, 1] to (N, channels, H / ratio, W / ratio)."""
        found, size = self.seen(x), (x.shape[2] // self.ratio, x.shape[3] // self.ratio)
        if found.shape[2:] != size:  # of a network that loses borders
            found = F.interpolate(found, size, mode="bilinear", align_corners=False)
        return found

    def seen(self, x: Tensor) -> Tensor:
        """Returns what the layer makes of (N, C, H, W) in [-1, 1], at its own size."""
        dtype = next(value.dtype for value in self.network.buffers() if value.is_floating_point())
        x = (x + 1) / 2
        if self.is_classifier:
            mean, deviation = (x.new_tensor(values).view(3, 1, 1) for values in (_MEAN, _DEVIATION))
            x = (x - mean) / deviation
        elif isinstance(self.network, Generator):
            low, high = self.network.input_range
            x = x * (high - low) + low
        found: list[Tensor] = []

        def stop(module: nn.Module, inputs: Any, output: Tensor) -> None:
            found.append(output)
            raise _FoundError

        hook = self.network.get_submodule(self.layer).register_forward_hook(stop)
        try:
            self.network(x.to(dtype))
        except _FoundError:
            pass
        finally:
            hook.remove()
        return found[0]

    def fill(self, state: Mapping[str, Tensor]) -> list[str]:
        """Takes the weights of the whole network; returns the names of those that are missing or unfit."""
        own = self.network.state_dict()
        wrong = [name for name, value in own.items() if name not in state or state[name].shape != value.shape]
        if not wrong and not any(value.is_meta for value in own.values()):
            self.network.load_state_dict({name: state[name].to(value.dtype) for name, value in own.items()})
        return wrong

    def train(self, mode: bool = True) -> FrozenFeatures:
        """Stays in evaluation."""
        return super().train(False)


@generators.register("dtn")
class DTN(Generator):
    """g(f(picture)): f is fixed and says what matters in a picture, g draws that as another kind of picture.

    Args:
        in_channels, out_channels: Those of the pictures that f takes.
        network, arguments, layer: f, see `FrozenFeatures`.
        features: Channels of g at full resolution; they double with every halving, up to 8 times as many.
        blocks: Convolutions of g at the resolution of f's features.
        norm: Of g: "batch", "instance" or "none".
        upsample: How g enlarges, see `upsampling`.

    Raises:
        ConfigError: A value that is not allowed.
    """

    output_layers = ("last",)
    tiling = "none"
    input_range = output_range = SYMMETRIC
    tiny: ClassVar[dict[str, Any]] = {
        "network": "edsr",
        "arguments": '{"scale": 1, "unshuffle": 2, "features": 4, "blocks": 1}',
        "layer": "first",
        "features": 4,
        "norm": "instance",
    }

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        network: str = "torchvision/resnet18",
        arguments: str = "{}",
        layer: str = "layer2",
        features: int = 64,
        blocks: int = 2,
        norm: NormKind = "batch",
        upsample: Upsampling = "deconv",
    ) -> None:
        super().__init__()
        self.f = FrozenFeatures(network, arguments, layer)
        if not in_channels == out_channels == self.f.in_channels or blocks < 1:
            raise ConfigError(
                f"the network {network} takes pictures of {self.f.in_channels} channels, so both kinds "
                f"have as many, and blocks is 1 or more; they are {in_channels}, {out_channels} and {blocks}."
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.multiple_of = max(self.f.ratio, self.f.multiple_of)
        self.minimum_size = 2 * self.multiple_of  # of a single value no norm can make anything
        self.receptive_field = 2**16
        self.live_features = max(self.f.live_features, 5 * features) + 2 * in_channels
        doublings = self.f.ratio.bit_length() - 1
        widths = [features * min(2**level, 8) for level in range(doublings, -1, -1)]
        before, stages = self.f.channels, []
        for _ in range(blocks):
            stages.append(_stage({"conv": nn.Conv2d(before, widths[0], 3, padding=1)}, widths[0], norm))
            before = widths[0]
        for width in widths[1:]:
            stages.append(_stage(upsampling(upsample, before, width, kernel=4, bias=True), width, norm))
            before = width
        self.g = nn.Sequential(*stages)
        self.last = stage(conv=nn.Conv2d(before, out_channels, 3, padding=1), output=nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) in [-1, 1] to the same."""
        output: Tensor = self.last(self.g(self.f(x)))
        return output


def _stage(layers: dict[str, nn.Module], width: int, norm: NormKind) -> nn.Sequential:
    return stage(**layers, norm=make_norm(norm, width), activation=nn.ReLU(inplace=True))


def _network(name: str, arguments: str) -> nn.Module:
    """Returns a network with fresh weights."""
    try:
        given = json.loads(arguments)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise ConfigError(f"the arguments of {name} are {arguments!r}, and are to be a JSON object.")
    if not name.startswith(CLASSIFIERS):
        return build(ArchSpec(name, given))
    from torchvision import models

    known = models.list_models(module=models)
    if name.removeprefix(CLASSIFIERS) not in known:
        raise ConfigError(unknown("classifier of torchvision", name.removeprefix(CLASSIFIERS), known))
    made: nn.Module = models.get_model(name.removeprefix(CLASSIFIERS), weights=None, **given)
    return made
