"""img2img: convert, train and measure image-to-image models over folders of images.

The names below load on first use, so that `import img2img` stays instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from img2img.batch import convert_folder as convert_folder
    from img2img.evaluation import evaluate as evaluate
    from img2img.inference import Translator as Translator
    from img2img.inference import load_model as load_model
    from img2img.training import TrainingStatus as TrainingStatus
    from img2img.training import TrainingSummary as TrainingSummary
    from img2img.training import Watch as Watch
    from img2img.training import read_experiment as read_experiment
    from img2img.training import train as train

__version__ = "0.1.0"
__all__ = [
    "TrainingStatus",
    "TrainingSummary",
    "Translator",
    "Watch",
    "__version__",
    "convert_folder",
    "evaluate",
    "load_model",
    "read_experiment",
    "train",
]

_HOMES = {
    "TrainingStatus": "img2img.training",
    "TrainingSummary": "img2img.training",
    "Translator": "img2img.inference",
    "Watch": "img2img.training",
    "convert_folder": "img2img.batch",
    "evaluate": "img2img.evaluation",
    "load_model": "img2img.inference",
    "read_experiment": "img2img.training",
    "train": "img2img.training",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
