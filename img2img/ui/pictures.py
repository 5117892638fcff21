"""One picture in, one picture out: what is uploaded is read with the limits, and results keep their depth."""

from __future__ import annotations

import shutil
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
from PIL.Image import Resampling

from img2img.batch import output_name
from img2img.batch.outputs import FALLBACKS
from img2img.errors import ProcessingError, UsageError
from img2img.fields import Vector, in_words
from img2img.image import Image, Limits, decode, encode, fit_reason, prepare, read_image, write_bytes
from img2img.image.resize import resize_nearest
from img2img.image.sheet import displayable
from img2img.tables import numbers_in
from img2img.ui.models import UPSCALE, Models, Offer, Settings
from img2img.ui.worker import Worker

_SHOWN = 1600  # pixels of the longer side of what the browser shows; the file has all of them
_KEPT = 32  # folders with results; the browser has those that it shows
_OPAQUE = 0.5  # from so much on a brush has painted


@dataclass(frozen=True)
class Done:
    """What became of a picture.

    Attributes:
        before, after: Files for the browser, of one size, at most 1600 pixels on the longer side, 8 bits.
        file: The result, at full size and depth.
        note: What it is, and what could not be kept, in sentences.
    """

    before: Path
    after: Path
    file: Path
    note: str


class Pictures:
    """Turns pictures that somebody uploaded into results.

    Args:
        models: Where models come from.
        worker: Computes.
        limits: What is refused; results are held against them, too.
        folder: Where results are kept for a while.
    """

    def __init__(self, models: Models, worker: Worker, limits: Limits, folder: Path) -> None:
        self._models, self._worker, self._limits, self._folder = models, worker, limits, folder
        self._kept: deque[Path] = deque()
        self._lock = threading.Lock()

    def look(self, path: Path) -> tuple[Path, str]:
        """Returns a file of an uploaded picture for the browser, and what it is in a sentence.

        Raises:
            ImageReadError: It is no picture, broken or too large.
        """
        image = self._read(path)
        return self._write_preview(image, self._fresh(), "picture", _size(image)), _facts(image)

    def convert(
        self,
        path: Path,
        settings: Settings,
        mask: Path | None = None,
        layers: Sequence[bytes] = (),
        others: Mapping[str, Path | str | None] | None = None,
    ) -> Done:
        """Returns what the chosen model makes of an uploaded picture.

        Args:
            path: The file.
            settings: The model and what is set.
            mask: A file in which holes are white, where the model fills some.
            layers: Pictures that are transparent where nothing is painted: what is drawn is hole, too. They
                are brought to the size of the picture.
            others: What else the model needs, by name: files, or numbers with commas between.

        Raises:
            Img2ImgError: As a sentence, whatever is wrong.
        """
        image = self._read(path)
        offer = self._worker.do(self._models.offer, settings.model)
        self._check_size(image, offer, settings)
        conditions = self._conditions(image, offer, others or {})
        if offer.holes:
            conditions["mask"] = self._hole(image, mask, layers, settings.invert)
        process, _ = self._worker.do(self._models.open, settings)
        (result,) = self._worker.do(process, [image], **{name: [each] for name, each in conditions.items()})
        return self._finished(path, image, result)

    def _read(self, path: Path) -> Image:
        try:
            return read_image(path, self._limits).replace(name=path.stem)
        except Exception as error:
            if hasattr(error, "path"):
                error.path = Path(path.name)  # where the browser's files are kept helps nobody
            raise

    def _check_size(self, image: Image, offer: Offer, settings: Settings) -> None:
        if offer.scale is None:
            return
        factor = settings.factor or offer.scale
        largest = max(factor, offer.scale if settings.model != UPSCALE else factor)
        if image.height * image.width * largest**2 > self._limits.max_pixels:
            raise UsageError(
                f"{image.width} x {image.height} pixels enlarged by {largest:g} are more than the "
                f"{self._limits.max_pixels:,} that are made here; take a smaller factor, or a part."
            )

    def _hole(self, image: Image, mask: Path | None, layers: Sequence[bytes], invert: bool) -> Image:
        """Returns a mask of the size of `image`."""
        if mask is not None:
            return self._read(mask)
        painted = np.zeros((image.height, image.width, 1), bool)
        for layer in layers:
            drawn = decode(layer, self._limits)
            if drawn.alpha is not None:
                alpha = resize_nearest(drawn.alpha[..., None], image.height, image.width)
                painted |= alpha > _OPAQUE * drawn.white
        if not painted.any():
            raise UsageError("Paint what is to be filled, or give a mask in which it is white.")
        return Image(np.where(painted ^ invert, 255, 0).astype(np.uint8))

    def _conditions(
        self, image: Image, offer: Offer, others: Mapping[str, Path | str | None]
    ) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, field in offer.needs:
            given = others.get(name)
            if given is None or given == "":
                raise UsageError(f"The model needs {in_words(field)} beside the picture: {name}.")
            if not isinstance(field, Vector):
                found[name] = self._read(Path(given))
            elif (numbers := numbers_in(str(given))) is None:
                raise UsageError(f"{name} is {in_words(field)}, with commas between them.")
            else:
                found[name] = numbers
        return found

    def _finished(self, path: Path, image: Image, result: Image) -> Done:
        notes = [*image.warnings, *result.warnings]
        extension = next((each for each in FALLBACKS if fit_reason(result, each) is None), None)
        if extension is None:
            raise ProcessingError("no format can hold the result.")
        stored = prepare(result, extension)
        notes += stored.warnings
        folder = self._fresh()
        file = folder / output_name(path.name, extension=extension)
        write_bytes(encode(stored, extension), file)
        size = _size(result)
        sentences = [f"{each[:1].upper()}{each[1:].rstrip('.')}." for each in dict.fromkeys(notes)]
        return Done(
            self._write_preview(image, folder / "shown", "before", size),
            self._write_preview(result, folder / "shown", "after", size),
            file,
            " ".join([_facts(result), *sentences]),
        )

    def _fresh(self) -> Path:
        """Returns a new folder, and removes the oldest ones."""
        folder = Path(mkdtemp(dir=self._folder))
        with self._lock:
            self._kept.append(folder)
            while len(self._kept) > _KEPT:
                shutil.rmtree(self._kept.popleft(), ignore_errors=True)
        return folder

    @staticmethod
    def _write_preview(image: Image, folder: Path, name: str, size: tuple[int, int]) -> Path:
        """Writes an 8-bit sRGB picture of (height, width), reduced to what a browser shows well."""
        share = min(1.0, _SHOWN / max(size))
        height, width = (max(1, round(side * share)) for side in size)
        step = max(1, min(image.height // (2 * height), image.width // (2 * width)))
        part = image.replace(
            pixels=image.pixels[::step, ::step],
            alpha=None if image.alpha is None else image.alpha[::step, ::step],
        )
        picture = displayable(part)
        if picture.size != (width, height):
            picture = picture.resize((width, height), Resampling.BICUBIC)
        folder.mkdir(exist_ok=True)
        file = folder / f"{name}.png"
        write_bytes(encode(Image(np.asarray(picture)), ".png"), file)
        return file


def _size(image: Image) -> tuple[int, int]:
    return image.height, image.width


def _facts(image: Image) -> str:
    kind = {1: "grey", 3: "RGB"}.get(image.channels, f"{image.channels} channels")
    if image.palette is not None:
        kind = f"label map of {len(image.palette)} classes"
    bits = {1: "8 bits", 2: "16 bits", 4: "floating point"}[image.pixels.dtype.itemsize]
    alpha = " with transparency" if image.alpha is not None else ""
    return f"{image.width} x {image.height} pixels, {kind}{alpha}, {bits}."
