"""Numbers for how far a picture is from the true one, and for how far a set of pictures is from another.

Of pictures each takes two batches (N, C, H, W) and returns one number an image, in float64; NIQE takes one
batch. `metrics` lists them by name; what the papers on super-resolution add to them (luma, the border that
does not count, rounding) is in `img2img.evaluation.protocol`. Of sets of pictures, features are compared.
"""

from img2img.metrics.base import Metric, metric_of, metrics, one_thread
from img2img.metrics.confusion import label_scores
from img2img.metrics.dists import dists
from img2img.metrics.files import WeightFile, WeightsMissingError
from img2img.metrics.haarpsi import haarpsi
from img2img.metrics.lpips import lpips
from img2img.metrics.ms_ssim import ms_ssim
from img2img.metrics.niqe import niqe
from img2img.metrics.pixel import l1, luma, psnr
from img2img.metrics.ssim import ssim
from img2img.metrics.ssimulacra2 import ssimulacra2

__all__ = [
    "Metric",
    "WeightFile",
    "WeightsMissingError",
    "dists",
    "haarpsi",
    "l1",
    "label_scores",
    "lpips",
    "luma",
    "metric_of",
    "metrics",
    "ms_ssim",
    "niqe",
    "one_thread",
    "psnr",
    "ssim",
    "ssimulacra2",
]
