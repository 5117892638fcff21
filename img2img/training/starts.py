"""What a run takes for which no configuration file was written."""

from __future__ import annotations

from typing import Any

_TRANSLATION: dict[str, Any] = {"epochs": 200, "batch_size": 1, "schedule": {"kind": "linear"}}
# A network of 0.7 M parameters that a laptop trains in some hours; it beats bicubic long before.
_UPSCALING: dict[str, Any] = {
    "steps": 20_000,
    "batch_size": 16,
    "optimizer": "muon",
    "learning_rate": 1e-3,
    "betas": [0.9, 0.99],
    "schedule": {"kind": "cosine", "warmup": 100},
    "ema": 0.999,
    "grid_samples": 3,
}
_PIX2PIX: dict[str, Any] = {"method": {"name": "pix2pix"}, "training": _TRANSLATION}

STARTS: dict[str, dict[str, Any]] = {
    "paired": _PIX2PIX,
    "aligned": _PIX2PIX,
    "list": _PIX2PIX,
    "unpaired": {"method": {"name": "cyclegan"}, "training": _TRANSLATION},
    "images": {
        "method": {
            "name": "super_resolution",
            "generator": {"name": "edsr", "features": 64, "blocks": 8, "symmetric": True},
        },
        "data": {"crop_size": 96, "patches_per_image": 64},  # every scale divides 96
        "training": _UPSCALING,
    },
}
"""Sections of a configuration by the key of `data` that names the pictures."""

PLACES: dict[str, dict[str, Any]] = {
    "pix2pix": {"paired": ["sources", "targets"]},
    "cyclegan": {"unpaired": ["a", "b"]},
    "super_resolution": {"images": "photos"},
}
"""For each method where its pictures might be, in a configuration that somebody is going to fill in."""

_FINE = 5  # weights that are good already are lost at the rate that finds them
_RATE = 2e-4  # where a start says nothing, see TrainingSettings


def fine_tuning(start: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """Returns `start` for a run that begins with the weights of another, and its learning rate."""
    rate = start["training"].get("learning_rate", _RATE) / _FINE
    return {**start, "training": {**start["training"], "learning_rate": rate}}, rate
