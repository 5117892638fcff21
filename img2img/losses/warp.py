"""Places of pictures moved by matrices, so that gradients of any order pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Daubechies' least asymmetric wavelet with six vanishing moments ("sym6"), its low pass, with the sum 1: what
# it makes twice as large and small again is what it was.
_TAPS = (
    0.0108923501632800, 0.0024683061859200, -0.0834316077058400, -0.0341615607932400,
    0.3472289864783500, 0.5569463919639600, 0.2389521856660500, -0.0513624849309000,
    -0.0148918756492200, 0.0316252813299400, 0.0012499610463900, -0.0055159337546900,
)  # fmt: skip
_BORDER = 3  # pixels beyond the border that the filter sees
_BEYOND = 5  # of the larger pictures', on either side
# The filter is not quite symmetric: where it has its weight is the place of what it makes. (The authors' code
# takes the middle, and shifts what it mirrors by 0.4 pixels.)
_CENTRE = sum(place * tap for place, tap in enumerate(_TAPS))
SMALLEST = _BORDER + 1  # side of a picture that can be warped


class Warp(nn.Module):
    """Shows at each place of pictures what stood at another, low-pass filtered as in ADA.

    They are made twice as large by the filter, sampled bilinearly there at twice the resolution, and made as
    small as before by it. The identity gives back what came, but for a few pixels at the border. Beyond the
    borders stands the mirror image.

    References:
        Karras et al., Training Generative Adversarial Networks with Limited Data (arXiv:2006.06676), B.2.
    """

    taps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("taps", torch.tensor(_TAPS, dtype=torch.double).float(), persistent=False)

    def forward(self, images: Tensor, inverse: Tensor) -> Tensor:
        """Returns the pictures warped.

        Args:
            images: (N, C, H, W), H and W at least `SMALLEST`.
            inverse: (N, 3, 3), from homogeneous places (x, y, 1) of the result, in pixels from the middle,
                to those of what came.
        """
        height, width = images.shape[2:]
        x = F.pad(images, (_BORDER,) * 4, mode="reflect")
        x = self._doubled(self._doubled(x, 2, height), 3, width)
        sides = (torch.arange(2 * (side + _BEYOND), device=x.device).to(x) for side in (height, width))
        rows, columns = ((side - _CENTRE) / 2 for side in sides)
        down, across = _places(inverse, rows, columns, height, width)
        x = _bilinear(x, _larger(down, height), _larger(across, width))
        return self._halved(self._halved(x, 2), 3)

    def _doubled(self, x: Tensor, dim: int, size: int) -> Tensor:
        """Returns (N, C, H, W) with the padded side `dim`, of `size` pixels without that, twice as large."""
        kernel, stride = self._filter(x, dim)
        y = F.conv_transpose2d(x.reshape(-1, 1, *x.shape[2:]), 2 * kernel, stride=stride)
        y = y.narrow(dim, 2 * _BORDER + _BEYOND, 2 * size)
        return y.reshape(*x.shape[:2], *y.shape[2:])

    def _halved(self, x: Tensor, dim: int) -> Tensor:
        """Returns (N, C, H, W) with the side `dim` half as large, by the filter the other way round."""
        kernel, stride = self._filter(x, dim)
        y = F.conv2d(x.reshape(-1, 1, *x.shape[2:]), kernel, stride=stride)
        return y.reshape(*x.shape[:2], *y.shape[2:])

    def _filter(self, x: Tensor, dim: int) -> tuple[Tensor, tuple[int, int]]:
        """Returns the filter along `dim` and the steps in which it goes."""
        taps = self.taps.to(x)
        return (taps.view(1, 1, -1, 1), (2, 1)) if dim == 2 else (taps.view(1, 1, 1, -1), (1, 2))


def warp_nearest(images: Tensor, inverse: Tensor) -> Tensor:
    """Returns the same of values that must not be mixed: each place shows the nearest pixel."""
    height, width = images.shape[2:]
    rows, columns = (torch.arange(side, device=images.device).to(inverse) for side in (height, width))
    down, across = _places(inverse, rows, columns, height, width)
    y, x = (_inside(*pair).round().long() for pair in ((down, height), (across, width)))
    return _taken(images, y, x)


def _places(inverse: Tensor, rows: Tensor, columns: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Returns where (N, rows, columns) of the result come from, in pixels from the first: down and across."""
    middle = (height - 1) / 2, (width - 1) / 2
    y, x = (rows - middle[0])[:, None], (columns - middle[1])[None]
    matrix = inverse[:, :2, :, None, None]
    across, down = (matrix[:, i, 0] * x + matrix[:, i, 1] * y + matrix[:, i, 2] for i in (0, 1))
    return down + middle[0], across + middle[1]


def _bilinear(x: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Returns the values between pixels, at places (N, h, w); `grid_sample` has no second derivative."""
    top, left = down.floor(), across.floor()
    low, right = (down - top)[:, None], (across - left)[:, None]
    y, z = top.long(), left.long()
    upper = torch.lerp(_taken(x, y, z), _taken(x, y, z + 1), right)
    lower = torch.lerp(_taken(x, y + 1, z), _taken(x, y + 1, z + 1), right)
    return torch.lerp(upper, lower, low)


def _taken(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Returns (N, C, h, w) of (N, C, H, W), the pixels at places (N, h, w)."""
    index = (rows * x.shape[3] + columns).flatten(1)[:, None].expand(-1, x.shape[1], -1)
    return x.flatten(2).gather(2, index).view(*x.shape[:2], *rows.shape[1:])


def _inside(place: Tensor, size: int) -> Tensor:
    """Returns places reflected at the middles of the outermost pixels, 0 to size - 1."""
    place = place % (2 * size - 2)
    return torch.minimum(place, 2 * size - 2 - place)


def _larger(place: Tensor, size: int) -> Tensor:
    """Returns where places in pixels lie in the larger picture, reflected to its inside."""
    return 2 * _inside(place, size) - _BEYOND + _CENTRE
