"""Augmentation of all that a discriminator sees, as strong as its overfitting asks for.

Karras, Aittala, Hellsten, Laine, Lehtinen, Aila: Training Generative Adversarial Networks with Limited Data
(arXiv:2006.06676).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, distributed, nn

from img2img.errors import ConfigError
from img2img.losses.pixel import full
from img2img.losses.warp import Warp, warp_nearest
from img2img.registry import unknown
from img2img.types import SYMMETRIC, ValueRange

AdaptiveAugmentation = Literal["blit", "geometry", "color", "noise", "cutout"]

_SHIFT, _SCALE, _STRETCH, _SLIDE = 0.125, 0.2, 0.2, 0.125  # of the side, log2, log2, of the side
_BRIGHTNESS, _CONTRAST, _SATURATION = 0.2, 0.5, 1.0  # of half the range, log2, log2
_NOISE, _CUTOUT = 0.1, 0.5  # of half the range, of the side


class AdaptiveAugment(nn.Module):
    """Changes what a discriminator is shown with a probability that follows how much it overfits.

    Each change happens to each picture with the probability `p`, real or made, and every call draws anew. All
    draws and decisions stay on the device, and `p` is part of the state.

    Args:
        policy: What may be done, in this order:

            - "blit": mirrored, turned by quarters, shifted by up to an eighth of each side.
            - "geometry": made larger or smaller, turned by any angle, stretched, shifted by parts of pixels.
            - "color": brightness, contrast, light and dark exchanged, hue, saturation. Pictures of other
              than three channels only get the first three of these.
            - "noise", "cutout": the corruptions, which the paper leaves out by default.
        value_range: Black and white of the images.
        target: The mean sign of the logits of real images that `p` is steered towards; None leaves `p`.
        kimg: Thousands of real images that it takes `p` from 0 to 1 at most.
        interval: Steps of the discriminator between two corrections.
        p: What it begins with.

    Attributes:
        p: The probability, 0-dim.

    Raises:
        ConfigError: There is no such augmentation.

    References:
        arXiv:2006.06676, section 3.1 and appendix B; 0.6, 500 and 4 are the paper's. Deviation: `p` stays at
        1, where every change happens already, and the authors' code lets it grow on.
    """

    p: Tensor
    seen: Tensor
    calls: Tensor

    def __init__(
        self,
        policy: Sequence[AdaptiveAugmentation] = ("blit", "geometry", "color"),
        value_range: ValueRange = SYMMETRIC,
        target: float | None = 0.6,
        kimg: float = 500.0,
        interval: int = 4,
        p: float = 0.0,
    ) -> None:
        super().__init__()
        for name in policy:
            if name not in get_args(AdaptiveAugmentation):
                raise ConfigError(unknown("augmentation", name, get_args(AdaptiveAugmentation)))
        self.policy, self.target, self.kimg, self.interval = frozenset(policy), target, kimg, interval
        self.grey, self.amplitude = sum(value_range) / 2, (value_range.high - value_range.low) / 2
        self.warp = Warp()
        self.register_buffer("p", torch.tensor(float(p)))
        self.register_buffer("seen", torch.zeros(2))  # since the last correction: signs added up, images
        self.register_buffer("calls", torch.zeros(()))

    @torch.no_grad()
    def observe(self, sign: Tensor, count: int) -> None:
        """Takes in how sure the discriminator was of a batch, and corrects `p` when that is due.

        Args:
            sign: 0-dim, the mean sign of its logits of real images.
            count: How many images these were, in this process.
        """
        found = torch.stack((sign.to(self.p) * count, torch.full_like(self.p, count)))
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(found)
        self.seen += found
        self.calls += 1
        if self.target is None:
            return
        due = self.calls >= self.interval
        change = (self.seen[0] / self.seen[1] - self.target).sign() * self.seen[1] / (1000 * self.kimg)
        self.p.copy_(torch.where(due, (self.p + change).clamp(0, 1), self.p))
        self.seen.copy_(torch.where(due, 0.0, self.seen))
        self.calls.copy_(torch.where(due, 0.0, self.calls))

    def forward(self, images: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Returns what the discriminator is shown.

        A picture to which nothing happens comes back bit by bit.

        Args:
            images: (N, C, H, W).
            condition: (N, C', H, W) that they belong to: it is moved as they are, and keeps its values. One
                of two values alone, as label maps with a channel for each class, masks and boundaries are,
                gets the nearest pixel.
        """
        with torch.autocast(images.device.type, enabled=False):
            x = (full(images) - self.grey) / self.amplitude
            x, moved, places = self._moved(x, None if condition is None else full(condition))
            x, coloured = self._coloured(x)
            x, corrupted = self._corrupted(x)
            changed = (places | coloured | corrupted).view(-1, 1, 1, 1)
            shown = torch.where(changed, (x * self.amplitude + self.grey).to(images.dtype), images)
            if condition is None or moved is None:
                return shown, condition
            return shown, torch.where(places.view(-1, 1, 1, 1), moved.to(condition.dtype), condition)

    def _moved(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor]:
        """Returns the pictures, the condition, and which of them were moved."""
        if not self.policy & {"blit", "geometry"}:
            return x, condition, self._none(x)
        matrix, moved = self.places(len(x), *x.shape[2:])
        matrix = matrix.to(x)
        if condition is None:
            return self.warp(x, matrix), None, moved
        both = self.warp(torch.cat((x, condition), 1), matrix)
        exact = ((condition == condition.amin()) | (condition == condition.amax())).all()
        other = torch.where(exact, warp_nearest(condition, matrix), both[:, x.shape[1] :])
        return both[:, : x.shape[1]], other, moved

    def places(self, count: int, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Draws how pictures are moved.

        Returns:
            (count, 3, 3), see `warp`; and (count,), which of them are moved at all.
        """
        device = self.p.device
        matrix = torch.eye(3, device=device).expand(count, 3, 3)
        moved = torch.zeros(count, dtype=torch.bool, device=device)

        def do(chosen: Tensor, other: Tensor) -> None:
            nonlocal matrix, moved
            matrix = torch.where(chosen.view(-1, 1, 1), matrix @ other, matrix)
            moved = moved | chosen

        if "blit" in self.policy:
            flip = 1 - 2 * (self._uniform(count) < 0.5).float()
            do(self._chosen(count), _scaling(flip, torch.ones_like(flip)))
            do(self._chosen(count), _rotation((4 * self._uniform(count)).floor() * (math.pi / 2)))
            x, y = ((2 * self._uniform(count) - 1) * _SHIFT for _ in range(2))
            do(self._chosen(count), _translation((x * width).round(), (y * height).round()))
        if "geometry" in self.policy:
            once = 1 - (1 - self.p).clamp(min=0).sqrt()  # before or after stretching: p in all
            size = torch.exp2(_SCALE * self._normal(count))
            do(self._chosen(count), _scaling(1 / size, 1 / size))
            do(self._chosen(count, once), _rotation((2 * self._uniform(count) - 1) * math.pi))
            size = torch.exp2(_STRETCH * self._normal(count))
            do(self._chosen(count), _scaling(1 / size, size))
            do(self._chosen(count, once), _rotation((2 * self._uniform(count) - 1) * math.pi))
            x, y = (_SLIDE * self._normal(count) for _ in range(2))
            do(self._chosen(count), _translation(x * width, y * height))
        return matrix, moved

    def _coloured(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the pictures in other colours, and which of them those are."""
        if "color" not in self.policy:
            return x, self._none(x)
        matrix, changed = self.colours(len(x), several=x.shape[1] == 3)
        matrix = matrix.to(x)
        if x.shape[1] == 3:
            mixed = (matrix[:, :3, :3] @ x.flatten(2) + matrix[:, :3, 3:]).view_as(x)
        else:  # of grey the mean of what becomes of red, green and blue
            rows = matrix[:, :3].mean(1)
            mixed = x * rows[:, :3].sum(1).view(-1, 1, 1, 1) + rows[:, 3].view(-1, 1, 1, 1)
        return mixed, changed

    def colours(self, count: int, several: bool = True) -> tuple[Tensor, Tensor]:
        """Draws how colours change.

        Args:
            count: Of pictures.
            several: Whether they have red, green and blue.

        Returns:
            (count, 4, 4), from (red, green, blue, 1) between -1 and 1 to the same; and (count,), which of
            them change at all.
        """
        device = self.p.device
        unit = torch.eye(4, device=device)
        colours = unit - unit[3] * unit[3, :, None]  # 1 on the diagonal, but for the last
        luma = colours.sum(0)[:, None] * colours.sum(0) / 3
        matrix = unit.expand(count, 4, 4)
        changed = torch.zeros(count, dtype=torch.bool, device=device)

        def do(other: Tensor) -> None:
            nonlocal matrix, changed
            chosen = self._chosen(count)
            matrix = torch.where(chosen.view(-1, 1, 1), other @ matrix, matrix)
            changed = changed | chosen

        shift = colours.sum(0)[:, None] * unit[3]
        do(unit + shift * _BRIGHTNESS * self._normal(count).view(-1, 1, 1))
        do(unit + colours * (torch.exp2(_CONTRAST * self._normal(count)) - 1).view(-1, 1, 1))
        do(unit - 2 * luma * (self._uniform(count) < 0.5).float().view(-1, 1, 1))
        if several:
            do(_turn_of_hue((2 * self._uniform(count) - 1) * math.pi, unit, luma))
            do(luma + (unit - luma) * torch.exp2(_SATURATION * self._normal(count)).view(-1, 1, 1))
            # the last row says that 1 is 1, and saturation scales it as well
            matrix = torch.cat((matrix[:, :3], unit[3].expand(count, 1, 4)), 1)
        return matrix, changed

    def _corrupted(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the pictures with noise and holes, and which of them have some."""
        changed, count = self._none(x), len(x)
        if "noise" in self.policy:
            chosen = self._chosen(count)
            deviation = torch.where(chosen, _NOISE * self._normal(count).abs(), 0.0)
            x, changed = x + torch.randn_like(x) * deviation.view(-1, 1, 1, 1), changed | chosen
        if "cutout" in self.policy:
            chosen = self._chosen(count)
            hole = chosen.view(-1, 1, 1)
            for dim in (2, 3):
                place = (torch.arange(x.shape[dim], device=x.device) + 0.5) / x.shape[dim]
                near = (place - self._uniform(count)[:, None]).abs() < _CUTOUT / 2
                hole = hole & (near[:, :, None] if dim == 2 else near[:, None])
            x, changed = x.masked_fill(hole[:, None], 0.0), changed | chosen
        return x, changed

    def _chosen(self, count: int, p: Tensor | None = None) -> Tensor:
        return self._uniform(count) < (self.p if p is None else p)

    def _uniform(self, count: int) -> Tensor:
        return torch.rand(count, device=self.p.device)

    def _normal(self, count: int) -> Tensor:
        return torch.randn(count, device=self.p.device)

    def _none(self, x: Tensor) -> Tensor:
        return torch.zeros(len(x), dtype=torch.bool, device=x.device)


def _matrix(*rows: Sequence[Tensor]) -> Tensor:
    """Returns (N, 3, 3) with the last row 0, 0, 1."""
    last = [torch.zeros_like(rows[0][0]), torch.zeros_like(rows[0][0]), torch.ones_like(rows[0][0])]
    return torch.stack([torch.stack(list(row), 1) for row in (*rows, last)], 1)


def _scaling(x: Tensor, y: Tensor) -> Tensor:
    zero = torch.zeros_like(x)
    return _matrix((x, zero, zero), (zero, y, zero))


def _rotation(angle: Tensor) -> Tensor:
    zero, cosine, sine = torch.zeros_like(angle), angle.cos(), angle.sin()
    return _matrix((cosine, -sine, zero), (sine, cosine, zero))


def _translation(x: Tensor, y: Tensor) -> Tensor:
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _matrix((one, zero, x), (zero, one, y))


def _turn_of_hue(angle: Tensor, unit: Tensor, luma: Tensor) -> Tensor:
    """Returns (N, 4, 4), turns around the axis of grey, by the formula of Rodrigues."""
    cross = torch.zeros_like(unit)
    cross[0, 1], cross[0, 2], cross[1, 2] = -1.0, 1.0, -1.0
    cross = (cross - cross.mT) / math.sqrt(3)
    cosine, sine = angle.cos().view(-1, 1, 1), angle.sin().view(-1, 1, 1)
    return luma + (unit - luma) * cosine + cross * sine
