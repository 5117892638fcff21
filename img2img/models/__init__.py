"""Generators: one architecture a file; importing this package fills the registry."""

from img2img.models.base import ArchSpec as ArchSpec
from img2img.models.base import Generator as Generator
from img2img.models.base import build as build
from img2img.models.base import generators as generators
from img2img.models.compact import Compact as Compact
from img2img.models.cut_resnet import CutResnet as CutResnet
from img2img.models.msrresnet import MSRResNet as MSRResNet
from img2img.models.resnet import Resnet as Resnet
from img2img.models.rrdbnet import RRDBNet as RRDBNet
from img2img.models.srresnet import SRResNet as SRResNet
from img2img.models.unet import UNet as UNet
