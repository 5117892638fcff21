"""Metrics beside those of a protocol: whether they can be had, and what is stored with their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from img2img.errors import ConfigError, DownloadError
from img2img.metrics import WeightsMissingError, metric_of, metrics
from img2img.metrics.sets import require_pairs


def usable(names: Sequence[str], allow_download: bool = False) -> tuple[tuple[str, ...], list[str]]:
    """Returns the metrics that can be had, and why others are left out, in sentences.

    Args:
        names: Of metrics.
        allow_download: Whether weights may be downloaded.

    Raises:
        ConfigError: There is no such metric.
    """
    ready: list[str] = []
    reasons: list[str] = []
    for name in names:
        require_pairs(name)
        metric = metrics[name]
        try:
            metric.prepare(allow_download)
            ready.append(name)
        except (WeightsMissingError, DownloadError) as error:
            reasons.append(f"{name} is left out: {error}")
    return tuple(ready), reasons


def origins(columns: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Returns what is stored with the numbers of columns: who computed them, with which weights."""
    found: dict[str, dict[str, Any]] = {}
    for column in columns:
        try:
            metric = metric_of(column)
        except ConfigError:  # the scores of label maps
            continue
        found[column] = {**metric.origin(), "higher_is_better": metric.higher_is_better}
    return found
