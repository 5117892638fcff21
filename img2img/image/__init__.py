"""The file boundary: the only part that knows image files.

Tensors are in `img2img.image.tensor`, which imports torch; nothing else here does.
"""

from img2img.image.codec import (
    READABLE,
    WRITABLE,
    EncodeOptions,
    decode,
    encode,
    fit_reason,
    is_copy,
    of_copy,
    prepare,
    upright,
)
from img2img.image.discovery import Found, Passed, discover, list_images
from img2img.image.files import is_turned, read_image, write_bytes, write_image
from img2img.image.image import Image, Metadata, white_of
from img2img.image.limits import Limits

__all__ = [
    "READABLE",
    "WRITABLE",
    "EncodeOptions",
    "Found",
    "Image",
    "Limits",
    "Metadata",
    "Passed",
    "decode",
    "discover",
    "encode",
    "fit_reason",
    "is_copy",
    "is_turned",
    "list_images",
    "of_copy",
    "prepare",
    "read_image",
    "upright",
    "white_of",
    "write_bytes",
    "write_image",
]
