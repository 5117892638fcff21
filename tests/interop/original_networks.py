"""The original networks from stock torch layers, under their own key names: the independent reference."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NORMS = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d, "none": lambda channels: nn.Identity()}


class Level(nn.Module):
    """One level of the U-Net around the next inner one."""

    def __init__(self, layers: list[nn.Module], outermost: bool = False) -> None:
        super().__init__()
        self.model, self.outermost = nn.Sequential(*layers), outermost

    def forward(self, x: Tensor) -> Tensor:
        y = self.model(x)
        return y if self.outermost else torch.cat([x, y], 1)


class UNet(nn.Module):
    def __init__(self, inputs: int, outputs: int, downs: int, f: int, norm: str) -> None:
        super().__init__()
        make, bias = NORMS[norm], norm == "instance"
        widths = [f * min(2**i, 8) for i in range(downs)]

        def down(i: int, o: int) -> nn.Module:
            return nn.Conv2d(i, o, 4, 2, 1, bias=bias)

        def up(i: int, o: int, bias: bool = bias) -> nn.Module:
            return nn.ConvTranspose2d(i, o, 4, 2, 1, bias=bias)

        wide, inner = widths[-2:]
        level = Level([nn.LeakyReLU(0.2), down(wide, inner), nn.ReLU(), up(inner, wide), make(wide)])
        for number in range(downs - 2, 0, -1):
            outer, inner = widths[number - 1], widths[number]
            enter = [nn.LeakyReLU(0.2), down(outer, inner), make(inner)]
            level = Level([*enter, level, nn.ReLU(), up(2 * inner, outer), make(outer)])
        ends = [nn.ReLU(), up(2 * f, outputs, True), nn.Tanh()]
        self.model = Level([down(inputs, f), level, *ends], outermost=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Block(nn.Module):
    def __init__(self, c: int, norm: str, dropout: bool) -> None:
        super().__init__()
        make, bias = NORMS[norm], norm == "instance"
        layers = [nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3, bias=bias), make(c), nn.ReLU()]
        layers += [nn.Dropout(0.5)] if dropout else []
        layers += [nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3, bias=bias), make(c)]
        self.conv_block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class Blur(nn.Module):
    """CUT's anti-aliasing, with its filter as a buffer."""

    def __init__(self, channels: int, up: bool) -> None:
        super().__init__()
        self.up = up
        taps = torch.tensor([1.0, 3, 3, 1] if up else [1.0, 2, 1])
        kernel = taps[:, None] * taps
        kernel = kernel / kernel.sum() * (4 if up else 1)
        self.register_buffer("filt", kernel.repeat(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        groups = x.shape[1]
        if self.up:
            x = F.pad(x, (1, 1, 1, 1), mode="replicate")
            return F.conv_transpose2d(x, self.filt, stride=2, padding=2, groups=groups)[:, :, 1:-1, 1:-1]
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), self.filt, stride=2, groups=groups)


class ResNet(nn.Module):
    def __init__(
        self,
        inputs: int,
        outputs: int,
        f: int,
        blocks: int,
        norm: str,
        dropout: bool = False,
        downs: int = 2,
        blur_down: bool = False,
        blur_up: bool = False,
    ) -> None:
        super().__init__()
        make, bias = NORMS[norm], norm == "instance"
        layers: list[nn.Module] = [
            nn.ReflectionPad2d(3),
            nn.Conv2d(inputs, f, 7, bias=bias),
            make(f),
            nn.ReLU(),
        ]
        for _ in range(downs):
            layers += [nn.Conv2d(f, 2 * f, 3, 1 if blur_down else 2, 1, bias=bias), make(2 * f), nn.ReLU()]
            layers += [Blur(2 * f, up=False)] if blur_down else []
            f *= 2
        layers += [Block(f, norm, dropout) for _ in range(blocks)]
        for _ in range(downs):
            if blur_up:
                layers += [Blur(f, up=True), nn.Conv2d(f, f // 2, 3, 1, 1, bias=bias)]
            else:
                layers += [nn.ConvTranspose2d(f, f // 2, 3, 2, 1, 1, bias=bias)]
            f //= 2
            layers += [make(f), nn.ReLU()]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(f, outputs, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


def patch_discriminator(inputs: int, f: int, layers: int, norm: str) -> nn.Module:
    make, bias = NORMS[norm], norm == "instance"
    parts: list[nn.Module] = [nn.Conv2d(inputs, f, 4, 2, 1), nn.LeakyReLU(0.2)]
    width = f
    for layer in range(1, layers + 1):
        wider = f * min(2**layer, 8)
        stride = 2 if layer < layers else 1
        parts += [nn.Conv2d(width, wider, 4, stride, 1, bias=bias), make(wider), nn.LeakyReLU(0.2)]
        width = wider
    net = nn.Module()
    net.model = nn.Sequential(*parts, nn.Conv2d(width, 1, 4, 1, 1))
    return net


class LeftthomasBlock(nn.Module):
    def __init__(self, f: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(f, f, 3, padding=1), nn.BatchNorm2d(f)
        self.prelu = nn.PReLU()
        self.conv2, self.bn2 = nn.Conv2d(f, f, 3, padding=1), nn.BatchNorm2d(f)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bn2(self.conv2(self.prelu(self.bn1(self.conv1(x)))))


class LeftthomasUp(nn.Module):
    def __init__(self, f: int) -> None:
        super().__init__()
        self.conv, self.shuffle, self.prelu = (
            nn.Conv2d(f, 4 * f, 3, padding=1),
            nn.PixelShuffle(2),
            nn.PReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.prelu(self.shuffle(self.conv(x)))


class Leftthomas(nn.Module):
    """Five residual blocks between `block1` and `block7`, upsampling in `block8`."""

    def __init__(self, f: int, ups: int, trunk_norm: bool) -> None:
        super().__init__()
        self.block1 = nn.Sequential(nn.Conv2d(3, f, 9, padding=4), nn.PReLU())
        for number in range(2, 7):
            setattr(self, f"block{number}", LeftthomasBlock(f))
        after = nn.BatchNorm2d(f) if trunk_norm else nn.PReLU()
        self.block7 = nn.Sequential(nn.Conv2d(f, f, 3, padding=1), after)
        self.block8 = nn.Sequential(*(LeftthomasUp(f) for _ in range(ups)), nn.Conv2d(f, 3, 9, padding=4))

    def forward(self, x: Tensor) -> Tensor:
        first = y = self.block1(x)
        for number in range(2, 7):
            y = getattr(self, f"block{number}")(y)
        return (torch.tanh(self.block8(first + self.block7(y))) + 1) / 2


class Rcb(nn.Module):
    def __init__(self, f: int) -> None:
        super().__init__()
        conv1, conv2 = (nn.Conv2d(f, f, 3, padding=1, bias=False) for _ in range(2))
        self.rcb = nn.Sequential(conv1, nn.BatchNorm2d(f), nn.PReLU(), conv2, nn.BatchNorm2d(f))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.rcb(x)


class UpsampleBlock(nn.Module):
    def __init__(self, f: int, step: int) -> None:
        super().__init__()
        conv = nn.Conv2d(f, f * step**2, 3, padding=1)
        self.upsample_block = nn.Sequential(conv, nn.PixelShuffle(step), nn.PReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.upsample_block(x)


class Lornatang(nn.Module):
    """The paper's network; `stem` is the name of its outer convolutions, which changed between versions."""

    def __init__(self, channels: int, f: int, blocks: int, steps: tuple[int, ...], stem: str) -> None:
        super().__init__()
        self.stem = stem
        setattr(self, f"{stem}1", nn.Sequential(nn.Conv2d(channels, f, 9, padding=4), nn.PReLU()))
        self.trunk = nn.Sequential(*(Rcb(f) for _ in range(blocks)))
        conv2 = nn.Conv2d(f, f, 3, padding=1, bias=False)
        setattr(self, f"{stem}2", nn.Sequential(conv2, nn.BatchNorm2d(f)))
        self.upsampling = nn.Sequential(*(UpsampleBlock(f, step) for step in steps))
        setattr(self, f"{stem}3", nn.Conv2d(f, channels, 9, padding=4))

    def forward(self, x: Tensor) -> Tensor:
        first, second, third = (getattr(self, f"{self.stem}{n}") for n in (1, 2, 3))
        y = first(x)
        return third(self.upsampling(y + second(self.trunk(y))))


class PlainBlock(nn.Module):
    def __init__(self, f: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(f, f, 3, padding=1), nn.Conv2d(f, f, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(torch.relu(self.conv1(x)))


class MSRResNet(nn.Module):
    """Under BasicSR's names."""

    def __init__(self, channels: int, f: int, blocks: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.steps = (2, 2) if scale == 4 else (scale,)
        self.conv_first = nn.Conv2d(channels, f, 3, padding=1)
        self.body = nn.Sequential(*(PlainBlock(f) for _ in range(blocks)))
        for number, step in enumerate(self.steps, 1):
            setattr(self, f"upconv{number}", nn.Conv2d(f, f * step**2, 3, padding=1))
        self.conv_hr = nn.Conv2d(f, f, 3, padding=1)
        self.conv_last = nn.Conv2d(f, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(F.leaky_relu(self.conv_first(x), 0.1))
        for number, step in enumerate(self.steps, 1):
            y = F.leaky_relu(F.pixel_shuffle(getattr(self, f"upconv{number}")(y), step), 0.1)
        y = self.conv_last(F.leaky_relu(self.conv_hr(y), 0.1))
        return y + F.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)


def randomise(net: nn.Module, seed: int = 0) -> nn.Module:
    """Fills weights and running statistics with values that no layer could swap unnoticed."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in [*net.named_parameters(), *net.named_buffers()]:
            if name.endswith("filt") or not value.is_floating_point():
                continue
            if value.ndim == 4:
                fan = value[0].numel() if "Transpose" not in name else value.shape[0]
                value.copy_(torch.randn(value.shape, generator=random) * (2 / fan) ** 0.5)
            elif name.endswith(("running_var", "weight")):
                value.copy_(0.5 + torch.rand(value.shape, generator=random))
            else:
                value.copy_(torch.randn(value.shape, generator=random) * 0.2)
    return net.eval()
