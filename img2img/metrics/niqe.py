"""Naturalness of a picture that has nothing to be compared with."""

from __future__ import annotations

from functools import lru_cache
from os import PathLike, fspath
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from img2img.errors import ModelError
from img2img.image.resize import resize
from img2img.metrics.base import Metric, metrics, one_thread, require_channels, unit_of
from img2img.metrics.files import WeightFile
from img2img.metrics.pixel import luma
from img2img.types import ValueRange

_BLOCK = 96  # pixels: side of what features are taken of
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
_FEATURES, _WINDOW = 36, 7
_TITLE = "NIQE"
_BYTES = ValueRange(0, 255)
PARAMETERS = WeightFile(
    "niqe_pris_params.npz",
    "2a7c182a68c9e7f1b2e2e5ec723279d6f65d912b6fcaf37eb2bf03d7367c4296",
    "https://raw.githubusercontent.com/XPixelGroup/BasicSR/master/basicsr/metrics/niqe_pris_params.npz",
    "12 KiB",
    _TITLE,
    also=("niqe/niqe_pris_params.npz",),
)


@one_thread()
def niqe(
    images: Tensor,
    value_range: ValueRange,
    border: int = 0,
    *,
    parameters: str | PathLike[str] | None = None,
    allow_download: bool = False,
) -> Tensor:
    """Returns how far the statistics of each image are from those of natural photographs.

    On Y of BT.601 in whole levels (grey pictures: their own levels), in blocks of 96x96 pixels; what is left
    over at the right and bottom does not count. In float64, by BasicSR's procedure; it agrees with the
    formula written with SciPy to within 0.002.

    Args:
        images: (N, C, H, W), C = 1 or 3 (RGB), in `value_range`.
        value_range: What stands for black and white.
        border: Pixels on each side that do not count.
        parameters: A file with another model of natural pictures; None takes the authors', as BasicSR stores
            it, whose checksum decides.
        allow_download: Whether that may be downloaded.

    Returns:
        (N,) float64, lower for pictures that look more natural: 2 to 5 for photographs.

    Raises:
        ValueError: There are less than two whole blocks, or all but one of them are flat; there are neither
            one nor three channels, or values are not in the range.
        ConfigError: The parameters are not at hand.
        ModelError: The file does not hold them.
        DownloadError: The download failed.

    References:
        Mittal, Soundararajan, Bovik: Making a "Completely Blind" Image Quality Analyzer
        (doi:10.1109/LSP.2012.2227726). The authors take MATLAB's rgb2gray instead of Y; papers on
        super-resolution take Y.
    """
    images = unit_of(images, value_range, border)
    require_channels(_TITLE, images)
    rows, columns = (side // _BLOCK for side in images.shape[-2:])
    if rows * columns < 2:
        raise ValueError(
            f"{_TITLE} needs two blocks of {_BLOCK}x{_BLOCK} pixels or more, not {images.shape[-1]}x"
            f"{images.shape[-2]} pixels"
        )
    levels = images.clamp(0, 1) * 255
    grey = luma(levels, _BYTES, rounded=True) if images.shape[1] == 3 else levels.round()
    model = _model(None if parameters is None else fspath(parameters), allow_download)
    whole = grey[:, 0, : rows * _BLOCK, : columns * _BLOCK].cpu()
    return torch.tensor([_distance(each, model) for each in whole], dtype=torch.float64, device=images.device)


class _Pristine(NamedTuple):
    """Means (36,) and covariances (36, 36) of features of natural pictures, and the window (7, 7)."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    window: NDArray[np.float64]


@lru_cache(maxsize=2)
def _model(path: str | None, allow_download: bool) -> _Pristine:
    place = PARAMETERS.find(allow_download) if path is None else Path(path)
    try:
        with np.load(place, allow_pickle=False) as file:
            found = [file[name] for name in ("mu_pris_param", "cov_pris_param", "gaussian_window")]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise ModelError(f"cannot be read as the parameters of {_TITLE}", place) from error
    mean, covariance, window = (np.asarray(each, np.float64) for each in found)
    sizes = mean.size, covariance.shape, window.shape
    if sizes != (_FEATURES, (_FEATURES, _FEATURES), (_WINDOW, _WINDOW)):
        raise ModelError(f"does not hold the {_FEATURES} parameters of {_TITLE}", place)
    return _Pristine(mean.ravel(), covariance, window)


def _distance(levels: Tensor, model: _Pristine) -> float:
    """Returns NIQE of a picture (H, W) of whole blocks."""
    features = []
    for scale in (1, 2):
        side = _BLOCK // scale
        height, width = levels.shape
        blocks = _normalised(levels, model.window).numpy().reshape(height // side, side, width // side, side)
        features.append(_describe(blocks.transpose(0, 2, 1, 3).reshape(-1, side, side)))
        small = resize((levels / 255).float()[..., None].numpy(), height // 2, width // 2)
        levels = torch.from_numpy(small[..., 0]).double() * 255
    found = np.concatenate(features, axis=1)
    sound = found[~np.isnan(found).any(axis=1)]
    if len(sound) < 2:
        raise ValueError(f"{_TITLE} needs two blocks of {_BLOCK}x{_BLOCK} pixels that are not flat")
    difference = model.mean - np.nanmean(found, axis=0)
    inverse = np.linalg.pinv((model.covariance + np.cov(sound, rowvar=False)) / 2)
    return float(np.sqrt(difference @ inverse @ difference))


def _normalised(levels: Tensor, window: NDArray[np.float64]) -> Tensor:
    """Returns levels (H, W) without their local mean, over their local deviation."""
    reach = _WINDOW // 2
    padded = F.pad(levels[None, None], (reach,) * 4, mode="replicate")
    both = torch.cat([padded, padded.square()]).double()
    mean, square = F.conv2d(both, torch.from_numpy(window)[None, None])[:, 0]
    found: Tensor = (levels - mean) / ((square - mean.square()).abs().sqrt() + 1)
    return found


def _describe(blocks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns 18 features of each block (B, side, side); NaN where one is flat."""
    alpha, left, right = _fit(blocks)
    columns = [alpha, (left + right) / 2]
    for shift in _SHIFTS:
        alpha, left, right = _fit(blocks * np.roll(blocks, shift, axis=(1, 2)))
        mean = (right - left) * np.exp(_log_gamma(2 / alpha) - _log_gamma(1 / alpha))
        columns += [alpha, mean, left, right]
    return np.stack(columns, axis=1)


def _fit(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Returns shape and both scales of the asymmetric generalised Gaussian of each block (B, ...)."""
    values = values.reshape(len(values), -1)
    squares = values**2
    with np.errstate(divide="ignore", invalid="ignore"):
        left, right = (np.sqrt((squares * side).sum(1) / side.sum(1)) for side in (values < 0, values > 0))
        ratio = left / right
        found = np.abs(values).mean(1) ** 2 / squares.mean(1)
        found = found * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shapes, ratios = _shapes()
    after = np.searchsorted(ratios, np.nan_to_num(found)).clip(1, len(ratios) - 1)
    nearer = np.abs(ratios[after - 1] - found) <= np.abs(ratios[after] - found)
    alpha = shapes[np.where(nearer, after - 1, after)]
    alpha[np.isnan(found)] = shapes[0]
    spread = np.exp((_log_gamma(1 / alpha) - _log_gamma(3 / alpha)) / 2)
    return alpha, left * spread, right * spread


@lru_cache(maxsize=1)
def _shapes() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the shapes that are tried, and the ratio of moments of each, which grows with it."""
    shapes = np.arange(0.2, 10.001, 0.001)
    one, two, three = (_log_gamma(k / shapes) for k in (1, 2, 3))
    return shapes, np.exp(2 * two - one - three)


def _log_gamma(x: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = torch.lgamma(torch.from_numpy(x)).numpy()
    return found


def _alone(a: Tensor, b: Tensor, value_range: ValueRange, border: int = 0) -> Tensor:
    return niqe(a, value_range, border)


metrics.register("niqe")(
    Metric(
        _alone,
        higher_is_better=False,
        decimals=3,
        title=_TITLE,
        smallest=_BLOCK,
        channels=(1, 3),
        needs="picture",
        files=(PARAMETERS,),
    )
)
