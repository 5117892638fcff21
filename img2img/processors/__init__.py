"""Classic image operations with OpenCV: one image in, one image out; chains of them are batch processors."""

from img2img.processors import (  # noqa: F401 - they register
    artefacts,
    colour,
    degrade,
    detail,
    geometry,
    layout,
    tone,
)
from img2img.processors.base import Operation, processors
from img2img.processors.chain import Chain
from img2img.processors.describe import Description, Parameter, describe
from img2img.processors.recipe import parse_operations, read_recipe
from img2img.processors.shipped import open_recipe, shipped_recipes

processors.defer("model", "img2img.inference.operation")  # imports torch, which takes two seconds

__all__ = [
    "Chain",
    "Description",
    "Operation",
    "Parameter",
    "describe",
    "open_recipe",
    "parse_operations",
    "processors",
    "read_recipe",
    "shipped_recipes",
]
