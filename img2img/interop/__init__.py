"""Other people's checkpoints: opened safely and recognised by keys and shapes alone, one family a file."""

from img2img.interop import compact as compact
from img2img.interop import edsr as edsr
from img2img.interop import esrgan as esrgan
from img2img.interop import inpainting as inpainting
from img2img.interop import nafnet as nafnet
from img2img.interop import pix2pixhd as pix2pixhd
from img2img.interop import plksr as plksr
from img2img.interop import spade as spade
from img2img.interop import span as span
from img2img.interop import srgan as srgan
from img2img.interop import stargan as stargan
from img2img.interop import style as style
from img2img.interop import translation as translation
from img2img.interop.layouts import CheckpointLayout as CheckpointLayout
from img2img.interop.layouts import Recognised as Recognised
from img2img.interop.layouts import layouts as layouts
from img2img.interop.reader import open_checkpoint as open_checkpoint
from img2img.interop.reader import recognise as recognise
