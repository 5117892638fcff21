"""What can be chosen on the page, what that offers to set, and opening it as the command line does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

from img2img.batch import Processor
from img2img.checkpoint import ModelInfo
from img2img.errors import UsageError, display_path
from img2img.fields import Field, Fields, Vector, in_words
from img2img.image import Limits, read_image
from img2img.image.codec import DEFAULT_LIMITS
from img2img.inference import Translator, load_model
from img2img.inference.attributes import AttributeEditor
from img2img.inference.identity import identity
from img2img.inference.inpainting import fills_holes, network_inpainter
from img2img.inference.restoring import restorers, restoring
from img2img.inference.styles import SIDE, Styles
from img2img.inference.stylizer import Stylizer
from img2img.interop import open_checkpoint
from img2img.models import AdaIN, Generator
from img2img.models.noise import set_noise
from img2img.models.pix2pixhd import style_count
from img2img.processors.inpaint import Classic, ClassicMethod, Inpainter
from img2img.registry import unknown
from img2img.ui.places import Roots
from img2img.weights import CLEAN, available, find_model, is_name, ships, upscaler
from img2img.weights.finder import EXTENSIONS

UPSCALE, RESTORE = "upscale", "restore"
JOBS = {
    UPSCALE: "Enlarge: x2 and x4, which ship",
    RESTORE: "Restore: noise and compression",
    "telea": "Fill holes: Telea",
    "navier_stokes": "Fill holes: Navier-Stokes",
}
MOST = 64.0  # that a picture is enlarged by
_CLASSIC = get_args(ClassicMethod)
_OF_A_RUN = ("best", "ema", "last")  # which of its files is meant by the folder of a run, the first one first
_LARGEST_SEED = 2**32 - 1
_DEPTH, _FOLDERS, _LISTED = 4, 3000, 200  # how far is looked for models and runs: a home folder may be large


@dataclass(frozen=True)
class Offer:
    """What the page shows for what was chosen.

    Attributes:
        note: What it is, in a sentence.
        scale: How many times as large it makes pictures, None where it keeps their size.
        strength: Whether its results may be mixed with the picture as it was.
        restores: Whether its results are better versions of its inputs, at their size.
        holes: Whether it fills holes, and so needs a mask.
        attributes: The names of what it can set.
        styles: How many it has to choose from.
        noise: Whether another seed is another result.
        needs: What else must be given beside the picture.
        labels: Whether it makes label maps.
        paints: Whether it paints in the style of a picture, which it needs.
    """

    note: str
    scale: float | None = None
    strength: bool = False
    restores: bool = False
    holes: bool = False
    attributes: tuple[str, ...] = ()
    styles: int = 0
    noise: bool = False
    needs: tuple[tuple[str, Field], ...] = ()
    labels: bool = False
    paints: bool = False


@dataclass(frozen=True)
class Settings:
    """What was chosen.

    Attributes:
        model: One of `JOBS`, the name of a model, the place of a model file or the folder of a run.
        factor: Pixels of the result for one of the picture; None takes that of the model.
        strength: Share of the model in the result.
        on, off: Attributes that are set, and that are cleared.
        every: Whether to make a sheet of each attribute set in turn.
        style: Which style.
        seed: Of the random input.
        invert: Whether black in a mask is the hole.
        style_picture: A file in whose style to paint.
    """

    model: str
    factor: float | None = None
    strength: float = 1.0
    on: tuple[str, ...] = ()
    off: tuple[str, ...] = ()
    every: bool = False
    style: int = 0
    seed: int = 0
    invert: bool = False
    style_picture: Path | None = None


class Models:
    """Models by what is written on the page; they are opened in one thread, that of the worker.

    Args:
        roots: Where files may lie; models that have a name may be elsewhere.
        device: What computes them.
        limits: What is refused of pictures that show a style.
    """

    def __init__(self, roots: Roots, device: str = "auto", limits: Limits = DEFAULT_LIMITS) -> None:
        self._roots, self._device, self._limits = roots, device, limits
        self._known: dict[tuple[Any, ...], tuple[Processor, dict[str, Any]]] = {}

    def choices(self) -> list[tuple[str, str]]:
        """Returns what can be chosen without writing a path: (what it says, what it is)."""
        found = [(label, name) for name, label in JOBS.items()]
        for name, path in available().items():
            found.append((f"{name} ({'ships' if ships(path) else display_path(path.parent)})", name))
        for path in list(_files(self._roots, EXTENSIONS))[:_LISTED]:
            shown = self._roots.shown(path)
            found.append((display_path(shown), shown))
        return found

    def path(self, name: str) -> Path:
        """Returns the file of a model: by its name, its place, or the run that it is of.

        Raises:
            UsageError: The place lies outside of the roots, or nothing was chosen.
            UnknownModelError: There is no such model.
        """
        if not isinstance(name, str) or not name.strip():
            raise UsageError("Choose a model.")
        if (named := available().get(name)) is not None:
            return named
        path = self._roots.inside(name, "a model")
        if path.is_dir():
            path = next(
                (file for kind in _OF_A_RUN if (file := path / f"{kind}.safetensors").is_file()), path
            )
        if not path.exists() and is_name(name):
            raise UsageError(f"{unknown('model', display_path(name), (*JOBS, *available()))} Or name a file.")
        beside = path.with_suffix(".bin")  # of an ncnn network, which is two files
        for file in (path, beside) if path.suffix == ".param" else (path,):
            self._roots.inside(str(file), "a model")
        return find_model(path)

    def offer(self, name: str) -> Offer:
        """Returns what can be set for what was chosen.

        Raises:
            UsageError, ModelError: It cannot be opened.
        """
        if name == UPSCALE:
            return Offer(
                "The model that ships for the factor makes photographs larger.", scale=4.0, strength=True
            )
        if name == RESTORE:
            kept = "What shows neither compression nor noise stays as it is."
            return Offer(f"Noise and JPEG artefacts go. {kept}", strength=True)
        if name in _CLASSIC:
            return Offer("For small holes. Paint what is to be filled.", holes=True)
        path = self.path(name)
        return _offer(path, path.stat().st_mtime_ns, path.stat().st_size)

    def open(self, settings: Settings) -> tuple[Processor, dict[str, Any]]:
        """Returns what does the work, and what identifies it and all that changes its results.

        Those that were used last are kept open.

        Raises:
            UsageError, ModelError: It cannot be opened, or does not know what is to be set.
        """
        if not 0 <= settings.seed <= _LARGEST_SEED:
            raise UsageError(f"The seed is a number from 0 to {_LARGEST_SEED}.")
        if settings.factor is not None and not 0 < settings.factor <= MOST:
            raise UsageError(f"The factor is greater than 0 and at most {MOST:g}.")
        key: tuple[Any, ...] = (settings,)
        files = [] if settings.model in JOBS else [self.path(settings.model)]
        files += [] if settings.style_picture is None else [settings.style_picture]
        key += tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in files)
        if key not in self._known:
            while len(self._known) > 1:
                del self._known[next(iter(self._known))]
            self._known[key] = self._opened(settings)
        return self._known[key]

    def _opened(self, settings: Settings) -> tuple[Processor, dict[str, Any]]:
        name, offer = settings.model, self.offer(settings.model)
        _require_offered(settings, offer)
        shared: dict[str, Any] = {"strength": settings.strength, "color_fix": None}
        if offer.holes:
            told = {"holes": "mask", "invert": settings.invert}
            if name in _CLASSIC:
                classic = Inpainter(Classic(name), "mask", settings.invert)  # type: ignore[arg-type]
                return classic, {**told, "inpaint": name}
            filler, own = network_inpainter(self.path(name), "mask", settings.invert, self._device)
            return filler, {**told, **own}
        if name == RESTORE:
            return restoring(self._load, restorers(None), every=False, **shared)
        if offer.scale is not None:
            factor = settings.factor
            if name == UPSCALE:
                factor = factor or offer.scale
                path = upscaler(factor)[1]
            else:
                path = self.path(name)
            translator, own = self._load(path, scale=factor, **shared)
            return translator, own | {"scale": float(translator.scale)}
        path = self.path(name)
        if offer.restores:
            return restoring(self._load, restorers(CLEAN, path), every=True, **shared)
        if offer.paints or settings.strength != 1:
            return self._painting(path, offer, settings)
        return self._translating(path, offer, settings)

    def _painting(self, path: Path, offer: Offer, settings: Settings) -> tuple[Processor, dict[str, Any]]:
        more: dict[str, Any] = {"size": None, "fit": "keep"}
        share = settings.strength
        if offer.paints:
            if settings.style_picture is None:
                raise UsageError("The model paints in the style of a picture: give one.")
            picture = read_image(settings.style_picture, self._limits)
            named = picture.replace(name=settings.style_picture.name)
            more["style"], share = Styles([named], [1.0], SIDE, share), 1.0
        translator, own = self._load(path, **more)
        own.pop("style", None)  # its moments are among the weights, which the fingerprint is of
        return Stylizer(translator, share), own | {"strength": settings.strength, "keep_colours": False}

    def _translating(self, path: Path, offer: Offer, settings: Settings) -> tuple[Processor, dict[str, Any]]:
        more: dict[str, Any] = {"size": None, "norm_stats": None, "dropout": None}
        if settings.style:
            more["style"] = settings.style
        if settings.seed:
            more["noise"] = settings.seed
        translator, own = self._load(path, **more)
        changes = dict.fromkeys(settings.on, 1.0)
        if both := sorted(changes.keys() & set(settings.off)):
            raise UsageError(f"{', '.join(both)} cannot be both set and cleared.")
        changes |= dict.fromkeys(settings.off, 0.0)
        if not changes and not settings.every:
            if offer.attributes:
                raise UsageError(f"Set or clear an attribute: {', '.join(offer.attributes)}.")
            return translator, own
        editor = AttributeEditor(translator, changes, known=False, every=settings.every)
        return editor, own | {"attributes": changes, "every": settings.every}

    def _load(self, path: Path, **more: Any) -> tuple[Translator, dict[str, Any]]:
        translator = load_model(path, self._device, **more)
        return translator, identity(translator, more)


def _require_offered(settings: Settings, offer: Offer) -> None:
    """Makes sure that nothing was set that changes nothing; a factor may stay where it was."""
    given = {
        "strength": (settings.strength != 1, offer.strength),
        "attributes": (bool(settings.on or settings.off or settings.every), bool(offer.attributes)),
        "style": (settings.style != 0, offer.styles > 0),
        "seed": (settings.seed != 0, offer.noise),
        "style of a picture": (settings.style_picture is not None, offer.paints),
    }
    for name, (is_set, can_be) in given.items():
        if is_set and not can_be:
            raise UsageError(f"What was chosen has no {name} to set; leave it out.")


@lru_cache(64)
def _offer(path: Path, changed: int, size: int) -> Offer:
    generator, info = open_checkpoint(path)
    conditions: Fields = Translator(generator, info, "cpu").conditions
    named = {name: f for name, f in conditions.items() if isinstance(f, Vector) and f.names}
    attributes = next(iter(named.values())).names if named else ()
    colours = (generator.scale, generator.in_channels, generator.out_channels) == (1, 3, 3)
    mixes = info.output == "own" and colours and not (conditions or info.palette or info.nearest)
    like = info.output == "like_input" and generator.in_channels == generator.out_channels
    holes = fills_holes(generator)
    needs = tuple((n, f) for n, f in conditions.items() if n not in named and not holes)
    return Offer(
        _note(generator, info, needs),
        scale=float(generator.scale) if generator.scale != 1 else None,
        strength=mixes or (like and not holes),
        restores=like and generator.scale == 1 and not conditions,
        holes=holes,
        attributes=attributes,
        styles=style_count(generator),
        noise=set_noise(generator, 0) > 0,
        needs=needs,
        labels=info.output == "labels",
        paints=isinstance(generator, AdaIN),
    )


def _note(generator: Generator, info: ModelInfo, needs: tuple[tuple[str, Field], ...]) -> str:
    count = sum(p.numel() for p in generator.parameters())
    parts = [generator.spec.name + (f", {count:,} parameters" if count else "")]
    if generator.scale != 1:
        parts.append(f"enlarges by {generator.scale}")
    elif info.output == "labels":
        parts.append("makes label maps")
    elif info.output == "own":
        parts.append("makes other pictures of its inputs")
    if info.size is not None:
        parts.append(f"trained at {info.size[1]} x {info.size[0]} pixels")
    if layout := info.origin.get("layout"):
        parts.append(layout)
    if needs:
        parts.append("needs " + " and ".join(f"{name} ({in_words(field)})" for name, field in needs))
    return f"{'; '.join(parts)}."


def _files(roots: Roots, extensions: tuple[str, ...]) -> Iterator[Path]:
    """Yields files with these extensions, those of runs among them, as far as it is looked for them."""
    for folder, names in walk(roots):
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in extensions:  # noqa: PTH122
                path = folder / name
                if roots.holds(path):
                    yield path


def walk(roots: Roots) -> Iterator[tuple[Path, list[str]]]:
    """Yields folders with the names of their files; no hidden ones, none through links, and not too deep."""
    seen = 0
    for root in roots.folders:
        for place, folders, files in os.walk(root):
            seen += 1
            if seen > _FOLDERS:
                return
            folder = Path(place)
            deep = len(folder.relative_to(root).parts) >= _DEPTH
            folders[:] = [] if deep else sorted(each for each in folders if not each.startswith("."))
            yield folder, files
