"""MGAN: a network learns a style from pictures that a discriminator of patches of features has painted.

Li, Wand: Precomputed Real-Time Texture Synthesis with Markovian Generative Adversarial Networks
(arXiv:1604.04382).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import Self

from img2img.errors import ConfigError
from img2img.losses import GanLoss
from img2img.losses.pixel import l2
from img2img.losses.style import total_variation
from img2img.methods.adain import fill
from img2img.methods.base import Column, Export, Method, MethodConfig, Optimize, methods
from img2img.methods.features import STYLISED, FeaturesConfig
from img2img.methods.networks import (
    DiscriminatorConfig,
    GeneratorConfig,
    InitConfig,
    make_discriminator,
    make_generator,
)
from img2img.models import AdaIN, Generator
from img2img.models.discriminators import logits
from img2img.types import Batch

STAGES = ("targets", "decoder")
_BETAS = 0.5, 0.999  # of the averages of Adam, for pixels
_TURN, _ENLARGE = 10.0, 1.1  # degrees, at most; factor, at most


class MGANConfig(MethodConfig):
    """The section `method:` with the name mgan."""

    name: str = Field("mgan", description="mgan.")
    generator: GeneratorConfig = Field(
        GeneratorConfig.model_validate({"name": "adain", "transfer": False}),
        description="The generator and its arguments: adain without transfer is a frozen VGG and a decoder.",
    )
    discriminator: DiscriminatorConfig = Field(
        DiscriminatorConfig.model_validate({"name": "patchgan", "features": 256, "layers": 1}),
        description="What judges patches of features, and its arguments.",
    )
    init: InitConfig = Field(InitConfig(kind="kaiming"), description="How weights begin.")
    features: FeaturesConfig = Field(
        FeaturesConfig(network="vgg19"),
        description="What patches are of, and whose weights the encoder of the generator has.",
    )
    texture_layer: str = Field("conv3_1", description="The layer whose patches are judged.")
    content_layer: str = Field("conv5_1", description="The layer at which targets keep their content.")
    targets: int = Field(100, ge=1, description="Photographs that are painted for the decoder to learn from.")
    target_rate: float = Field(0.02, gt=0, description="Learning rate of their pixels, in units of white.")
    content_weight: float = Field(1.0, ge=0, description="Weight of their content beside their texture.")
    tv_weight: float = Field(1e-4, ge=0, description="Weight of the total variation of targets and results.")
    pixel_weight: float = Field(1.0, gt=0, description="Weight of the distance of results from targets.")
    texture_weight: float = Field(
        1e-2, ge=0, description="Weight of their texture; both are divided by their sum."
    )
    patch: int | None = Field(
        128, ge=16, description="Side of what the decoder sees of a target; null for all of it."
    )
    augment: bool = Field(
        True, description="Whether targets are mirrored, turned by up to 10 degrees and enlarged to 1.1."
    )
    side: tuple[int, int] | None = Field(None, description="Height and width of targets; data.crop_size.")

    def fitted(self, crop: tuple[int, int] | None, classes: Collection[str] = ()) -> Self:
        """Targets have the size of the crops."""
        if crop is None:
            raise ValueError("mgan paints pictures of one size; set data.crop_size")
        return self.model_copy(update={"side": crop})


@methods.register("mgan")
class MGAN(Method):
    """Learns to paint photographs in the style of one picture, in two stages.

    In the stage targets (MDAN in the paper) some photographs are painted, pixel by pixel, until the
    discriminator takes patches of their features for those of the style, and their deep features are still
    those of the photograph; it learns at the same time to tell them apart. In the stage decoder (MGAN) the
    generator learns to make the targets of the photographs, at patches that are mirrored, turned and enlarged
    (the second stage of the paper), and the discriminator to tell its results from targets. A run without
    stages does one step of each at a time.

    Targets are buffers, so that they are saved and restored with the weights; each process has its own.

    References:
        arXiv:1604.04382, sections 4 and 5, and the authors' code. The hinge of the discriminator has the
        margin 1, and its outermost patches, which see the border, do not count. Deviations: features are
        scaled (see `img2img.losses.balance`); the second convolution of the discriminator keeps the
        resolution; the decoder enlarges before it convolves and has no batch norm, so the learning rate is
        1e-3 and not 0.02.
    """

    fields = STYLISED
    Config = MGANConfig
    defaults = MappingProxyType(
        {
            "data": {"load_size": 288, "fit": "keep", "crop_size": 256},
            "training": {
                "stages": [
                    {"name": "targets", "steps": 3200, "learning_rate": 1e-3},
                    {"name": "decoder", "steps": 10_000, "learning_rate": 1e-3},
                ],
                "batch_size": 4,
                "betas": [0.5, 0.999],
            },
        }
    )
    any_size = True
    tiny = MappingProxyType(
        {
            "generator": {"name": "adain", "features": 4, "encoder": "vgg16", "transfer": False},
            "discriminator": {"name": "patchgan", "features": 4, "layers": 1, "norm": "instance"},
            "features": {"network": "random"},
            "texture_layer": "conv2_1",
            "content_layer": "conv3_1",
            "targets": 20,
            "patch": None,
            "augment": False,
        }
    )

    photographs: Tensor
    canvases: Tensor
    means: Tensor
    squares: Tensor
    ages: Tensor

    def __init__(self, config: MethodConfig, channels: Mapping[str, int]) -> None:
        super().__init__(config, channels)
        assert isinstance(config, MGANConfig) and config.side is not None
        self.config = config
        colours = channels["source"]
        self.generator = make_generator(
            config.generator, config.init, in_channels=colours, out_channels=colours, scale=1
        )
        if self.generator.input_range != self.generator.output_range:
            raise ConfigError(
                f"the generator {config.generator.name} answers in another range of values than it takes; "
                "adain is one that does not."
            )
        weights = config.features.read()
        if isinstance(self.generator, AdaIN):
            fill(self.generator, weights)
        layers = (config.texture_layer, config.content_layer)
        self.seen = config.features.open(layers, self.generator.output_range, weights)
        self.notes.append(config.features.note)
        width = config.features.vgg.widths[int(config.texture_layer[4]) - 1]
        self.discriminator = make_discriminator(config.discriminator, config.init, in_channels=width)
        self.gan = GanLoss("hinge")
        shape = (config.targets, colours, *config.side)
        for name in ("photographs", "canvases", "means", "squares"):
            self.register_buffer(name, torch.zeros(shape))
        self.register_buffer("ages", torch.full((config.targets,), -1))  # iterations; -1 for a free place
        self.stage = ""

    def begin(self, stage: str) -> None:
        """Chooses what is done: "targets" or "decoder"; "" for both."""
        if stage not in ("", *STAGES):
            raise ConfigError(f"mgan has the stages {' and '.join(STAGES)}, not {stage!r}.")
        self.stage = stage

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """The decoder and the discriminator."""
        return {
            "decoder": [p for p in self.generator.parameters() if p.requires_grad],
            "discriminator": list(self.discriminator.parameters()),
        }

    def exports(self) -> dict[str, Export]:
        """The one generator."""
        return {"generator": Export(self.generator, makes="source")}

    def check(self, batch: Batch) -> None:
        """The features see both pictures, and the discriminator enough of them."""
        super().check(batch)
        self.seen.check(batch.source)
        least = self.discriminator.minimum_size * 2 ** (int(self.config.texture_layer[4]) - 1)
        sides = (*batch.source.shape[-2:], *batch["style"].shape[-2:], *filter(None, [self.config.patch]))
        if min(sides) < least:
            raise ConfigError(
                f"the discriminator needs {least} pixels along each side at {self.config.texture_layer}, and "
                f"it would see {min(sides)}; set a larger data.crop_size or method.patch."
            )

    def step(self, batch: Batch, optimize: Optimize) -> None:
        """The discriminator, then pixels of targets or the decoder; without stages all of them."""
        if self.stage == "decoder":
            photographs, targets = self._drawn(len(batch.source))
            self._learn(photographs, targets, optimize, judge=True)
            return
        photographs, targets = self._paint(batch, optimize)
        if not self.stage:
            self._learn(photographs, targets, optimize, judge=False)

    def columns(self, batch: Batch, generators: Mapping[str, Generator]) -> dict[str, Column]:
        """The picture, the style and the picture in the style."""
        value_range = self.generator.output_range
        return {
            "source": Column(batch.source, value_range, "input"),
            "style": Column(batch["style"], value_range, "input"),
            "output": Column(generators["generator"](batch.source), value_range, "output", of="source"),
        }

    def compare(self, batch: Batch, generators: Mapping[str, Generator]) -> None:
        """There is no truth."""

    def _paint(self, batch: Batch, optimize: Optimize) -> tuple[Tensor, Tensor]:
        """Does one iteration on some targets, and returns their photographs and them.

        Those that had the fewest are next. A free place is taken by a photograph of the batch, as which its
        target begins. (Nothing here depends on values, so that a dry run can do it.)
        """
        places = self.ages.argsort(stable=True)[: len(batch.source)]
        ages = self.ages[places]
        new = (ages < 0).view(-1, 1, 1, 1)
        ages = ages.clamp(min=0)
        photographs = torch.where(new, batch.source[: len(places)], self.photographs[places])
        state = torch.where(new, photographs, self.canvases[places]), self.means[places], self.squares[places]
        with torch.no_grad():
            real = self._texture(batch["style"])
            made = self._texture(state[0])
        optimize("discriminator", self.gan.discriminator(self._verdict(real), self._verdict(made)))
        canvases, means, squares = self._improved(photographs, *state, ages)
        finite = canvases.flatten(1).isfinite().all(1)
        self.photographs[places] = photographs.nan_to_num()
        self.canvases[places] = canvases.nan_to_num()
        self.means[places], self.squares[places] = means.nan_to_num(), squares.nan_to_num()
        self.ages[places] = torch.where(finite, ages + 1, -1)  # what is spoiled begins anew
        return photographs, canvases

    def _improved(
        self, photographs: Tensor, canvases: Tensor, means: Tensor, squares: Tensor, ages: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns canvases after a step of Adam of their pixels, with its averages."""
        config, (low, high) = self.config, self.generator.output_range
        texture, content = config.texture_layer, config.content_layer
        with torch.no_grad():
            wanted = self.seen(photographs, [content])[content]
        pixels = canvases.detach().requires_grad_()
        with torch.enable_grad():
            found = self.seen(pixels, [texture, content])
            loss = self.gan.generator(self._verdict(found[texture]))
            loss = loss + config.content_weight * l2(found[content], wanted)
            loss = loss + config.tv_weight * total_variation(pixels / (high - low))
            # a mean over pictures: each is to learn as if it were alone
            (gradient,) = torch.autograd.grad(len(pixels) * loss, pixels)
        first, second = _BETAS
        means = torch.lerp(gradient, means, first)
        squares = torch.lerp(gradient.square(), squares, second)
        steps = (ages + 1).view(-1, 1, 1, 1).to(canvases.dtype)
        root = (squares / (1 - second**steps)).sqrt() + 1e-8
        change = (high - low) * config.target_rate * means / (1 - first**steps) / root
        return (canvases - change).clamp(low, high), means, squares

    def _learn(self, photographs: Tensor, targets: Tensor, optimize: Optimize, judge: bool) -> None:
        """Teaches the decoder, and with `judge` before it the discriminator."""
        config, (low, high) = self.config, self.generator.output_range
        output = self.generator(photographs)
        if judge:
            with torch.no_grad():
                real, made = self._texture(targets), self._texture(output)
            optimize("discriminator", self.gan.discriminator(self._verdict(real), self._verdict(made)))
        total = config.pixel_weight + config.texture_weight
        texture = self.gan.generator(self._verdict(self._texture(output)))
        losses = {
            "g_pixel": config.pixel_weight / total * l2(output, targets) / (high - low) ** 2,
            "g_texture": config.texture_weight / total * texture,
            "g_tv": config.tv_weight * total_variation(output / (high - low)),
        }
        optimize("decoder", losses)

    def _texture(self, pictures: Tensor) -> Tensor:
        return self.seen(pictures, [self.config.texture_layer])[self.config.texture_layer]

    def _verdict(self, texture: Tensor) -> Tensor:
        """Returns a logit for each patch but the outermost, (N, 1, h, w)."""
        verdict = logits(self.discriminator.features(texture))
        assert isinstance(verdict, Tensor)
        return verdict[..., 1:-1, 1:-1] if min(verdict.shape[-2:]) > 2 else verdict

    @torch.no_grad()
    def _drawn(self, count: int) -> tuple[Tensor, Tensor]:
        """Returns parts of photographs and of their targets, (N, C, h, w) each."""
        try:
            places = torch.multinomial((self.ages > 0).float().cpu(), count, replacement=True)
        except RuntimeError:
            raise ConfigError(
                "the stage decoder learns from targets, and there are none: the stage targets comes first."
            ) from None
        places = places.to(self.ages.device)
        both = torch.cat((self.photographs[places], self.canvases[places]), 1)
        if self.config.augment:
            both = _moved(both)
        for axis in (2, 3):
            side = both.shape[axis]
            part = min(side, self.config.patch or side)
            inside = torch.randint(side - part + 1, (1,)) + torch.arange(part)
            both = both.index_select(axis, inside.to(both.device))
        photographs, targets = both.chunk(2, 1)
        return photographs, targets


def _moved(pictures: Tensor) -> Tensor:
    """Returns pictures that are mirrored, turned and enlarged at random; their borders are reflected."""
    count = len(pictures)
    angle = (2 * torch.rand(count) - 1) * _TURN * torch.pi / 180
    scale = 1 + torch.rand(count) * (_ENLARGE - 1)
    mirror = torch.randint(2, (count,)) * 2.0 - 1
    aspect = pictures.shape[3] / pictures.shape[2]
    cosine, sine, none = angle.cos() / scale, angle.sin() / scale, torch.zeros(count)
    rows = (
        torch.stack((cosine * mirror, -sine / aspect, none), 1),
        torch.stack((sine * mirror * aspect, cosine, none), 1),
    )
    matrix = torch.stack(rows, 1).to(pictures)
    grid = F.affine_grid(matrix, list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)
