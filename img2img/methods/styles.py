"""How things look: features averaged over objects, and the few centres that stand for all of a class."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# Of the search for centres: what the authors' code leaves at the defaults of its library. The last is how far
# they may move in all at the end, squared, as a share of the variance.
_STARTS, _ROUNDS, _STILL = 10, 300, 1e-4


def regions(classes: Tensor, ids: Tensor | None) -> Tensor:
    """Returns a number for each pixel: the same where class and object are, and from 0 on in each image.

    No shape depends on the values, so that nothing waits for the device.

    Args:
        classes: (N, H, W) int64, from 0 on.
        ids: (N, 1, H, W), the numbers of objects; None where all of a class are one.

    Returns:
        (N, H * W) int64.
    """
    codes = classes.flatten(1)
    if ids is not None:
        codes = codes + ids.flatten(1).long() * (codes.max() + 1)
    ordered, order = codes.sort(1)
    ranks = F.pad((ordered[:, 1:] != ordered[:, :-1]).long(), (1, 0)).cumsum(1)
    return torch.zeros_like(codes).scatter(1, order, ranks)


def pooled(features: Tensor, places: Tensor) -> Tensor:
    """Returns features (N, C, H, W) averaged over each region of `places`, (N, H * W), in the same shape."""
    n, channels, height, width = features.shape
    values = features.flatten(2).float()
    index = places[:, None].expand(-1, channels, -1)
    sums = torch.zeros_like(values).scatter_add(2, index, values)
    ones = torch.ones_like(values[:, :1])
    counts = torch.zeros_like(ones).scatter_add(2, places[:, None], ones)
    means = sums / counts.clamp(min=1)
    return means.gather(2, index).view(n, channels, height, width).to(features.dtype)


def centres(points: Tensor, count: int) -> Tensor:
    """Returns the centres of up to `count` clusters, the largest cluster first.

    Args:
        points: (P, C), at least one.
        count: At least 1; there are no more centres than different points.

    Returns:
        (K, C) in float64.

    References:
        Arthur and Vassilvitskii, k-means++ (2007): the best of several starts, always the same ones.
    """
    points = points.double()
    count = min(count, len(torch.unique(points, dim=0)))
    noise = torch.Generator().manual_seed(0)
    best: tuple[float, Tensor, Tensor] | None = None
    for _ in range(_STARTS):
        found, nearest = _lloyd(points, _seeds(points, count, noise))
        error = float((points - found[nearest]).square().sum())
        if best is None or error < best[0]:
            best = error, found, nearest
    assert best is not None
    _, found, nearest = best
    sizes = torch.bincount(nearest, minlength=count)
    return found[sizes.argsort(descending=True, stable=True)]


def _seeds(points: Tensor, count: int, noise: torch.Generator) -> Tensor:
    """Returns `count` of the points, each likely to be far from those before."""
    chosen = points[torch.randint(len(points), (1,), generator=noise)]
    while len(chosen) < count:
        distance = torch.cdist(points, chosen).amin(1).square()
        chosen = torch.cat((chosen, points[torch.multinomial(distance, 1, generator=noise)]))
    return chosen


def _lloyd(points: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
    """Returns centres that are about the means of the points nearest them, and which is nearest to each."""
    nearest, still = torch.cdist(points, found).argmin(1), _STILL * points.var(0, correction=0).mean()
    for _ in range(_ROUNDS):
        sizes = torch.bincount(nearest, minlength=len(found))[:, None]
        sums = torch.zeros_like(found).index_add(0, nearest, points)
        old, found = found, torch.where(sizes > 0, sums / sizes.clamp(min=1), found)
        before, nearest = nearest, torch.cdist(points, found).argmin(1)
        if torch.equal(before, nearest) or (found - old).square().sum() <= still:
            break
    return found, nearest
