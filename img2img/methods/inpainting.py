"""Inpainting: a U-Net of partial convolutions learns to fill irregular holes in pictures.

Liu, Reda, Shih, Wang, Tao, Catanzaro: Image Inpainting for Irregular Holes Using Partial Convolutions
(arXiv:1804.07723).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from pydantic import Field
from torch import Tensor, nn

from img2img.errors import ConfigError
from img2img.fields import Mask, Picture
from img2img.losses.inpainting import LAYERS, FeatureTerms, composite, masked_l1, total_variation
from img2img.losses.vgg import VGG16, FeaturesMissingError, VGGFeatures
from img2img.methods.base import Column, Export, Method, MethodConfig, Optimize, methods
from img2img.methods.networks import GeneratorConfig, InitConfig, make_generator
from img2img.models import Generator, PartialUNet
from img2img.types import Batch

STAGES = ("initial", "fine_tuning")


class InpaintingConfig(MethodConfig):
    """The section `method:` with the name inpainting."""

    name: str = Field("inpainting", description="inpainting.")
    generator: GeneratorConfig = Field(
        GeneratorConfig(name="partial_unet"), description="The generator and its arguments."
    )
    init: InitConfig = Field(InitConfig(kind="kaiming"), description="How weights begin.")
    hole_weight: float = Field(6.0, ge=0, description="Weight of the L1 distance within the holes.")
    valid_weight: float = Field(1.0, ge=0, description="Weight of the L1 distance outside of them.")
    perceptual_weight: float = Field(
        0.05, ge=0, description="Weight of the distance in the features of VGG16, where they are at hand."
    )
    style_weight: float = Field(
        120.0, ge=0, description="Weight of the distance of their Gram matrices, where they are at hand."
    )
    tv_weight: float = Field(0.1, ge=0, description="Weight of the total variation around the holes.")
    weights: Path | None = Field(
        None, description="File with VGG16's weights; where torch keeps models by default."
    )
    allow_download: bool = Field(
        False, description="Download them to there (528 MiB) if they are not at hand."
    )
    freeze_encoder_norm: bool = Field(
        False,
        description="Keep the averages of the encoder's batch norms: for fine-tuning, since holes bias the "
        "statistics of a batch. Entries of training.stages called initial and fine_tuning do one after the "
        "other.",
    )


@methods.register("inpainting")
class Inpainting(Method):
    """Learns to fill holes from pictures without any: they are cut into them at random.

    References:
        arXiv:1804.07723, section 3.3 and 4.2. Distances of pixels and the total variation are in units of
        white, and means over all values, as the paper's formulas have it.
    """

    fields = MappingProxyType({"source": Picture(), "mask": Mask(like="source")})
    Config = InpaintingConfig
    defaults = MappingProxyType(
        {
            "data": {"fields": {"mask": "random"}, "load_size": 576, "crop_size": 512, "fit": "keep"},
            "training": {
                "stages": [
                    {"name": "initial", "steps": 500_000, "learning_rate": 2e-4},
                    {"name": "fine_tuning", "steps": 500_000, "learning_rate": 5e-5},
                ],
                "batch_size": 6,
                "betas": [0.9, 0.999],
            },
        }
    )
    small = MappingProxyType(
        {
            "method": {"generator": {"name": "partial_unet", "features": 24, "growth": 6, "downs": 6}},
            "data": {"fields": {"mask": "random"}, "fit": "keep"},
            "training": {
                "batch_size": 8,
                "learning_rate": 1e-3,
                "betas": [0.9, 0.999],
                "schedule": {"kind": "cosine", "warmup": 100},
                "ema": 0.998,
            },
        }
    )
    any_size = True
    tiny = MappingProxyType(
        {
            "generator": {"name": "partial_unet", "features": 4, "downs": 3, "growth": 2},
            "perceptual_weight": 0,
            "style_weight": 0,
        }
    )

    def __init__(self, config: MethodConfig, channels: Mapping[str, int]) -> None:
        super().__init__(config, channels)
        assert isinstance(config, InpaintingConfig)
        self.config = config
        self.generator = make_generator(
            config.generator, config.init, in_channels=channels["source"], out_channels=channels["source"]
        )
        if "mask" not in self.generator.conditions:
            raise ConfigError(
                f"the generator {self.generator.name} takes no mask; inpainting has partial_unet."
            )
        self.features: VGGFeatures | None = None
        if config.perceptual_weight or config.style_weight:
            try:
                self.features = VGGFeatures(
                    VGG16,
                    LAYERS,
                    self.generator.output_range,
                    weights=config.weights,
                    allow_download=config.allow_download,
                )
                self.notes.append("The perceptual and the style loss compare features of VGG16.")
            except FeaturesMissingError as error:
                self.notes.append(
                    f"It learns without the perceptual and the style loss, and fills smoother: {error}"
                )
        self.begin("")

    def begin(self, stage: str) -> None:
        """Frees or freezes the norms: "initial" or "fine_tuning"; "" for what the configuration says."""
        if stage not in ("", *STAGES):
            raise ConfigError(f"inpainting has the stages {' and '.join(STAGES)}, not {stage!r}.")
        frozen = stage == "fine_tuning" if stage else self.config.freeze_encoder_norm
        if isinstance(self.generator, PartialUNet):
            self.generator.freeze_encoder_norm = frozen
            self.generator.train(self.generator.training)
        elif frozen:
            raise ConfigError(
                f"the generator {self.generator.name} has no encoder whose norms can be frozen."
            )

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """The generator."""
        return {"generator": list(self.generator.parameters())}

    def exports(self) -> dict[str, Export]:
        """The one generator."""
        return {"generator": Export(self.generator, makes="source", output="like_input")}

    def check(self, batch: Batch) -> None:
        """The features see what the generator makes, and batch norm more than one value."""
        super().check(batch)
        generator = self.generator
        innermost = batch.source[:, 0].numel() // generator.multiple_of**2
        if innermost == 1 and isinstance(generator, PartialUNet) and not generator.freeze_encoder_norm:
            raise ConfigError(
                f"batch norm cannot learn from one value, and {generator.multiple_of} pixels of one picture "
                "are one in the middle; set training.batch_size to 2 or more, or a larger data.crop_size."
            )
        if self.features is not None:
            self.features.check(batch.source)

    def step(self, batch: Batch, optimize: Optimize) -> None:
        """All terms at once."""
        config, truth, mask = self.config, batch.source, batch.mask
        output = self.generator(truth, mask=mask)
        hole, valid = masked_l1(output, truth, mask)
        losses = {
            "g_hole": config.hole_weight * hole,
            "g_valid": config.valid_weight * valid,
            "g_tv": config.tv_weight * total_variation(composite(output, truth, mask), mask),
        }
        if self.features is not None:
            perceptual, style = FeatureTerms(self.features)(output, truth, mask)
            losses |= {
                "g_perceptual": config.perceptual_weight * perceptual,
                "g_style": config.style_weight * style,
            }
        optimize("generator", losses)

    def columns(self, batch: Batch, generators: Mapping[str, Generator]) -> dict[str, Column]:
        """The picture with its holes in grey, with holes filled, and without."""
        value_range = self.generator.output_range
        grey = torch.full_like(batch.source, sum(value_range) / 2)
        output: Tensor = generators["generator"](batch.source, mask=batch.mask)
        return {
            "holes": Column(composite(grey, batch.source, batch.mask), value_range, "input"),
            "output": Column(composite(output, batch.source, batch.mask), value_range, "output"),
            "target": Column(batch.source, value_range, "target"),
        }
