"""Numbers for how far a picture is from the true one.

Each takes two batches (N, C, H, W) and returns one number an image, in float64. `metrics` lists them by
name; what the papers on super-resolution add to them (luma, the border that does not count, rounding) is in
`img2img.evaluation.protocol`.
"""

from img2img.metrics.base import Metric, metrics, one_thread
from img2img.metrics.pixel import l1, luma, psnr
from img2img.metrics.ssim import ssim

__all__ = ["Metric", "l1", "luma", "metrics", "one_thread", "psnr", "ssim"]
