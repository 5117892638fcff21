"""Other people's checkpoints: opened safely and recognised by keys and shapes alone, one family a file."""

from img2img.interop.layouts import Layout as Layout
from img2img.interop.layouts import Recognised as Recognised
from img2img.interop.layouts import layouts as layouts
