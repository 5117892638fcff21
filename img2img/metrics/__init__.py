"""How far images are from the truth: functions on batches, one number an image."""

from img2img.metrics.l1 import l1 as l1
from img2img.metrics.luma import luma as luma
from img2img.metrics.psnr import psnr as psnr
from img2img.metrics.ssim import ssim as ssim
