"""Random changes from a configuration, by albumentations: the only place that imports it.

It is imported when a configuration asks for it. The crop and the flip of the papers are not done here.
"""

from __future__ import annotations

import inspect
import os
import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np

from img2img.errors import ConfigError
from img2img.fields import Fields
from img2img.image.image import Pixels, white_of
from img2img.registry import unknown

Operations = Sequence[Mapping[str, Mapping[str, Any] | None]]
Purpose = Literal["geometric", "photometric"]


class Augmenter:
    """What happens to pictures at random before they are cut.

    Pictures of 16 bits pass through as floats from 0 to 1 and are rounded back, so their depth is kept.

    Args:
        geometric: Transforms that move pixels: `[{"Rotate": {"limit": 10}}]`.
        photometric: Transforms that change values.
        labels: The fields that are label maps, which are resampled with nearest neighbour.
        sharp: Transforms of either kind, for pictures of which the source is made afterwards.
        alpha: Whether the last channel of sources is alpha, which is no value to change.

    Raises:
        ConfigError: See `check`.
    """

    def __init__(
        self,
        geometric: Operations = (),
        photometric: Operations = (),
        labels: Collection[str] = (),
        sharp: Operations = (),
        alpha: bool = False,
    ) -> None:
        self.geometric, self.photometric, self.sharp = geometric, photometric, sharp
        self.labels, self.alpha = frozenset(labels), alpha
        self._pipelines: dict[Any, Any] = {}
        if self.active or sharp:
            check(geometric, photometric, sharp)

    def __getstate__(self) -> dict[str, Any]:
        kept = ("geometric", "photometric", "labels", "sharp", "alpha")
        # pipelines are built where they are used
        return {name: self.__dict__[name] for name in kept} | {"_pipelines": {}}

    @property
    def active(self) -> bool:
        """Whether there is anything to do with sources."""
        return bool(self.geometric or self.photometric)

    def group(
        self, arrays: Mapping[str, Pixels], fields: Fields, stream: np.random.Generator
    ) -> dict[str, Pixels]:
        """Returns fields of one sample moved alike, and the first one, if it is a picture, with other values.

        Args:
            arrays: (H, W, C) of one height and width, by field.
            fields: Their kinds; what is exact is resampled with nearest neighbour.
            stream: Where all randomness comes from.

        Raises:
            ConfigError: A transform does not work on these pictures.
        """
        done = dict(arrays)
        exact = {name for name in arrays if name in self.labels or fields[name].exact}
        if self.geometric:
            done = self._moved(done, exact, stream)
        first = next(iter(arrays))
        if not fields[first].exact:
            done[first] = self.values(done[first], stream)
        return done

    def _moved(
        self, arrays: Mapping[str, Pixels], exact: set[str], stream: np.random.Generator
    ) -> dict[str, Pixels]:
        """Returns arrays after the geometric transforms."""
        mixed = [name for name in arrays if name not in exact]
        # albumentations takes one picture as "image" and wants a name of their own for the others
        names = dict(zip(mixed, ["image", *(f"image {name}" for name in mixed[1:])], strict=False))
        names |= {name: f"mask {name}" for name in exact}
        inputs = {names[name]: pixels for name, pixels in arrays.items()}
        if not mixed:
            inputs["image"] = np.zeros_like(next(iter(arrays.values())), np.uint8)
        kinds = {own: own.split(" ")[0] for own in inputs if own != "image"}
        key = tuple(sorted(kinds.items()))
        if key not in self._pipelines:
            self._pipelines[key] = _albumentations().Compose(
                [_build(operation) for operation in self.geometric], additional_targets=kinds
            )
        moved = self._run(self._pipelines[key], inputs, stream)
        return {name: moved[names[name]] for name in arrays}

    def values(self, pixels: Pixels, stream: np.random.Generator) -> Pixels:
        """Returns one picture with other values.

        Raises:
            ConfigError: A transform does not work on it.
        """
        if not self.photometric:
            return pixels
        with_alpha = self.alpha and pixels.shape[2] in (2, 4)  # the other domain may have none
        colours, kept = np.split(pixels, [-1], 2) if with_alpha else (pixels, pixels[..., :0])
        changed = self._run(self._alone, {"image": colours}, stream)["image"]
        return np.concatenate((changed, kept), 2)

    def original(self, pixels: Pixels, stream: np.random.Generator) -> Pixels:
        """Returns a picture from which the source is still to be made, changed by `sharp`.

        Raises:
            ConfigError: A transform does not work on it.
        """
        return self._run(self._before, {"image": pixels}, stream)["image"] if self.sharp else pixels

    @cached_property
    def _before(self) -> Any:
        return _albumentations().Compose([_build(operation) for operation in self.sharp])

    @cached_property
    def _alone(self) -> Any:
        return _albumentations().Compose([_build(operation) for operation in self.photometric])

    def _run(
        self, pipeline: Any, pictures: dict[str, Pixels], stream: np.random.Generator
    ) -> dict[str, Pixels]:
        """Returns what `pipeline` makes of `pictures`, each in the depth that it had."""
        # One stream for the whole pipeline: set_random_seed would give every transform the same numbers.
        pipeline.set_random_state(stream, random.Random(int(stream.integers(2**63))))
        inputs = {name: np.array(_eased(pixels)) for name, pixels in pictures.items()}
        try:
            results = pipeline(**inputs)
        except Exception as error:  # a transform may raise anything
            shapes = " and ".join(f"{p.shape} {p.dtype}" for p in pictures.values())
            raise ConfigError(f"augment: a transform fails on pictures {shapes}: {_line(error)}") from error
        return {name: _restored(results[name], pixels) for name, pixels in pictures.items()}


def check(geometric: Operations, photometric: Operations, sharp: Operations = ()) -> None:
    """Builds every transform once, to find what is wrong with it.

    Raises:
        ConfigError: A transform does not exist, stands in the wrong list, or has a wrong parameter; every
            problem is named.
    """
    problems = []
    lists: tuple[tuple[str, Operations, Purpose | None], ...] = (
        ("geometric", geometric, "geometric"),
        ("photometric", photometric, "photometric"),
        ("sharp", sharp, None),  # takes both
    )
    for name, operations, purpose in lists:
        for operation in operations:
            try:
                transform = _build(operation)
                if purpose is not None:
                    _require_purpose(transform, purpose)
            except ConfigError as error:
                problems.append(f"augment.{name}: {error}")
    if problems:
        raise ConfigError("\n".join(problems))


def _albumentations() -> Any:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # otherwise the import asks the network for news
    import albumentations

    return albumentations


def _build(operation: Mapping[str, Any]) -> Any:
    """Returns the transform that `{name: {parameter: value}}` stands for."""
    if not isinstance(operation, Mapping) or len(operation) != 1:
        raise ConfigError(f"each entry is one transform, {{Name: {{parameter: value}}}}, not {operation!r}.")
    ((name, given),) = operation.items()
    library = _albumentations()
    known = {
        entry: kind
        for entry, kind in vars(library).items()
        if inspect.isclass(kind)
        and issubclass(kind, library.BasicTransform | library.BaseCompose)
        and not inspect.isabstract(kind)
    }
    if name not in known:
        raise ConfigError(unknown("transform", str(name), known))
    if given is not None and not isinstance(given, Mapping):
        raise ConfigError(f"{name} takes {{parameter: value}}, not {given!r}.")
    parameters = dict(given or {})
    allowed = set(inspect.signature(known[name].__init__).parameters) - {"self", "args", "kwargs"}
    for parameter in parameters:
        if parameter not in allowed:
            raise ConfigError(unknown(f"parameter of {name}", str(parameter), allowed))
    if issubclass(known[name], library.BaseCompose):
        inner = parameters.get("transforms")
        if not isinstance(inner, Sequence) or isinstance(inner, str) or not inner:
            raise ConfigError(f"{name} needs transforms: [{{Name: {{...}}}}, ...].")
        parameters["transforms"] = [_build(one) for one in inner]
    else:
        parameters = {key: tuple(v) if isinstance(v, list) else v for key, v in parameters.items()}
    try:
        return known[name](**parameters)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{name}: {_line(error)}") from error


def _require_purpose(transform: Any, purpose: Purpose) -> None:
    """Checks that a transform stands in the right list."""
    library = _albumentations()
    for one in _leaves(transform):
        moves = isinstance(one, library.DualTransform)
        if moves != (purpose == "geometric"):
            kind, place = ("moves pixels", "geometric") if moves else ("changes values", "photometric")
            raise ConfigError(f"{type(one).__name__} {kind}; it belongs into augment.{place}.")


def _leaves(transform: Any) -> Iterator[Any]:
    inner = getattr(transform, "transforms", None)
    if inner is None:
        yield transform
    else:
        for one in inner:
            yield from _leaves(one)


def _eased(pixels: Pixels) -> Pixels:
    """Returns `pixels` in a depth that albumentations takes."""
    if pixels.dtype != np.uint16:
        return pixels
    return pixels.astype(np.float32) / np.float32(white_of(pixels.dtype))


def _restored(result: Pixels, before: Pixels) -> Pixels:
    """Returns `result` as (H, W, C) in the depth of `before`."""
    if result.ndim == 2:
        result = result[..., None]
    if before.dtype != result.dtype and before.dtype != np.float32:
        result = np.rint(result.clip(0, 1) * white_of(before.dtype))
    return np.ascontiguousarray(result.astype(before.dtype, copy=False))


def _line(error: Exception) -> str:
    """Returns the text of an error of the library in one line."""
    lines = [
        line.strip() for line in str(error).splitlines() if line.strip() and "errors.pydantic" not in line
    ]
    return "; ".join(lines) or type(error).__name__
