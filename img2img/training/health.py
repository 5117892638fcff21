"""The usual deaths of a run, noticed early and said once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping

from torch import Tensor

from img2img.methods import Picture

WINDOW = 20  # statuses; a short run of luck is no collapse
_SATURATED = 0.02  # of the loss of a discriminator that cannot tell
_FLAT = 0.01  # standard deviation over a picture, of the whole range
_INVERTED = -0.3  # correlation


class Health:
    """Watches the losses and the pictures, and has a sentence for each of the usual troubles, once each."""

    def __init__(self) -> None:
        self._discriminator: deque[float] = deque(maxlen=WINDOW)
        self._first: float | None = None
        self._said: set[str] = set()

    def losses(self, means: Mapping[str, float]) -> Iterator[str]:
        """Yields what the losses of a status give reason to say."""
        parts = [
            value
            for name, value in means.items()
            if name.split("_")[-1] in ("real", "fake") and name[0] == "d"
        ]
        if not parts:
            return
        total = sum(parts)
        self._first = total if self._first is None else max(self._first, total)
        self._discriminator.append(total)
        full = len(self._discriminator) == WINDOW
        if full and 0 <= max(self._discriminator) < _SATURATED * self._first:
            yield from self._once(
                "saturated",
                "the discriminator has won: its loss has been near zero for a long time, and the generator "
                "learns nothing from it. Try method.real_label 0.9, a smaller learning_rates.discriminator, "
                "fewer discriminator layers, or more data.",
            )

    def pictures(self, pictures: Mapping[str, Picture], unpaired: bool) -> Iterator[str]:
        """Yields what a grid of pictures gives reason to say.

        Args:
            pictures: The columns, as `Method.pictures` returns them.
            unpaired: Whether outputs have no truth to be compared with, only their source.
        """
        for name, picture in pictures.items():
            if name in ("source", "target", "A", "B"):
                continue
            values = picture.values.float()
            spread = values.flatten(1).std(1) / (picture.value_range.high - picture.value_range.low)
            if bool((spread < _FLAT).all()):
                yield from self._once(
                    f"flat {name}",
                    f"the {name} is one flat colour for every sample. Lower the learning rate, check "
                    "`img2img data preview`, or start again with another seed.",
                )
            elif len(values) > 1 and float((values - values.mean(0)).abs().mean()) < _FLAT / 10:
                yield from self._once(
                    f"same {name}",
                    f"the {name} is the same picture for every sample: the generator ignores its input "
                    "(mode collapse). Try a smaller learning rate, more data, or a larger weight of the "
                    "pixel or cycle loss.",
                )
        output, truth = pictures.get("output"), pictures.get("target")
        if unpaired or output is None or truth is None:
            return
        if correlation(output.values.float(), truth.values.float()) < _INVERTED:
            yield from self._once(
                "inverted",
                "outputs are negatives of their targets: colours are inverted. Check data.direction and "
                "the data with `img2img data preview`; if they are right, start again with another seed.",
            )

    def _once(self, key: str, text: str) -> Iterator[str]:
        if key not in self._said:
            self._said.add(key)
            yield text


def correlation(a: Tensor, b: Tensor) -> float:
    """Returns the mean over the samples of the correlation between two batches (N, C, H, W)."""
    if a.shape != b.shape:
        return 0.0
    a, b = (x.flatten(1) - x.flatten(1).mean(1, keepdim=True) for x in (a, b))
    scale = a.norm(dim=1) * b.norm(dim=1)
    return float(((a * b).sum(1) / scale.clamp(min=1e-12)).mean())
