"""Models in use: opened by name or path, run over pictures of any size within the memory there is."""

from img2img.inference.styles import Styles as Styles
from img2img.inference.translator import Translator as Translator
from img2img.inference.translator import load_model as load_model
