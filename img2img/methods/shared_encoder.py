"""One encoder and two decoders: what pictures of two kinds have in common, and how each kind shows it.

The way of the face swapping programs that began as "deepfakes" (2017), for which there is no paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from img2img.errors import ConfigError
from img2img.fields import UNPAIRED
from img2img.losses import PixelKind, pixel_losses
from img2img.methods.base import Column, Export, Method, MethodConfig, Optimize, methods
from img2img.methods.networks import GeneratorConfig, InitConfig, make_generator
from img2img.methods.terms import Terms, TermsConfig
from img2img.models import Autoencoder, Generator
from img2img.types import Batch

_POINTS = 5  # along each side, that are moved; what lies between follows


class SharedEncoderConfig(TermsConfig):
    """The section `method:` with the name shared_encoder."""

    name: str = Field("shared_encoder", description="shared_encoder.")
    generator: GeneratorConfig = Field(
        GeneratorConfig(name="autoencoder"),
        description="The encoder with one of the decoders; method.generator.grid is data.crop_size divided "
        "by 2 to the power of downs.",
    )
    pixel_loss: PixelKind = Field("l1", description="The loss between a picture and what became of it.")
    warp: float = Field(
        0.03,
        ge=0,
        lt=0.25,
        description="How far the points of a grid are moved in what the encoder sees, a standard deviation "
        "as a share of the side; the decoder is to make the picture as it was. 0 moves nothing.",
    )
    init: InitConfig = Field(InitConfig(kind="default"), description="How all weights begin.")


@methods.register("shared_encoder")
class SharedEncoder(Method):
    """Learns from pictures of two kinds, A and B, to show what is in a picture of one as one of the other.

    Each decoder learns to make pictures of its own kind from what the encoder, which both share, found in a
    warped copy of them. A picture of A through the decoder of B is then of B, with what the encoder sees in
    both: pose, expression, light. Pictures of both kinds must be aligned alike.
    """

    fields = UNPAIRED
    Config = SharedEncoderConfig
    defaults = MappingProxyType(
        {
            "data": {"load_size": 72, "crop_size": 64},
            "training": {"steps": 100_000, "batch_size": 64, "learning_rate": 5e-5},
        }
    )
    small = MappingProxyType(
        {
            "method": {"generator": {"name": "autoencoder", "features": 32, "downs": 4, "latent": 256}},
            "training": {"batch_size": 16, "learning_rate": 5e-4, "sample_every": 100, "grid_samples": 2},
        }
    )
    tiny = MappingProxyType(
        {
            "generator": {"name": "autoencoder", "features": 4, "downs": 3, "latent": 8},
            "warp": 0,  # which draws for a whole batch
        }
    )

    def __init__(self, config: MethodConfig, channels: Mapping[str, int]) -> None:
        super().__init__(config, channels)
        assert isinstance(config, SharedEncoderConfig)
        a, b = channels["source"], channels["target"]
        if a != b:
            raise ConfigError(
                f"images of A have {a} channels and those of B {b}, and one encoder sees both. Set "
                "data.source_channels and data.target_channels to one number."
            )

        def made() -> Autoencoder:
            generator = make_generator(config.generator, config.init, in_channels=a, out_channels=a, scale=1)
            if not isinstance(generator, Autoencoder):
                raise ConfigError(
                    f"the generator {config.generator.name} has no encoder that two can share; use "
                    "autoencoder."
                )
            return generator

        self.config = config
        self.a2b, self.b2a = made(), made()
        self.b2a.encoder = self.a2b.encoder
        self.distance = pixel_losses[config.pixel_loss]
        self.terms = {end: Terms(config, self.a2b.output_range, f"{{}}_{end}") for end in "ab"}

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """The encoder with both decoders."""
        return {"generator": [*self.a2b.parameters(), *self.b2a.decoder.parameters()]}

    def exports(self) -> dict[str, Export]:
        """The encoder with the decoder of B, and with that of A."""
        return {"a2b": Export(self.a2b), "b2a": Export(self.b2a, "target", "source")}

    def check(self, batch: Batch) -> None:
        """All terms look at pictures of both kinds."""
        super().check(batch)
        self.terms["a"].check(batch.source)
        self.terms["b"].check(batch.target)

    def step(self, batch: Batch, optimize: Optimize) -> None:
        """Each kind through its own decoder."""
        losses = {}
        for end, images, generator in (("a", batch.source, self.b2a), ("b", batch.target, self.a2b)):
            made = generator(warped(images, self.config.warp))
            losses[f"pixel_{end}"] = self.distance(made, images)
            losses |= self.terms[end](made, images)
        optimize("generator", losses)

    def columns(self, batch: Batch, generators: Mapping[str, Generator]) -> dict[str, Column]:
        """A through the decoder of B and through its own; the same for B."""
        a2b, b2a, seen = generators["a2b"], generators["b2a"], self.a2b.output_range
        return {
            "A": Column(batch.source, seen, "input"),
            "A to B": Column(a2b(batch.source), seen, "output", "A"),
            "A to A": Column(b2a(batch.source), seen, "output", "A"),
            "B": Column(batch.target, seen, "input"),
            "B to A": Column(b2a(batch.target), seen, "output", "B"),
            "B to B": Column(a2b(batch.target), seen, "output", "B"),
        }


def warped(images: Tensor, amount: float) -> Tensor:
    """Returns pictures as on a rubber sheet that is pulled at 5x5 points, each in another way.

    Args:
        images: (N, C, H, W).
        amount: Standard deviation of how far the points move, as a share of the side; with 0 nothing is
            drawn.
    """
    if not amount:
        return images
    count, _, height, width = images.shape
    pulls = torch.randn(count, 2, _POINTS, _POINTS, device=images.device) * (2 * amount)
    moved = F.interpolate(pulls, (height, width), mode="bicubic", align_corners=True)
    unmoved = torch.eye(2, 3, device=images.device).expand(count, 2, 3)
    places = F.affine_grid(unmoved, [count, 1, height, width], align_corners=False)
    places = (places + moved.permute(0, 2, 3, 1)).to(images.dtype)
    return F.grid_sample(images, places, padding_mode="reflection", align_corners=False)
