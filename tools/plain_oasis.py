"""OASIS in plain torch, after its paper and SPADE's: the reference of `parity.py oasis`.

Networks of plain arithmetic, and training steps; they share nothing with the package.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Weight(nn.Module):
    """A convolution's weight divided by its largest singular value, by one power iteration a step."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(shape, dtype=torch.double))
        self.u = torch.zeros(shape[0], dtype=torch.double)

    def forward(self) -> Tensor:
        """Returns the divided weight; in training after one more iteration."""
        matrix = self.w.flatten(1)
        with torch.no_grad():
            v = matrix.T @ self.u
            v /= v.norm()
            u = matrix @ v
            u /= u.norm()
            if self.training:
                self.u = u
        return self.w / (u @ matrix @ v)


class Conv(nn.Module):
    """A convolution that keeps the size, with a weight as it is or divided."""

    def __init__(self, a: int, b: int, k: int, bias: bool = True, spectral: bool = False) -> None:
        super().__init__()
        shape = (b, a, k, k)
        self.k, self.spectral = k, Weight(shape) if spectral else None
        self.plain = None if spectral else nn.Parameter(torch.zeros(shape, dtype=torch.double))
        self.b = nn.Parameter(torch.zeros(b, dtype=torch.double)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, a, H, W) to (N, b, H, W)."""
        weight = self.plain if self.spectral is None else self.spectral()
        return F.conv2d(x, weight, self.b, padding=self.k // 2)


class Norm(nn.Module):
    """Spatially-adaptive normalisation; `batch` keeps averages with momentum 0.1, else each image alone."""

    def __init__(self, c: int, labels: int, hidden: int, batch: bool) -> None:
        super().__init__()
        self.batch, self.mean, self.var = batch, torch.zeros(c).double(), torch.ones(c).double()
        self.shared = Conv(labels, hidden, 3)
        self.gamma, self.beta = Conv(hidden, c, 3), Conv(hidden, c, 3)

    def forward(self, x: Tensor, seg: Tensor) -> Tensor:
        """(N, c, H, W) and the labels (N, K, h, w) to (N, c, H, W)."""
        dims = (0, 2, 3) if self.batch else (2, 3)
        mean, var = x.mean(dims, keepdim=True), x.var(dims, unbiased=False, keepdim=True)
        if self.batch and self.training:
            n = x[:, 0].numel()
            self.mean = 0.9 * self.mean + 0.1 * mean.detach().flatten()
            self.var = 0.9 * self.var + 0.1 * var.detach().flatten() * n / (n - 1)
        elif self.batch:
            mean, var = self.mean[:, None, None], self.var[:, None, None]
        seg = F.interpolate(seg, size=x.shape[2:], mode="nearest")
        said = self.shared(seg).relu()
        return (x - mean) / (var + 1e-5).sqrt() * (1 + self.gamma(said)) + self.beta(said)


class Block(nn.Module):
    """A residual block of the generator with its norms."""

    def __init__(self, a: int, b: int, labels: int, hidden: int, batch: bool) -> None:
        super().__init__()
        m = min(a, b)
        self.n0, self.c0 = Norm(a, labels, hidden, batch), Conv(a, m, 3, spectral=True)
        self.n1, self.c1 = Norm(m, labels, hidden, batch), Conv(m, b, 3, spectral=True)
        self.learned = a != b
        if self.learned:
            self.ns, self.cs = Norm(a, labels, hidden, batch), Conv(a, b, 1, bias=False, spectral=True)

    def forward(self, x: Tensor, seg: Tensor) -> Tensor:
        """(N, a, H, W) and the labels (N, K, h, w) to (N, b, H, W)."""
        s = self.cs(self.ns(x, seg)) if self.learned else x
        d = self.c0(F.leaky_relu(self.n0(x, seg), 0.2))
        return s + self.c1(F.leaky_relu(self.n1(d, seg), 0.2))


class PlainGenerator(nn.Module):
    """`widths` are those of the blocks in a row, `ups` says in front of which the resolution is doubled."""

    def __init__(
        self, classes: int, noise: int, widths: list[int], ups: list[bool], hidden: int, batch: bool
    ) -> None:
        super().__init__()
        self.noise, self.ups = noise, ups
        self.fc = Conv(classes + noise, widths[0], 3)
        pairs = zip([widths[0], *widths], widths, strict=False)
        self.body = nn.ModuleList(Block(a, b, classes + noise, hidden, batch) for a, b in pairs)
        self.img = Conv(widths[-1], 3, 3)

    def forward(self, seg: Tensor, z: Tensor) -> Tensor:
        """One-hot labels (N, K, H, W) and noise (N, Z) to pictures (N, 3, H, W)."""
        if self.noise:
            z = z[:, :, None, None].repeat(1, 1, *seg.shape[2:])
            seg = torch.cat([z, seg], 1)
        factor = 2 ** sum(self.ups)
        x = self.fc(F.interpolate(seg, size=(seg.shape[2] // factor, seg.shape[3] // factor)))
        for up, block in zip(self.ups, self.body, strict=True):
            if up:
                x = F.interpolate(x, scale_factor=2)
            x = block(x, seg)
        return torch.tanh(self.img(F.leaky_relu(x, 0.2)))


class PlainBlockD(nn.Module):
    """A residual block of the discriminator; `way` is -1 to halve the resolution, 1 to double it."""

    def __init__(self, a: int, b: int, way: int, first: bool = False) -> None:
        super().__init__()
        self.way, self.first, self.learned = way, first, a != b
        self.c1, self.c2 = Conv(a, b, 3, spectral=True), Conv(b, b, 3, spectral=True)
        if self.learned:
            self.cs = Conv(a, b, 1, spectral=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, a, H, W) to (N, b, ...), of half or twice the size."""
        s = x
        if self.way > 0:
            s = F.interpolate(s, scale_factor=2)
        s = self.cs(s) if self.learned else s
        if self.way < 0:
            s = F.avg_pool2d(s, 2)
        y = x if self.first else F.leaky_relu(x, 0.2)
        if self.way > 0:
            y = F.interpolate(y, scale_factor=2)
        y = self.c2(F.leaky_relu(self.c1(y), 0.2))
        return s + (F.avg_pool2d(y, 2) if self.way < 0 else y)


class PlainDiscriminator(nn.Module):
    """The U-Net that judges; `last` are the channels in front of the logits."""

    def __init__(self, classes: int, widths: list[int], last: int) -> None:
        super().__init__()
        w = [3, *widths]
        self.down = nn.ModuleList(PlainBlockD(w[i], w[i + 1], -1, i == 0) for i in range(len(widths)))
        self.up = nn.ModuleList([PlainBlockD(w[-1], w[-2], 1)])
        for i in range(1, len(widths) - 1):
            self.up.append(PlainBlockD(2 * w[-1 - i], w[-2 - i], 1))
        self.up.append(PlainBlockD(2 * w[1], last, 1))
        self.out = Conv(last, classes + 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to logits (N, 1 + K, H, W): made, then the classes."""
        kept = []
        for block in self.down:
            x = block(x)
            kept.append(x)
        x = self.up[0](x)
        for i in range(1, len(self.down)):
            x = self.up[i](torch.cat([kept[-i - 1], x], 1))
        return self.out(x)


def copy_weights(ours: nn.Module, theirs: nn.Module) -> None:
    """Gives the plain network the weights of ours, whose convolutions come in the same order."""
    own = [m for m in ours.modules() if isinstance(m, nn.Conv2d)]
    plain = [m for m in theirs.modules() if isinstance(m, Conv)]
    with torch.no_grad():
        for mine, other in zip(own, plain, strict=True):
            if other.spectral is None:
                other.plain.copy_(mine.weight)
            else:
                (spectral,) = mine.parametrizations.weight
                other.spectral.w.copy_(mine.parametrizations.weight.original)
                other.spectral.u = (spectral.u / spectral.u.norm()).clone()
            assert (other.b is None) == (mine.bias is None)
            if other.b is not None:
                other.b.copy_(mine.bias)


def weights_of(labels: Tensor, balance: bool) -> Tensor:
    """Returns how much the pixels of one-hot labels (N, K, H, W) count: rare classes more, if `balance`."""
    if not balance:
        return torch.ones_like(labels[:, 0])
    occurrence = labels.sum((0, 2, 3))
    factors = labels.numel() / ((occurrence > 0).sum() * labels.shape[1]) / occurrence
    return (factors[:, None, None] * labels).nan_to_num(0, 0, 0).sum(1)


def steps(
    generator: PlainGenerator,
    judge: PlainDiscriminator,
    samples: Iterable[tuple[Tensor, Tensor]],
    rates: Mapping[str, float],
    label_mix: float,
    balance: bool,
) -> Iterator[dict[str, float]]:
    """Trains the networks and yields the losses of each step, weighted; one step draws after manual_seed.

    Args:
        generator, judge: The networks.
        samples: One-hot labels (N, K, H, W) and pictures (N, 3, H, W) of each step.
        rates: Of "generator" and "discriminator".
        label_mix: The weight of what is seen in mixtures; 0 for none.
        balance: Whether rare classes count more.
    """
    adam = {
        name: torch.optim.Adam(net.parameters(), rates[name], (0.0, 0.999))
        for name, net in (("generator", generator), ("discriminator", judge))
    }
    for number, (labels, real) in enumerate(samples):
        torch.manual_seed(number)
        truth, weights, noise = labels.argmax(1) + 1, weights_of(labels, balance), generator.noise
        fake = generator(labels, torch.randn(len(labels), noise).double())
        loss = (F.cross_entropy(judge(fake), truth, reduction="none") * weights).mean()
        losses = {"g_gan": loss.item()}
        gradients = torch.autograd.grad(loss, list(generator.parameters()))
        for parameter, gradient in zip(generator.parameters(), gradients, strict=True):
            parameter.grad = gradient
        adam["generator"].step()

        with torch.no_grad():
            fake = generator(labels, torch.randn(len(labels), noise).double())
        of_fake, of_real = judge(fake), judge(real)
        d_fake = F.cross_entropy(of_fake, torch.zeros_like(truth))
        d_real = (F.cross_entropy(of_real, truth, reduction="none") * weights).mean()
        total = d_fake + d_real
        losses |= {"d_fake": d_fake.item(), "d_real": d_real.item()}
        if label_mix:
            chosen = torch.rand(labels.shape[1]) < 0.5
            mask = chosen[labels.argmax(1)].double()[:, None]
            mixed = judge(mask * real + (1 - mask) * fake)
            mix = label_mix * F.mse_loss(mixed, mask * of_real + (1 - mask) * of_fake)
            total, losses["d_label_mix"] = total + mix, mix.item()
        adam["discriminator"].zero_grad()
        total.backward()
        adam["discriminator"].step()
        yield losses
