"""The discriminators of pix2pix and CycleGAN: PatchGAN, and PixelGAN as its smallest case.

Isola, Zhu, Zhou, Efros: Image-to-Image Translation with Conditional Adversarial Networks (arXiv:1611.07004).
Miyato et al.: Spectral Normalization for Generative Adversarial Networks (arXiv:1802.05957).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from img2img.errors import ConfigError
from img2img.models.attention import SelfAttention, attention_place
from img2img.models.cut_resnet import BlurDown
from img2img.models.discriminators import Discriminator, discriminators, outputs
from img2img.models.norm import NormKind, make_norm
from img2img.models.stage import stage


@discriminators.register("patchgan")
class PatchGAN(Discriminator):
    """Judges overlapping patches: 70x70 pixels with 3 layers, 30x30 of them on a 256x256 image.

    Patches have 16, 34, 70, 142, 286 and 574 pixels with 1 to 6 layers. For 6 input channels 2,768,705
    parameters with batch norm, for 3 and instance norm 2,764,737.

    Args:
        in_channels: Those of the image, plus those of the condition if there is one.
        features: Channels after the first convolution; they double up to 8 times as many.
        layers: Convolutions of stride 2, at least 1.
        norm: "batch", "instance" or "none".
        spectral: Divides every convolution by its largest singular value; usually with the norm "none", and
            then all have a bias.
        blur: Convolve at the full resolution, then blur and halve, as in CUT (arXiv:2007.15651); the sizes
            stay the same.
        attention: After which convolution self-attention stands (arXiv:1805.08318); true is the second one,
            at a quarter of the resolution.
        padding: Pixels around what each convolution sees: 1 in pix2pix, 2 in pix2pixHD.
        classes: Logits of each patch: 1 for real or made, more where kinds of pictures are told apart.

    Raises:
        ConfigError: A value that is not allowed.
    """

    def __init__(
        self,
        in_channels: int = 3,
        features: int = 64,
        layers: int = 3,
        norm: NormKind = "batch",
        spectral: bool = False,
        blur: bool = False,
        attention: bool | int = False,
        padding: int = 1,
        classes: int = 1,
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ConfigError(f"a PatchGAN has at least one layer; layers is {layers}.")
        self.in_channels = in_channels
        if padding not in (1, 2) or (blur and padding != 1):
            raise ConfigError(f"the padding of a PatchGAN is 1 or 2, with blur 1; it is {padding}.")
        # what is left after the halvings loses two pixels
        self.minimum_size = 3 * 2**layers if padding == 1 else 2
        bias = norm == "instance" or (spectral and norm == "none")
        widths = [features * min(2**layer, 8) for layer in range(layers + 1)]

        def conv(before: int, after: int, stride: int, bias: bool = True) -> nn.Module:
            layer = nn.Conv2d(before, after, 4, stride, padding, bias=bias)
            return spectral_norm(layer) if spectral else layer

        def halve(channels: int) -> dict[str, nn.Module]:
            return {"blur": BlurDown(channels)} if blur else {}

        step = 1 if blur else 2
        stages = [stage(conv=conv(in_channels, features, step), activation=_leaky(), **halve(features))]
        for layer in range(1, layers + 1):
            halves = layer < layers
            stages.append(
                stage(
                    conv=conv(widths[layer - 1], widths[layer], step if halves else 1, bias),
                    norm=make_norm(norm, widths[layer]),
                    activation=_leaky(),
                    **(halve(widths[layer]) if halves else {}),
                )
            )
        if place := attention_place(attention, len(stages), 2, "convolutions"):
            stages[place - 1].add_module("attention", SelfAttention(widths[place - 1], spectral))
        self.stages = nn.Sequential(*stages)
        self.last = conv(widths[-1], classes, 1)

    def features(self, x: Tensor) -> list[Tensor]:
        """(N, in_channels, H, W) to the output of each stage, last the logits (N, classes, h, w)."""
        return outputs([*self.stages, self.last], x)


@discriminators.register("pixelgan")
class PixelGAN(Discriminator):
    """Judges every pixel by itself: it can teach colours but no structure.

    Args:
        in_channels: Those of the image, plus those of the condition if there is one.
        features: Channels after the first convolution; twice as many after the second.
        norm: "batch", "instance" or "none". As in the original, the last convolution has a bias only with
            "instance".
    """

    def __init__(self, in_channels: int = 3, features: int = 64, norm: NormKind = "batch") -> None:
        super().__init__()
        self.in_channels = in_channels
        bias = norm == "instance"
        self.stages = nn.Sequential(
            stage(conv=nn.Conv2d(in_channels, features, 1), activation=_leaky()),
            stage(
                conv=nn.Conv2d(features, 2 * features, 1, bias=bias),
                norm=make_norm(norm, 2 * features),
                activation=_leaky(),
            ),
        )
        self.last = nn.Conv2d(2 * features, 1, 1, bias=bias)

    def features(self, x: Tensor) -> list[Tensor]:
        """(N, in_channels, H, W) to the output of each stage, last one logit a pixel, (N, 1, H, W)."""
        return outputs([*self.stages, self.last], x)


def _leaky() -> nn.Module:
    return nn.LeakyReLU(0.2, inplace=True)
