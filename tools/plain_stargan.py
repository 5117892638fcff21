"""StarGAN in plain torch, after the paper and the authors' code: the reference of `parity.py stargan`.

Networks of torch's own layers and training steps of one data set or of two, which share nothing with the
package. As the authors do, its networks are always in training mode.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Generator(nn.Module):
    """Table 4 of the paper; `labels` counts all that it sees, of two data sets with the mask."""

    def __init__(self, labels: int, f: int = 64, blocks: int = 6) -> None:
        super().__init__()

        def normed(conv: nn.Module, channels: int) -> list[nn.Module]:
            return [conv, nn.InstanceNorm2d(channels, affine=True, track_running_stats=True)]

        layers = [*normed(nn.Conv2d(3 + labels, f, 7, 1, 3, bias=False), f), nn.ReLU()]
        for wide in (2 * f, 4 * f):
            layers += [*normed(nn.Conv2d(wide // 2, wide, 4, 2, 1, bias=False), wide), nn.ReLU()]
        for _ in range(blocks):
            convs = [normed(nn.Conv2d(4 * f, 4 * f, 3, 1, 1, bias=False), 4 * f) for _ in range(2)]
            block = nn.Module()
            block.main = nn.Sequential(*convs[0], nn.ReLU(), *convs[1])
            layers.append(block)
        for wide in (2 * f, f):
            layers += [*normed(nn.ConvTranspose2d(2 * wide, wide, 4, 2, 1, bias=False), wide), nn.ReLU()]
        self.main = nn.Sequential(*layers, nn.Conv2d(f, 3, 7, 1, 3, bias=False), nn.Tanh())

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """(N, 3, H, W) and (N, labels) to (N, 3, H, W)."""
        planes = torch.ones(*labels.shape, *x.shape[2:], dtype=x.dtype) * labels[:, :, None, None]
        x = torch.cat([x, planes], 1)
        for layer in self.main:
            inner = getattr(layer, "main", None)
            x = layer(x) if inner is None else x + inner(x)
        return x


class Discriminator(nn.Module):
    """Table 5 of the paper."""

    def __init__(self, labels: int, side: int = 128, f: int = 64, layers: int = 6) -> None:
        super().__init__()
        widths = [3] + [f * 2**i for i in range(layers)]
        parts: list[nn.Module] = []
        for before, after in pairwise(widths):
            parts += [nn.Conv2d(before, after, 4, 2, 1), nn.LeakyReLU(0.01)]
        self.main = nn.Sequential(*parts)
        self.conv1 = nn.Conv2d(widths[-1], 1, 3, 1, 1, bias=False)
        self.conv2 = nn.Conv2d(widths[-1], labels, side // 2**layers, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, side, side) to logits of "real" (N, 1, h, w) and of the labels (N, labels)."""
        low = self.main(x)
        return self.conv1(low), self.conv2(low)[:, :, 0, 0]


@dataclass(frozen=True)
class Part:
    """What a step sees of one data set: pictures, their labels, those to aim at, and what they are.

    Attributes:
        before, after: How many labels of the other data set stand before and after its own.
    """

    real: Tensor
    own: Tensor
    wanted: Tensor
    classes: bool
    before: int = 0
    after: int = 0

    def seen(self, labels: Tensor) -> Tensor:
        """Returns what the generator sees: of two data sets zeros for the unknown, and the mask vector."""
        if not self.before + self.after:
            return labels
        zeros = [labels.new_zeros(len(labels), count) for count in (self.before, self.after)]
        mask = labels.new_tensor([[0.0, 1.0] if self.before else [1.0, 0.0]]).repeat(len(labels), 1)
        return torch.cat([zeros[0], labels, zeros[1], mask], 1)

    def loss(self, told: Tensor, labels: Tensor) -> Tensor:
        """Returns the classification loss of the labels that are known."""
        told = told[:, self.before : self.before + labels.shape[1]]
        if self.classes:
            return F.cross_entropy(told, labels.argmax(1))
        return F.binary_cross_entropy_with_logits(told, labels, reduction="sum") / len(told)


def steps(
    generator: Generator,
    discriminator: Discriminator,
    batches: Sequence[Sequence[Part]],
    rate: float,
    n_critic: int,
) -> Iterator[dict[str, float]]:
    """Does one step on each of `batches`, a part for each data set, and yields its losses, unweighted.

    Before a step torch's generator of random numbers begins with the number of the step.
    """
    of_g = torch.optim.Adam(generator.parameters(), rate, (0.5, 0.999))
    of_d = torch.optim.Adam(discriminator.parameters(), rate, (0.5, 0.999))
    for number, parts in enumerate(batches):
        torch.manual_seed(number)
        losses: dict[str, Tensor] = {}
        for end, part in zip(("", "_second"), parts, strict=False):
            real = part.real
            source, told = discriminator(real)
            d_real, d_class = -source.mean(), part.loss(told, part.own)
            fake = generator(real, part.seen(part.wanted))
            d_fake = discriminator(fake.detach())[0].mean()
            alpha = 1 - torch.rand(len(real), 1, 1, 1, dtype=real.dtype)
            between = (alpha * real + (1 - alpha) * fake.detach()).requires_grad_()
            source = discriminator(between)[0]
            (slope,) = torch.autograd.grad(source, between, torch.ones_like(source), create_graph=True)
            d_penalty = ((slope.flatten(1).square().sum(1).sqrt() - 1) ** 2).mean()
            of_d.zero_grad()
            (d_real + d_fake + d_class + 10 * d_penalty).backward()
            of_d.step()
            found = {"d_real": d_real, "d_fake": d_fake, "d_class": d_class, "d_penalty": d_penalty}
            if (number + 1) % n_critic == 0:
                fake = generator(real, part.seen(part.wanted))
                source, told = discriminator(fake)
                g_gan, g_class = -source.mean(), part.loss(told, part.wanted)
                g_rec = (real - generator(fake, part.seen(part.own))).abs().mean()
                of_g.zero_grad()
                (g_gan + 10 * g_rec + g_class).backward()
                of_g.step()
                found |= {"g_gan": g_gan, "g_class": g_class, "g_rec": g_rec}
            losses |= {name + end: loss for name, loss in found.items()}
        yield {name: float(loss.detach()) for name, loss in losses.items()}
