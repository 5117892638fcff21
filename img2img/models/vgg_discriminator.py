"""The discriminators of SRGAN and ESRGAN: convolutions in the manner of VGG, and one logit an image.

Ledig et al. (arXiv:1609.04802), figure 4; Wang et al. (arXiv:1809.00219), the authors' code.
"""

from __future__ import annotations

from torch import Tensor, nn

from img2img.errors import ConfigError
from img2img.models.discriminators import Discriminator, discriminators, outputs
from img2img.models.norm import BatchNorm
from img2img.models.stage import stage


class _Classifier(Discriminator):
    """Convolutions down to a small grid, then two linear layers."""

    stages: nn.Sequential
    classifier: nn.Sequential
    input_size: int

    def features(self, x: Tensor) -> list[Tensor]:
        """(N, in_channels, input_size, input_size) to the output of each stage, last logits (N, 1).

        Raises:
            ConfigError: The image has another size: the linear layers fit one.
        """
        if x.shape[-2:] != (self.input_size, self.input_size):
            raise ConfigError(
                f"this discriminator judges images of {self.input_size}x{self.input_size}, not of "
                f"{x.shape[-1]}x{x.shape[-2]}; set input_size to the size of the training crops."
            )
        found = outputs(self.stages, x)
        return [*found, self.classifier(found[-1].flatten(1))]


@discriminators.register("srgan")
class SRGANDiscriminator(_Classifier):
    """SRGAN's: eight 3x3 convolutions, every second of stride 2; 23,563,649 parameters for 96x96.

    Args:
        in_channels: Channels of the image.
        features: Channels of the first two convolutions; they double up to 8 times as many.
        input_size: Side length of the images, a multiple of 16.

    Raises:
        ConfigError: `input_size` is not a multiple of 16.
    """

    def __init__(self, in_channels: int = 3, features: int = 64, input_size: int = 96) -> None:
        super().__init__()
        if input_size < 16 or input_size % 16:
            raise ConfigError(
                f"input_size (of the training crops) is {input_size}; it must be a multiple of 16."
            )
        self.in_channels, self.input_size = in_channels, input_size
        stages = [stage(conv=nn.Conv2d(in_channels, features, 3, 1, 1), activation=_leaky())]
        inputs = features
        for times, stride in [(1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (8, 1), (8, 2)]:
            stages.append(_normed(inputs, times * features, 3, stride))
            inputs = times * features
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Sequential(
            nn.Linear(inputs * (input_size // 16) ** 2, 1024), _leaky(), nn.Linear(1024, 1)
        )


@discriminators.register("vgg")
class VGGDiscriminator(_Classifier):
    """ESRGAN's: pairs of a 3x3 and a 4x4 convolution of stride 2 down to 4x4.

    14,499,401 parameters for 128x128, 21,055,049 for 256x256.

    Args:
        in_channels: Channels of the image.
        features: Channels of the first pair; they double up to 8 times as many.
        input_size: Side length of the images, 8 times a power of two.

    Raises:
        ConfigError: `input_size` is not allowed.
    """

    def __init__(self, in_channels: int = 3, features: int = 64, input_size: int = 128) -> None:
        super().__init__()
        pairs = (input_size // 4).bit_length() - 1
        if pairs < 1 or input_size != 4 << pairs:
            raise ConfigError(
                f"input_size (of the training crops) is {input_size}; it must be 8 times a power of two."
            )
        self.in_channels, self.input_size = in_channels, input_size
        stages = [
            stage(conv=nn.Conv2d(in_channels, features, 3, 1, 1), activation=_leaky()),
            _normed(features, features, 4, 2),
        ]
        inputs = features
        for pair in range(1, pairs):
            width = features * min(2**pair, 8)
            stages += [_normed(inputs, width, 3, 1), _normed(width, width, 4, 2)]
            inputs = width
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Sequential(nn.Linear(inputs * 16, 100), _leaky(), nn.Linear(100, 1))


def _leaky() -> nn.Module:
    return nn.LeakyReLU(0.2, inplace=True)


def _normed(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    return stage(
        conv=nn.Conv2d(inputs, outputs, kernel, stride, 1, bias=False),
        norm=BatchNorm(outputs),
        activation=_leaky(),
    )
