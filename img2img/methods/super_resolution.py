"""Super-resolution: SRResNet, SRGAN and ESRGAN are this one method with other parts.

Ledig et al.: Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network
(arXiv:1609.04802). Wang et al.: ESRGAN (arXiv:1809.00219).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.nn import functional as F
from typing_extensions import Self

from img2img.checkpoint import fingerprint
from img2img.errors import ConfigError, UnknownModelError, display_path
from img2img.fields import Fields, enlarging
from img2img.image.resize import resize
from img2img.image.tensor import to_pixels, to_tensor
from img2img.interop import open_checkpoint
from img2img.interop.onnx_files import OnnxNetwork
from img2img.losses import PixelKind, pixel_losses
from img2img.losses.vgg import FeaturesMissingError
from img2img.methods.adversary import AdversarialConfig, Adversary
from img2img.methods.base import Column, Export, Method, MethodConfig, Optimize, methods
from img2img.methods.networks import DiscriminatorConfig, GeneratorConfig, InitConfig, make_generator
from img2img.methods.terms import Terms, TermsConfig
from img2img.models import Generator
from img2img.types import Batch, ValueRange
from img2img.weights import find_model

SHOWN = 256
"""Side of what the sample grid shows of a target: the middle of it."""


class SuperResolutionConfig(AdversarialConfig, TermsConfig):
    """The section `method:` with the name super_resolution."""

    name: str = Field("super_resolution", description="super_resolution.")
    scale: Literal[1, 2, 3, 4, 8] = Field(
        4,
        description="Output pixels per input pixel along one side; 1 restores: pairs of equal size, "
        "or pictures and what data.degradation makes of them.",
    )
    generator: GeneratorConfig = Field(
        GeneratorConfig(name="srresnet"), description="The generator and its arguments."
    )
    objective: Literal["psnr", "gan"] = Field(
        "psnr",
        description="psnr: the pixel loss alone. gan: all losses; the entries of training.stages may then be "
        "called psnr and gan, to do one after the other.",
    )
    pixel_loss: PixelKind = Field("l1", description="The loss between output and truth.")
    pixel_weight: float = Field(
        1.0, ge=0, description="Its weight beside the other losses; alone it counts 1."
    )
    teacher: Path | None = Field(
        None,
        description="A trained model of the same scale, its name or file, whose results the pixel loss "
        "compares with; a discriminator and further losses keep to the truth.",
    )
    teacher_weight: float = Field(
        1.0,
        gt=0,
        le=1,
        description="The portion of the pixel loss that is against the teacher's results; the rest is "
        "against the truth.",
    )
    discriminator: DiscriminatorConfig = Field(
        DiscriminatorConfig(name="vgg"),
        description="The discriminator and its arguments; input_size follows data.crop_size.",
    )
    gan_weight: float = Field(5e-3, ge=0, description="Weight of the adversarial loss of the generator.")
    init: InitConfig = Field(
        InitConfig(kind="default"),
        description="How weights begin; default leaves what each architecture does.",
    )
    perceptual_fallback: bool = Field(
        True,
        description="Where the weights of VGG19 are not at hand, compare the features of the discriminator "
        "instead, with the same weight; false makes that an error.",
    )

    @model_validator(mode="after")
    def _taught(self) -> Self:
        if self.teacher is None and self.teacher_weight != 1:
            raise ValueError("teacher_weight does nothing without a teacher; name one, or leave it out")
        return self

    def fitted(self, crop: tuple[int, int] | None, classes: Collection[str] = ()) -> Self:
        """The discriminator judges whole crops, so one that has a size has theirs."""
        network = self.discriminator
        if self.objective == "psnr" or crop is None or not network.has_size:
            return self
        height, width = crop
        given = network.arguments.get("input_size", height)
        if (given, given) != crop:
            wanted = f"{given}x{given}" if height == width else "squares of one size"
            raise ValueError(
                f"the discriminator {network.name} judges {wanted}, but data.crop_size is {width}x{height}; "
                "leave method.discriminator.input_size out, and make the crop square"
            )
        return self.model_copy(update={"discriminator": network.replace(input_size=height)})


@methods.register("super_resolution")
class SuperResolution(Method):
    """Learns from sharp pictures and their reduced copies to enlarge.

    In the stage psnr the generator learns from the pixel loss alone. In the stage gan the generator learns
    first, then the discriminator, as in the authors' code of ESRGAN. SRResNet is the stage psnr with the
    generator srresnet; SRGAN adds the discriminator srgan, the loss vanilla and VGG19 features after their
    activation; ESRGAN has rrdbnet, vgg, ragan and features before it.

    References:
        arXiv:1609.04802, section 2.2; arXiv:1809.00219, section 3. Relativistic losses are halved for both
        players (`discriminator_weight` 0.5), as in ESRGAN's code; the papers do not say.
    """

    fields = enlarging(4)
    Config = SuperResolutionConfig
    # A network of 0.7 M parameters that a laptop trains in some hours; it beats bicubic long before.
    defaults = MappingProxyType(
        {
            "method": {"generator": {"name": "edsr", "features": 64, "blocks": 8, "symmetric": True}},
            "data": {"crop_size": 96, "patches_per_image": 64},  # every scale divides 96
            "training": {
                "steps": 20_000,
                "batch_size": 16,
                "optimizer": "muon",
                "learning_rate": 1e-3,
                "betas": [0.9, 0.99],
                "schedule": {"kind": "cosine", "warmup": 100},
                "ema": 0.999,
                "grid_samples": 3,
            },
        }
    )
    any_size = True
    tiny = MappingProxyType(
        {
            "scale": 2,
            "generator": {"name": "rrdbnet", "features": 4, "blocks": 1, "growth": 2},
            "objective": "gan",
            "discriminator": {"name": "patchgan", "features": 4, "layers": 1, "norm": "instance"},
        }
    )

    @classmethod
    def fields_of(cls, config: MethodConfig) -> Fields:
        """A picture and its enlargement."""
        assert isinstance(config, SuperResolutionConfig)
        return enlarging(config.scale)

    def __init__(self, config: MethodConfig, channels: Mapping[str, int]) -> None:
        super().__init__(config, channels)
        assert isinstance(config, SuperResolutionConfig)
        self.scale = config.scale
        self.generator = make_generator(
            config.generator,
            config.init,
            in_channels=channels["source"],
            out_channels=channels["target"],
            scale=config.scale,
        )
        self.config = config
        self.objective: str = config.objective
        self.pixel_loss = pixel_losses[config.pixel_loss]
        self.teacher = None if config.teacher is None else _Teacher(config.teacher, self.generator)
        if self.teacher is not None:
            architecture = self.teacher.network.spec.name
            self.notes.append(
                f"The teacher is {display_path(self.teacher.model)}, architecture {architecture} "
                f"(SHA-256 of its weights {self.teacher.fingerprint[:12]})."
            )
            self.frozen_networks.append(self.teacher.network)
            self.facts["SHA-256 of the teacher"] = self.teacher.fingerprint[:12]
        self.adversary: Adversary | None = None
        if config.objective == "gan":
            self._build_adversary(config, channels["target"], self.generator.output_range)

    def _build_adversary(self, config: SuperResolutionConfig, channels: int, value_range: ValueRange) -> None:
        """Makes the discriminator and the further losses of the stage gan."""
        try:
            self.terms = Terms(config, value_range)
            if config.perceptual is not None:
                self.notes.append("The perceptual loss compares features of VGG19.")
        except FeaturesMissingError as error:
            assert config.perceptual is not None  # nothing else needs them
            if not config.perceptual_fallback:
                raise
            self.notes.append(
                "The perceptual loss compares features of the discriminator instead of those of VGG19: "
                f"{error}"
            )
            weight = config.feature_matching + config.perceptual.weight
            config = config.model_copy(update={"feature_matching": weight, "perceptual": None})
            self.terms = Terms(config, value_range)
        self.adversary = Adversary(config, channels, value_range)
        self._content = bool(config.pixel_weight or config.perceptual or config.ssim_weight)

    @property
    def unguided(self) -> str | None:
        """Without a term that compares pixels or contents only a trained network stays near the picture."""
        if self.objective == "psnr" or self.adversary is None or self._content:
            return None
        return (
            "fresh weights would learn from the discriminator alone: no loss compares pixels "
            "(method.pixel_weight is 0) or contents (features of VGG19 are not at hand or not asked for). "
            "Start from a trained network (`initial`), give the weights of VGG19 "
            "(method.perceptual.weights=FILE, or method.perceptual.allow_download=true), or set "
            "method.pixel_weight=1."
        )

    def begin(self, stage: str) -> None:
        """Chooses the losses: "psnr" or "gan"; "" for the one that the configuration names."""
        if stage not in ("", "psnr", "gan"):
            raise ConfigError(f"super_resolution has the stages psnr and gan, not {stage!r}.")
        if stage == "gan" and self.adversary is None:
            raise ConfigError("the stage gan needs method.objective: gan, which builds its discriminator.")
        self.objective = stage or self.config.objective

    def check(self, batch: Batch) -> None:
        """Also in the stage psnr: that crops do not fit the stage gan should not come out days later."""
        super().check(batch)
        if self.adversary is not None:
            self.adversary.check(batch.target)
            self.terms.check(batch.target)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """The generator, and the discriminator if there is one."""
        groups = {"generator": list(self.generator.parameters())}
        if self.adversary is not None:
            groups["discriminator"] = list(self.adversary.discriminator.parameters())
        return groups

    def exports(self) -> dict[str, Export]:
        """The one generator."""
        return {"generator": Export(self.generator, output="like_input")}

    def step(self, batch: Batch, optimize: Optimize) -> None:
        """The generator; in the stage gan the discriminator after it."""
        fake = self.generator(batch.source)
        pixel = self._pixel_losses(fake, batch)
        if self.objective == "psnr" or self.adversary is None:
            optimize("generator", pixel)
            return
        losses = {
            **{name: self.config.pixel_weight * loss for name, loss in pixel.items()},
            **self.adversary.generator_loss(batch.target, fake),
            **self.adversary.feature_matching(fake, batch.target),
            **self.terms(fake, batch.target),
        }
        optimize("generator", losses)
        optimize("discriminator", self.adversary.discriminator_loss(batch.target, fake))

    def _pixel_losses(self, fake: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The loss against the truth, and against what the teacher makes of the same sources."""
        name = f"g_{self.config.pixel_loss}"
        if self.teacher is None:
            return {name: self.pixel_loss(fake, batch.target)}
        weight = self.config.teacher_weight
        losses = {"g_teacher": weight * self.pixel_loss(fake, self.teacher(batch.source))}
        if weight < 1:
            losses[name] = (1 - weight) * self.pixel_loss(fake, batch.target)
        return losses

    def columns(self, batch: Batch, generators: Mapping[str, Generator]) -> dict[str, Column]:
        """The middle of each sample: bicubic (at scale 1 the source), output, target."""
        batch = self._middle(batch, SHOWN)
        output, target = self.compare(batch, generators)
        source = Column(batch.source, self.generator.input_range, "input")
        if self.scale == 1:
            return {"source": source, "output": output, "target": target}
        return {"bicubic": bicubic(source, self.scale), "output": output, "target": target}

    def compare(self, batch: Batch, generators: Mapping[str, Generator]) -> tuple[Column, Column]:
        """The output and the truth."""
        batch = self._middle(batch)
        output: Tensor = generators["generator"](batch.source)
        return (
            Column(output, self.generator.output_range, "output"),
            Column(batch.target, self.generator.output_range, "target"),
        )

    def _middle(self, batch: Batch, most: int | None = None) -> Batch:
        """Returns the middle of the samples, as much as the generator can take.

        Args:
            batch: Of any size.
            most: At most so many target pixels along each side.
        """
        step = self.generator.multiple_of
        limit = None if most is None else most // self.scale
        height, width = (
            max(step, (side if limit is None else min(side, limit)) // step * step)
            for side in batch.source.shape[-2:]
        )
        top, left = ((a - b) // 2 for a, b in zip(batch.source.shape[-2:], (height, width), strict=True))

        def cut(images: Tensor, scale: int) -> Tensor:
            rows = slice(top * scale, (top + height) * scale)
            return images[..., rows, left * scale : (left + width) * scale]

        middle = {"source": cut(batch.source, 1), "target": cut(batch.target, self.scale)}
        return Batch({**batch.fields, **middle}, batch.keys)


class _Teacher:
    """A frozen network that shows another one what to make of its inputs: knowledge distillation.

    It is no module of the method: no state holds it, and it follows its inputs to their device.

    Raises:
        ConfigError: There is no such model, it is one that no step can run, or its scale, channels or
            conditions are not those of the learner.
        ModelError: Its file cannot be read.

    References:
        arXiv:1503.02531, for classes; here the results are pictures.
    """

    def __init__(self, model: Path, learner: Generator) -> None:
        network, self.fingerprint = _opened(model)
        called = f"{display_path(model)} ({network.spec.name})"
        for name in ("scale", "in_channels", "out_channels"):
            theirs, ours = getattr(network, name), getattr(learner, name)
            if theirs != ours:
                advice = "name a model of that scale"
                if name != "scale":
                    advice = (
                        f"set data.source_channels={network.in_channels} and "
                        f"data.target_channels={network.out_channels}, or name another model"
                    )
                raise ConfigError(
                    f"method.teacher: {called} has {name.replace('_', ' ')} {theirs}, and what learns from "
                    f"it {ours}; {advice}."
                )
        self.model = model
        self.network = network.requires_grad_(False).eval()
        self._ranges = (learner.input_range, learner.output_range)
        self._device: torch.device | None = None

    @torch.no_grad()
    def __call__(self, source: Tensor) -> Tensor:
        """Returns what it makes of inputs (N, C, H, W), fp32, both in the ranges of the learner.

        Values beyond black and white stay: the learner's are limited where they are used, as the teacher's.
        Inputs of sides that it does not take are continued with their last rows and columns for it.
        """
        if self._device != source.device:
            self.network.to(source.device)
            if source.is_contiguous(memory_format=torch.channels_last):
                self.network.to(memory_format=torch.channels_last)  # several times as fast in bf16
            self._device = source.device
        taken, made = self._ranges
        sides, step, scale = source.shape[-2:], self.network.multiple_of, self.network.scale
        least = self.network.minimum_size
        below, right = (-(-max(side, least) // step) * step - side for side in sides)
        x = _brought(source, taken, self.network.input_range)
        if below or right:
            x = F.pad(x, (0, right, 0, below), mode="replicate")
        results = self.network(x)[..., : sides[0] * scale, : sides[1] * scale]
        return _brought(results.float(), self.network.output_range, made)


def _brought(x: Tensor, own: ValueRange, other: ValueRange) -> Tensor:
    """Returns values of one range in another."""
    if own == other:
        return x
    return (x - own.low) * ((other.high - other.low) / (own.high - own.low)) + other.low


@unset_fake_temporarily()
def _opened(model: Path) -> tuple[Generator, str]:
    """Returns a network and its digest; for real, where a dry run pretends, and drawing nothing."""
    try:
        with torch.random.fork_rng(devices=[]):
            network, _ = open_checkpoint(find_model(model))
    except UnknownModelError as error:
        raise ConfigError(f"method.teacher: {error}") from error
    if isinstance(network, OnnxNetwork):
        raise ConfigError(
            f"method.teacher: {display_path(model)} is an ONNX file, which no step of a training can run; "
            "name the model that it was made of."
        )
    if network.conditions:
        raise ConfigError(
            f"method.teacher: {display_path(model)} takes more than a picture, and a teacher a picture alone."
        )
    network = network.exported()
    return network, fingerprint(network.state_dict())


def bicubic(source: Column, scale: int) -> Column:
    """Returns `source` enlarged as the papers do it, by MATLAB's bicubic in whole levels of 8 bit."""
    value_range = source.value_range
    enlarged = [
        resize(pixels, pixels.shape[0] * scale, pixels.shape[1] * scale)
        for pixels in to_pixels(source.values, value_range, np.uint8)
    ]
    return Column(to_tensor(enlarged, value_range), value_range, source.role)
