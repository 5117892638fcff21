"""Losses: functions on tensors, one family a file. Each reduces in fp32 whatever precision it is given."""

from img2img.losses.ada import AdaptiveAugment as AdaptiveAugment
from img2img.losses.ada import AdaptiveAugmentation as AdaptiveAugmentation
from img2img.losses.diffaugment import Augmentation as Augmentation
from img2img.losses.diffaugment import DiffAugment as DiffAugment
from img2img.losses.gan import GanKind as GanKind
from img2img.losses.gan import GanLoss as GanLoss
from img2img.losses.gan import feature_matching as feature_matching
from img2img.losses.parts import crop_loss as crop_loss
from img2img.losses.parts import multiscale_loss as multiscale_loss
from img2img.losses.parts import symmetry_loss as symmetry_loss
from img2img.losses.parts import total_variation_loss as total_variation_loss
from img2img.losses.penalties import gradient_penalty as gradient_penalty
from img2img.losses.penalties import r1_penalty as r1_penalty
from img2img.losses.perceptual import PerceptualLoss as PerceptualLoss
from img2img.losses.pixel import PixelKind as PixelKind
from img2img.losses.pixel import PixelLoss as PixelLoss
from img2img.losses.pixel import charbonnier as charbonnier
from img2img.losses.pixel import pixel_losses as pixel_losses
from img2img.losses.structure import ssim_loss as ssim_loss
