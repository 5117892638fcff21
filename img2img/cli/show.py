"""How a training looks while it runs."""

from __future__ import annotations

import math
import time

from rich.live import Live
from rich.text import Text

from img2img.cli.render import duration, say, say_warning, stderr
from img2img.training import TrainingStatus, Watch

_PLAIN_EVERY = 30.0  # seconds; on no terminal a line comes at least so often


class Show(Watch):
    """Shows a run: one line that is rewritten on a terminal, elsewhere a line now and then."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._live: Live | None = None
        self._losses = ""
        self._first: int | None = None
        self._started = self._shown = time.monotonic()

    def __enter__(self) -> Show:
        if stderr().is_terminal and not self._quiet:
            self._live = Live(console=stderr(), transient=True, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def step(self, step: int, total: int) -> None:
        """Moves the line on the terminal; elsewhere says now and then that it goes on."""
        now = time.monotonic()
        if self._first is None:
            self._first, self._started = step, now
        if now - self._shown < (0.2 if self._live is not None else _PLAIN_EVERY):
            return
        done, seconds = step - self._first, now - self._started
        self._line(step, total, "", done / seconds if done else math.nan)

    def status(self, status: TrainingStatus) -> None:
        """Shows the losses, too."""
        self._losses = "  ".join(
            f"{name} {value:.4g}" for name, value in status.losses.items() if not name.startswith("norm_")
        )
        epoch = f"epoch {status.epoch + 1}  "
        self._line(status.step, status.total, epoch, status.steps_per_second, status.seconds_left)

    def say(self, text: str) -> None:
        """One line."""
        if not self._quiet:
            say(text)

    def warn(self, text: str) -> None:
        """One yellow line."""
        say_warning(text)

    def _line(self, step: int, total: int, epoch: str, speed: float, left: float | None = None) -> None:
        self._shown = time.monotonic()
        if self._quiet:
            return
        parts = [f"{epoch}step {step} of {total}", self._losses]
        if math.isfinite(speed):
            pace = f"{speed:.2f} it/s" if speed >= 0.1 else f"{1 / speed:.1f} s/it"
            left = (total - step) / speed if left is None else left
            parts.append(f"{pace}, {duration(left)} left")
        text = "  ".join(filter(None, parts))
        if self._live is not None:
            self._live.update(Text(text, overflow="ellipsis", no_wrap=True), refresh=True)
        else:
            say(text)
