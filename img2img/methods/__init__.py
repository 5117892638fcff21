"""Training methods: one a file; importing this package fills the registry."""

from img2img.methods.base import Column as Column
from img2img.methods.base import Export as Export
from img2img.methods.base import Method as Method
from img2img.methods.base import MethodConfig as MethodConfig
from img2img.methods.base import Optimize as Optimize
from img2img.methods.base import fields_in as fields_in
from img2img.methods.base import methods as methods
from img2img.methods.cut import CUT as CUT
from img2img.methods.cyclegan import CycleGAN as CycleGAN
from img2img.methods.cyclegan import CycleGANConfig as CycleGANConfig
from img2img.methods.flow import FlowMatching as FlowMatching
from img2img.methods.flow import FlowMatchingConfig as FlowMatchingConfig
from img2img.methods.inpainting import Inpainting as Inpainting
from img2img.methods.inpainting import InpaintingConfig as InpaintingConfig
from img2img.methods.oasis import OASIS as OASIS
from img2img.methods.oasis import OASISConfig as OASISConfig
from img2img.methods.pix2pix import Pix2Pix as Pix2Pix
from img2img.methods.pix2pix import Pix2PixConfig as Pix2PixConfig
from img2img.methods.pix2pixhd import Pix2PixHDConfig as Pix2PixHDConfig
from img2img.methods.pix2pixhd import Pix2PixHDMethod as Pix2PixHDMethod
from img2img.methods.segmentation import Segmentation as Segmentation
from img2img.methods.segmentation import SegmentationConfig as SegmentationConfig
from img2img.methods.shared_encoder import SharedEncoder as SharedEncoder
from img2img.methods.stargan import StarGAN as StarGAN
from img2img.methods.super_resolution import SuperResolution as SuperResolution
from img2img.methods.super_resolution import SuperResolutionConfig as SuperResolutionConfig
