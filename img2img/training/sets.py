"""Numbers of sets on held-out pictures: FID and its kin, of what a network makes against true pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from img2img.errors import ConfigError
from img2img.metrics.features import Extractor, PictureFeatures, open_extractor, require_network
from img2img.metrics.sets import KNOWN, LEAST, FeatureStatistics, called, set_scores
from img2img.types import ValueRange

FEW = 50  # pictures: among fewer, chance decides which of two models has the better number
_BATCH = 16


class SetScores:
    """Takes pictures one by one, and makes numbers of them; the true ones are looked at once.

    Args:
        names: Of numbers, as in `img2img.metrics.sets.KNOWN`.
        weights: A file with the weights of the network; None takes the usual ones, by their checksum.
        allow_download: Whether those may be downloaded when the networks are opened.

    Attributes:
        columns: What each of `names` is called: of weights that are not the usual ones their first digits are
            in it.

    Raises:
        ConfigError: A package or the weights are not at hand, or one file is named for several networks.
    """

    def __init__(
        self, names: Sequence[str], weights: Path | None = None, allow_download: bool = False
    ) -> None:
        self.weights, self.allow_download = weights, allow_download
        self._wanted: dict[str, list[str]] = {}
        for name in names:
            number, network = KNOWN[name]
            self._wanted.setdefault(network, []).append(number)
        if weights is not None and len(self._wanted) > 1:
            raise ConfigError(
                f"training.feature_weights is a file for one network, and {' and '.join(names)} are of "
                f"{' and '.join(self._wanted)}."
            )
        found = {network: require_network(network, weights, allow_download) for network in self._wanted}
        self.columns = {name: called(KNOWN[name][0], found[KNOWN[name][1]]) for name in names}
        self._networks: dict[str, Extractor] = {}
        self._true: list[tuple[FeatureStatistics, PictureFeatures]] = []
        self._seen: list[_Seen] = []

    def open(self) -> None:
        """Opens the networks.

        Raises:
            ConfigError, ModelError: A file does not hold the weights.
            DownloadError: The download failed.
        """
        for network in self._wanted:
            self._networks[network] = open_extractor(network, self.weights, self.allow_download)

    def require(self, example: Tensor, value_range: ValueRange, made: int, true: int) -> str | None:
        """Returns a sentence where there are too few pictures to mean much; None otherwise.

        Args:
            example: A true picture (1, C, H, W), in `value_range`.
            value_range: Black and white.
            made, true: How many pictures there will be.

        Raises:
            ConfigError: The networks cannot look at it, or there are too few pictures for a number.
        """
        for network in self._networks.values():
            try:
                network(example.clamp(*value_range), value_range)
            except ValueError as error:
                raise ConfigError(f"{', '.join(self.columns)} cannot be measured: {error}.") from error
        fewest = min(made, true)
        for name in self.columns:
            if fewest < (least := LEAST[KNOWN[name][0]]):
                raise ConfigError(
                    f"{name} needs {least} pictures on each side, and the held-out part has {made} to make "
                    f"others of and {true} true ones. Hold out more of them: data.validation names a folder, "
                    "`data.validation_fraction=0.2` takes a share."
                )
        if fewest >= FEW:
            return None
        return (
            f"{', '.join(self.columns)} will be of {made} pictures that were made and {true} true ones. Of "
            f"fewer than {FEW}, chance decides which of two models is the better one: hold out more of them "
            "(data.validation, data.validation_fraction)."
        )

    def begin(self) -> None:
        """Forgets the pictures that were made before."""
        self._seen = [_Seen(list(self._networks.values())) for _ in range(1 if self._true else 2)]

    def add_made(self, picture: Tensor, value_range: ValueRange) -> None:
        """Takes a picture (1, C, H, W) that was made, in `value_range`."""
        self._seen[0].add(picture, value_range)

    def add_true(self, picture: Tensor, value_range: ValueRange) -> None:
        """Takes a true picture (1, C, H, W), in `value_range`; after the first time they are known."""
        if len(self._seen) > 1:
            self._seen[1].add(picture, value_range)

    def scores(self) -> tuple[dict[str, float], dict[str, str]]:
        """Returns the numbers by their columns, and why there are none, in sentences."""
        found: dict[str, float] = {}
        reasons: dict[str, str] = {}
        try:
            made, *others = [seen.features() for seen in self._seen]
        except ValueError as error:  # a picture is too small for a network, say
            return {}, dict.fromkeys(self.columns.values(), str(error))
        if others:
            (true,) = others
            try:
                self._true = [(FeatureStatistics.of(each.vectors), each) for each in true]
            except ValueError as error:
                return {}, dict.fromkeys(self.columns.values(), str(error))
        for (network, numbers), (kept, real), fake in zip(
            self._wanted.items(), self._true, made, strict=True
        ):
            name = self._networks[network].name
            for number in numbers:
                try:
                    found |= set_scores([number], name, kept, real, fake)[0]
                except ValueError as error:
                    reasons[called(number, name)] = str(error)
        self._seen = []
        return found, reasons

    def origins(self) -> dict[str, dict[str, Any]]:
        """Returns what is stored with the numbers: the networks with their weights, by columns."""
        return {
            self.columns[name]: self._networks[KNOWN[name][1]].origin
            for name in self.columns
            if KNOWN[name][1] in self._networks
        }


class _Seen:
    """Features of pictures that come one by one; neighbours of one shape are looked at together."""

    def __init__(self, networks: Sequence[Extractor]) -> None:
        self._networks = networks
        self._parts: list[list[PictureFeatures]] = [[] for _ in networks]
        self._waiting: list[Tensor] = []
        self._trouble: ValueError | None = None
        self._range = ValueRange(0, 1)

    def add(self, picture: Tensor, value_range: ValueRange) -> None:
        if self._waiting and (
            len(self._waiting) == _BATCH
            or self._waiting[0].shape != picture.shape
            or self._range != value_range
        ):
            self._look()
        self._waiting.append(picture)
        self._range = value_range

    def features(self) -> list[PictureFeatures]:
        """Returns them by network, each of shape (N, ...).

        Raises:
            ValueError: A network could not look at one of the pictures.
        """
        if self._waiting:
            self._look()
        if self._trouble is not None:
            raise self._trouble
        empty = PictureFeatures(torch.zeros(0, 1), torch.zeros(0, 0))
        return [
            PictureFeatures(*(torch.cat([part[place] for part in parts or [empty]]) for place in range(2)))
            for parts in self._parts
        ]

    def _look(self) -> None:
        pictures = torch.cat(self._waiting)
        self._waiting = []
        for network, parts in zip(self._networks, self._parts, strict=True):
            try:
                parts.append(network(pictures, self._range))
            except ValueError as error:  # said at the end: the other scores go on
                self._trouble = error
