"""Generators: one architecture a file; importing this package fills the registry."""

from img2img.models.base import ArchSpec as ArchSpec
from img2img.models.base import Generator as Generator
from img2img.models.base import build as build
from img2img.models.base import generators as generators
from img2img.models.compact import Compact as Compact
from img2img.models.cut_resnet import CutResnet as CutResnet
from img2img.models.discriminators import Discriminator as Discriminator
from img2img.models.discriminators import discriminators as discriminators
from img2img.models.edsr import EDSR as EDSR
from img2img.models.msrresnet import MSRResNet as MSRResNet
from img2img.models.multiscale import MultiScalePatchGAN as MultiScalePatchGAN
from img2img.models.nafnet import NAFNet as NAFNet
from img2img.models.partial_unet import PartialConv2d as PartialConv2d
from img2img.models.partial_unet import PartialUNet as PartialUNet
from img2img.models.patchgan import PatchGAN as PatchGAN
from img2img.models.patchgan import PixelGAN as PixelGAN
from img2img.models.plksr import PLKSR as PLKSR
from img2img.models.plksr import RealPLKSR as RealPLKSR
from img2img.models.resnet import Resnet as Resnet
from img2img.models.rrdbnet import RRDBNet as RRDBNet
from img2img.models.span import SPAN as SPAN
from img2img.models.srresnet import SRResNet as SRResNet
from img2img.models.unet import UNet as UNet
from img2img.models.unet_discriminator import UNetDiscriminator as UNetDiscriminator
from img2img.models.vgg_discriminator import SRGANDiscriminator as SRGANDiscriminator
from img2img.models.vgg_discriminator import VGGDiscriminator as VGGDiscriminator
