"""pix2pixHD in plain torch, after the paper and the authors' code: the reference of `parity.py pix2pixhd`.

Networks of torch's own layers under the authors' names, what is made of maps of objects, and training steps;
they share nothing with the package.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NORMS = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d}


class Block(nn.Module):
    """A residual block with reflected borders."""

    def __init__(self, c: int, norm: str) -> None:
        super().__init__()
        make = NORMS[norm]
        self.conv_block = nn.Sequential(
            *(nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3), make(c), nn.ReLU()),
            *(nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3), make(c)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, c, H, W) to the same shape."""
        return x + self.conv_block(x)


def row(inputs: int, outputs: int, f: int, downs: int, blocks: int, norm: str) -> list[nn.Module]:
    """The layers of the global generator; without blocks those of the encoder."""
    make = NORMS[norm]
    layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(inputs, f, 7), make(f), nn.ReLU()]
    for level in range(downs):
        c = f * 2**level
        layers += [nn.Conv2d(c, 2 * c, 3, 2, 1), make(2 * c), nn.ReLU()]
    layers += [Block(f * 2**downs, norm) for _ in range(blocks)]
    for level in reversed(range(downs)):
        c = f * 2**level
        layers += [nn.ConvTranspose2d(2 * c, c, 3, 2, 1, 1), make(c), nn.ReLU()]
    return [*layers, nn.ReflectionPad2d(3), nn.Conv2d(f, outputs, 7), nn.Tanh()]


class Global(nn.Module):
    """G1; with no blocks the encoder, before its pooling."""

    def __init__(
        self, inputs: int, outputs: int, f: int, downs: int, blocks: int, norm: str = "instance"
    ) -> None:
        super().__init__()
        self.model = nn.Sequential(*row(inputs, outputs, f, downs, blocks, norm))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H, W)."""
        return self.model(x)


class Local(nn.Module):
    """G2: `f` are the channels of the outermost enhancer at full resolution."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        f: int,
        downs: int,
        blocks: int,
        enhancers: int = 1,
        local_blocks: int = 3,
        norm: str = "instance",
    ) -> None:
        super().__init__()
        make, self.enhancers = NORMS[norm], enhancers
        self.model = nn.Sequential(*row(inputs, outputs, f * 2**enhancers, downs, blocks, norm)[:-3])
        for n in range(1, enhancers + 1):
            c = f * 2 ** (enhancers - n)
            enter = [nn.ReflectionPad2d(3), nn.Conv2d(inputs, c, 7), make(c), nn.ReLU()]
            enter += [nn.Conv2d(c, 2 * c, 3, 2, 1), make(2 * c), nn.ReLU()]
            leave: list[nn.Module] = [Block(2 * c, norm) for _ in range(local_blocks)]
            leave += [nn.ConvTranspose2d(2 * c, c, 3, 2, 1, 1), make(c), nn.ReLU()]
            if n == enhancers:
                leave += [nn.ReflectionPad2d(3), nn.Conv2d(c, outputs, 7), nn.Tanh()]
            self.add_module(f"model{n}_1", nn.Sequential(*enter))
            self.add_module(f"model{n}_2", nn.Sequential(*leave))
        self.downsample = nn.AvgPool2d(3, 2, 1, count_include_pad=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H, W)."""
        pyramid = [x]
        for _ in range(self.enhancers):
            pyramid.append(self.downsample(pyramid[-1]))
        y = self.model(pyramid[self.enhancers])
        for n in range(1, self.enhancers + 1):
            enter, leave = self.get_submodule(f"model{n}_1"), self.get_submodule(f"model{n}_2")
            y = leave(enter(pyramid[self.enhancers - n]) + y)
        return y


class Discriminators(nn.Module):
    """All scales, the finest first in what it returns; keys `scale0_layer0.0` are those of the coarsest."""

    def __init__(self, inputs: int, f: int, layers: int, scales: int) -> None:
        super().__init__()
        self.layers, self.scales = layers, scales
        for scale in range(scales):
            c = f
            parts = [[nn.Conv2d(inputs, c, 4, 2, 2), nn.LeakyReLU(0.2)]]
            for layer in range(1, layers + 1):
                wide, stride = min(2 * c, 512), 2 if layer < layers else 1
                parts.append([nn.Conv2d(c, wide, 4, stride, 2), nn.InstanceNorm2d(wide), nn.LeakyReLU(0.2)])
                c = wide
            parts.append([nn.Conv2d(c, 1, 4, 1, 2)])
            for number, part in enumerate(parts):
                self.add_module(f"scale{scale}_layer{number}", nn.Sequential(*part))
        self.downsample = nn.AvgPool2d(3, 2, 1, count_include_pad=False)

    def forward(self, x: Tensor) -> list[list[Tensor]]:
        """(N, inputs, H, W) to what each layer of each scale makes of it, logits last."""
        found = []
        for place in range(self.scales):
            x = self.downsample(x) if place else x
            features, y = [], x
            for number in range(self.layers + 2):
                y = self.get_submodule(f"scale{self.scales - 1 - place}_layer{number}")(y)
                features.append(y)
            found.append(features)
        return found


def edges(ids: Tensor) -> Tensor:
    """(N, 1, H, W) to 1 where one of the 4 neighbours is another, pixel by pixel."""
    found = torch.zeros(ids.shape, dtype=torch.float64)
    n, _, height, width = ids.shape
    for image in range(n):
        for y in range(height):
            for x in range(width):
                near = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
                inside = [(a, b) for a, b in near if 0 <= a < height and 0 <= b < width]
                own = ids[image, 0, y, x]
                found[image, 0, y, x] = float(any(ids[image, 0, a, b] != own for a, b in inside))
    return found


def pooled(features: Tensor, ids: Tensor) -> Tensor:
    """(N, C, H, W), averaged over all pixels of a number in its image."""
    found = features.clone()
    for image in range(len(features)):
        for number in ids[image, 0].unique():
            place = ids[image, 0] == number
            found[image, :, place] = features[image, :, place].mean(1, keepdim=True)
    return found


class Sample(NamedTuple):
    """One-hot labels (N, K, H, W), objects that tell classes (N, 1, H, W) and pictures (N, 3, H, W)."""

    labels: Tensor
    ids: Tensor
    target: Tensor


def steps(
    generator: nn.Module, encoder: nn.Module, judges: Discriminators, samples: Iterable[Sample], rate: float
) -> Iterator[dict[str, float]]:
    """Trains the networks and yields the losses of each step without the generator's weight of 10."""
    of_generator = torch.optim.Adam([*generator.parameters(), *encoder.parameters()], rate, (0.5, 0.999))
    of_judges = torch.optim.Adam(judges.parameters(), rate, (0.5, 0.999))

    def squares(found: list[list[Tensor]], label: float) -> Tensor:
        return torch.stack([(scale[-1] - label).square().mean() for scale in found]).sum()

    for labels, ids, target in samples:
        condition = torch.cat((labels, edges(ids)), 1)
        features = pooled(encoder(target), ids)
        fake = generator(torch.cat((condition, features), 1))
        d_fake = squares(judges(torch.cat((condition, fake.detach()), 1)), 0)
        of_real = judges(torch.cat((condition, target), 1))
        d_real = squares(of_real, 1)
        of_fake = judges(torch.cat((condition, fake), 1))
        g_gan = squares(of_fake, 1)
        matching = torch.zeros((), dtype=target.dtype)
        for made, real in zip(of_fake, of_real, strict=True):
            for a, b in zip(made[:-1], real[:-1], strict=True):
                matching = matching + F.l1_loss(a, b.detach()) * 4 / (judges.layers + 1) / judges.scales
        of_generator.zero_grad()
        (g_gan + 10 * matching).backward()
        of_generator.step()
        of_judges.zero_grad()
        ((d_fake + d_real) * 0.5).backward()
        of_judges.step()
        losses = {"g_gan": g_gan, "g_features": matching, "d_real": d_real, "d_fake": d_fake}
        yield {name: float(loss.detach()) for name, loss in losses.items()}
