"""What discriminator and generator want of logits and of features, for the kinds of adversarial training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from img2img.errors import ConfigError
from img2img.losses.pixel import full
from img2img.registry import unknown
from img2img.types import Features, Logits

GanKind = Literal["vanilla", "lsgan", "hinge", "wgan", "ragan"]
_FEATURE_FACTOR = 4.0


class GanLoss:
    """The two sides of the game.

    All kinds take logits, before any sigmoid and of any shape: one an image, a patch or a pixel. Those of a
    multi-scale discriminator are a list of tensors; the result is the mean over the scales. Values are
    computed in fp32 and returned plain, without weights: where a paper halves the discriminator's sum
    (pix2pix, CycleGAN, ESRGAN), its method does so.

    Args:
        kind: The kind of game.

            - "vanilla": cross-entropy; the generator maximises the log-probability of "real".
            - "lsgan": squares of the distance to the labels.
            - "hinge": the discriminator's logits are pushed beyond 1 and -1, the generator's up.
            - "wgan": plain means; the discriminator also needs `gradient_penalty`.
            - "ragan": cross-entropy of how much more real an image is than the other kind on average. The
              generator's value is the mean of its two terms.
        real_label, fake_label: What the discriminator is taught for real and made images; 0.9 for
            `real_label` is one-sided label smoothing. The generator always aims at 1. Only where there are
            labels: vanilla, lsgan, ragan.

    Attributes:
        needs_real: Whether `generator` needs the logits of real images.

    Raises:
        ConfigError: There is no such kind, or labels are given to a kind that has none.

    References:
        Goodfellow et al. (arXiv:1406.2661); Mao et al., LSGAN (arXiv:1611.04076); Lim and Ye, Geometric GAN
        (arXiv:1705.02894), for "hinge"; Arjovsky et al., WGAN (arXiv:1701.07875); Jolicoeur-Martineau, The
        relativistic discriminator (arXiv:1807.00734), as used by ESRGAN (arXiv:1809.00219); Salimans et al.
        (arXiv:1606.03498) for label smoothing. As in that paper, gradients of "ragan" also pass through the
        averages; later versions of ESRGAN's code cut them there.
    """

    def __init__(self, kind: GanKind = "vanilla", real_label: float = 1.0, fake_label: float = 0.0) -> None:
        if kind not in get_args(GanKind):
            raise ConfigError(unknown("GAN loss", kind, get_args(GanKind)))
        if kind in ("hinge", "wgan") and (real_label, fake_label) != (1.0, 0.0):
            raise ConfigError(
                f"labels {real_label} and {fake_label} are given to the GAN loss {kind!r}, which has none; "
                "leave real_label at 1 and fake_label at 0, or take vanilla, lsgan or ragan."
            )
        self.kind: GanKind = kind
        self.real_label, self.fake_label = real_label, fake_label
        self.needs_real = kind == "ragan"

    def discriminator(self, real: Logits, fake: Logits) -> dict[str, Tensor]:
        """Returns what the discriminator minimises.

        Args:
            real: Its logits for real images.
            fake: Its logits for made images, detached from the generator.

        Returns:
            "d_real" and "d_fake", each a 0-dim fp32 tensor.

        Raises:
            ValueError: The two do not have the same number of scales.
        """
        terms = [self._discriminator(r, f) for r, f in zip(_scales(real), _scales(fake), strict=True)]
        of_real, of_fake = zip(*terms, strict=True)
        return {"d_real": _mean(of_real), "d_fake": _mean(of_fake)}

    def generator(self, fake: Logits, real: Logits | None = None) -> Tensor:
        """Returns what the generator minimises, a 0-dim fp32 tensor.

        Args:
            fake: The discriminator's logits for made images.
            real: Its logits for real images, for kinds with `needs_real`; no gradient passes through them.

        Raises:
            ValueError: `real` is needed and not given, or does not have as many scales as `fake`.
        """
        if not self.needs_real:
            return _mean([self._generator(f) for f in _scales(fake)])
        if real is None:
            raise ValueError(f"the GAN loss {self.kind!r} needs the logits of real images for the generator")
        pairs = zip(_scales(real), _scales(fake), strict=True)
        return _mean([_relativistic(r.detach(), f, 0.0, 1.0) for r, f in pairs])

    def certainty(self, real: Logits, fake: Logits) -> Tensor:
        """Returns the mean sign of the logits of real images, 0-dim, -1 to 1: 1 if all are taken for real.

        The sign is that of the distance from what is neither real nor made: the middle of the labels for
        "lsgan", the mean logit of the made images for "ragan", 0 otherwise. Arguments as in `discriminator`.
        """
        middle = (self.real_label + self.fake_label) / 2 if self.kind == "lsgan" else 0.0
        pairs = zip(_scales(real), _scales(fake), strict=True)
        return _mean([(r - (f.mean() if self.kind == "ragan" else middle)).sign().mean() for r, f in pairs])

    def _discriminator(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        match self.kind:
            case "vanilla":
                return _cross_entropy(real, self.real_label), _cross_entropy(fake, self.fake_label)
            case "lsgan":
                return (real - self.real_label).square().mean(), (fake - self.fake_label).square().mean()
            case "hinge":
                return F.relu(1 - real).mean(), F.relu(1 + fake).mean()
            case "wgan":
                return -real.mean(), fake.mean()
            case "ragan":
                return (
                    _cross_entropy(real - fake.mean(), self.real_label),
                    _cross_entropy(fake - real.mean(), self.fake_label),
                )

    def _generator(self, fake: Tensor) -> Tensor:
        match self.kind:
            case "vanilla":
                return _cross_entropy(fake, 1.0)
            case "lsgan":
                return (fake - 1).square().mean()
            case _:
                return -fake.mean()


def _cross_entropy(logits: Tensor, label: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def _relativistic(real: Tensor, fake: Tensor, real_label: float, fake_label: float) -> Tensor:
    of_real = _cross_entropy(real - fake.mean(), real_label)
    return (of_real + _cross_entropy(fake - real.mean(), fake_label)) / 2


def _scales(logits: Logits) -> list[Tensor]:
    return [full(scale) for scale in ([logits] if isinstance(logits, Tensor) else logits)]


def _mean(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean()


def feature_matching(fake: Features, real: Features) -> Tensor:
    """Returns the L1 distance of the intermediate features: 4 times the mean over stages, mean over scales.

    The factor is that of the authors' code; with the 4 stages of the usual PatchGAN it makes the sum over the
    stages that the paper writes. The logits do not take part.

    Args:
        fake: What `features` of a discriminator returns for made images.
        real: The same for real images; no gradient passes through them, so take them without.

    Returns:
        A 0-dim fp32 tensor.

    Raises:
        ValueError: The two have different numbers of scales or stages, or there is nothing but logits.

    References:
        Wang et al., pix2pixHD (arXiv:1711.11585); weight 10 there.
    """
    scales = [_distance(a, b) for a, b in zip(_feature_scales(fake), _feature_scales(real), strict=True)]
    return torch.stack(scales).mean()


def _distance(fake: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    if len(fake) < 2:
        raise ValueError("a discriminator without stages before its logits has no features to match")
    pairs = zip(fake[:-1], real[:-1], strict=True)
    return _FEATURE_FACTOR * torch.stack([F.l1_loss(a.float(), b.detach().float()) for a, b in pairs]).mean()


def _feature_scales(features: Features) -> Sequence[Sequence[Tensor]]:
    single = isinstance(features[0], Tensor)
    return cast(Sequence[Sequence[Tensor]], [features] if single else features)
