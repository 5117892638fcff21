"""Where the numbers and pictures of a run go besides its folder: TensorBoard, trackio, Weights & Biases."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol

from img2img.errors import ConfigError
from img2img.image import Image

TrackerName = Literal["none", "trackio", "wandb"]
_PROJECT = "img2img"
_PROJECT_VARIABLES = {"trackio": "TRACKIO_PROJECT", "wandb": "WANDB_PROJECT"}


class Board(Protocol):
    """Something that shows numbers by their steps."""

    def numbers(self, kind: str, values: Mapping[str, Any], step: int) -> None:
        """Takes the numbers of a line of metrics.jsonl."""

    def picture(self, grid: Image, step: int) -> None:
        """Takes a grid of pictures."""

    def close(self) -> None:
        """Called at the end of the run."""


class TensorBoard:
    """Writes RUN/tensorboard.

    Args:
        writer: torch's.
    """

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def numbers(self, kind: str, values: Mapping[str, Any], step: int) -> None:
        """See `Board`."""
        for name, value in flat(values):
            self._writer.add_scalar(f"{kind}/{name}", value, step)

    def picture(self, grid: Image, step: int) -> None:
        """See `Board`."""
        self._writer.add_image("samples", grid.pixels, step, dataformats="HWC")

    def close(self) -> None:
        """See `Board`."""
        self._writer.close()


def tensorboard(folder: Path, step: int) -> TensorBoard | None:
    """Returns TensorBoard for a run that continues at `step`; None where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return TensorBoard(SummaryWriter(str(folder / "tensorboard"), purge_step=step or None))


class Tracker:
    """trackio or Weights & Biases: both have `init`, `log`, `Image` and `finish`.

    A tracker that fails, as one without a network does, is told of once and then left alone; the run goes on.

    Args:
        name: The package.
        folder: Of the run; its name is that of the run there, so that one that continues goes on there, too.
        config: The configuration, as plain values.
        warn: Is told of a failure.
    """

    def __init__(
        self, name: str, folder: Path, config: Mapping[str, Any], warn: Callable[[str], None]
    ) -> None:
        self._name, self._warn = name, warn
        self._module: Any = import_module(name)
        folder = folder.resolve()
        options: dict[str, Any] = {"name": folder.name, "config": dict(config), "resume": "allow"}
        if name == "wandb":
            options |= {"id": _identity(folder), "dir": str(folder)}
        project = os.environ.get(_PROJECT_VARIABLES[name], _PROJECT)
        self._works = True
        self._try(lambda: self._module.init(project=project, **options))

    def numbers(self, kind: str, values: Mapping[str, Any], step: int) -> None:
        """See `Board`."""
        found = {f"{kind}/{name}": value for name, value in flat(values)}
        self._try(lambda: self._module.log(found, step=step))

    def picture(self, grid: Image, step: int) -> None:
        """See `Board`."""
        self._try(lambda: self._module.log({"samples": self._module.Image(grid.pixels)}, step=step))

    def close(self) -> None:
        """See `Board`."""
        self._try(self._module.finish)

    def _try(self, act: Callable[[], Any]) -> None:
        if not self._works:
            return
        try:
            with redirect_stdout(sys.stderr):  # where a command prints its summary
                act()
        except Exception as error:  # noqa: BLE001  # whatever others raise, days of training are worth more
            self._works = False
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            self._warn(f"{self._name} takes no more of the run's numbers ({reason}); metrics.jsonl has all.")


def require_tracker(name: TrackerName) -> None:
    """Makes sure that a tracker is there before a run begins.

    Raises:
        ConfigError: It is not installed, or not whole.
    """
    if name == "none":
        return
    try:
        import_module(name)
    except ImportError as error:
        whole = isinstance(error, ModuleNotFoundError) and error.name == name
        raise ConfigError(
            f"training.tracker: {name} {'is not installed' if whole else f'cannot be imported ({error})'}; "
            f"`pip install 'img2img[{name}]'` brings it, and `tracker=none` does without."
        ) from error


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yields the numbers among `values` with their names, those of mappings below as "losses/g_l1"."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            yield f"{prefix}{name}", float(value)


def _identity(folder: Path) -> str:
    """Returns what W&B knows the run in `folder` by: letters, digits, - and _."""
    import hashlib

    name = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in folder.name)[:40]
    return f"{name}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:10]}"
