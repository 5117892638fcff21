"""A further picture comes to the network in use just as it came in training, whatever its files are like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from torch import Tensor, nn

from img2img.checkpoint import ModelInfo
from img2img.data import DataConfig, in_order, open_data
from img2img.fields import Picture
from img2img.image import Image, read_image, write_image
from img2img.image.colour import ColourSpace
from img2img.image.icc import profile_of
from img2img.inference import Translator
from img2img.methods.base import Export, Method
from img2img.models import Generator
from img2img.training.outcome import value_ranges
from img2img.types import SYMMETRIC, UNIT

SIDE = 16
FIELDS = {"source": Picture(), "target": Picture(like="source"), "guide": Picture(like="source")}


class Guided(Generator):
    """Remembers the second picture that came; black is 0 in what it takes, and -1 in what it makes."""

    multiple_of = receptive_field = 1
    live_features = 20

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.in_channels, self.out_channels = channels, 3
        self.input_range, self.output_range = UNIT, SYMMETRIC
        self.conditions = {"guide": Picture()}
        self.layer = nn.Conv2d(2 * channels, 3, 1)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        self.seen.append(guide.clone())
        return torch.tanh(self.layer(torch.cat([x, guide], 1)))


class Learning(Method):
    fields = FIELDS

    def __init__(self, generator: Generator) -> None:
        nn.Module.__init__(self)
        self.generator = generator

    def exports(self) -> dict[str, Export]:
        return {"generator": Export(self.generator)}


def noise(kind: str, channels: int, top: float) -> Image:
    values = np.random.default_rng(channels).uniform(0, top, (SIDE, SIDE, channels))
    return Image(values.astype(kind))


RGB, GREY, DEEP = noise("uint8", 3, 255), noise("uint8", 1, 255), noise("uint16", 3, 4095)
GUIDES: dict[str, Callable[[Path], Any]] = {
    "rgb.png": lambda path: write_image(RGB, path),
    "grey.png": lambda path: write_image(GREY, path),
    "palette.gif": lambda path: Pillow.fromarray(RGB.pixels).quantize(7).save(path),
    "alpha.png": lambda path: write_image(RGB.replace(alpha=GREY.pixels[..., 0]), path),
    "wide.png": lambda path: write_image(RGB.replace(icc=profile_of(ColourSpace(12, 13), 3)), path),
    "deep.png": lambda path: write_image(DEEP, path),
    "float.tif": lambda path: write_image(noise("float32", 1, 1), path),
}


def both(root: Path, source: Image, guide: str, **config: Any) -> tuple[Tensor, Tensor]:
    """Returns what the network sees of a further picture in training and in use."""
    for folder in ("source", "target", "guide"):
        (root / folder).mkdir()
    ours, its = root / "source" / "0.tif", root / "guide" / f"0{Path(guide).suffix}"
    write_image(source, ours)
    write_image(DEEP, root / "target" / "0.tif")
    GUIDES[guide](its)
    places = {name: root / name for name in FIELDS}
    made = DataConfig(
        fields=places,
        load_size=SIDE,
        crop_size=SIDE,
        flip=False,
        cache="none",
        validation_fraction=0,
        **config,
    )
    data = open_data(made, FIELDS)
    generator = Guided(data.channels["source"])
    ranges = value_ranges(Learning(generator), FIELDS)
    batch = next(iter(in_order(data.train, batch_size=1, ranges=ranges)))
    read, makes = made.numbers
    info = ModelInfo("own", range=read, target_range=makes)
    use = Translator(generator, info, device="cpu", precision="fp32", backend="eager")
    use([read_image(ours)], guide=[read_image(its)])
    (seen,) = generator.seen
    return batch["guide"], seen


@pytest.mark.parametrize("guide", GUIDES)
@pytest.mark.parametrize("source", [RGB, GREY, RGB.replace(alpha=GREY.pixels[..., 0])])
@pytest.mark.sampled(8)
def test_channels_colours_and_depths_are_the_same(tmp_path: Path, source: Image, guide: str) -> None:
    channels = source.channels + (source.alpha is not None)
    trained, used = both(tmp_path, source, guide, source_channels=channels, target_channels=3)
    assert trained.shape[1] == channels
    np.testing.assert_allclose(used, trained, atol=1e-6)
    assert float(trained.min()) >= 0 and (guide == "deep.png" or float(trained.max()) > 0.5)


@pytest.mark.parametrize("numbers", [{"range": (0, 4095)}, {"range": (0, 4095), "target_range": (0, 65535)}])
@pytest.mark.parametrize("guide", ["deep.png", "float.tif"])
def test_numbers_are_the_same(tmp_path: Path, guide: str, numbers: dict[str, Any]) -> None:
    """Those of the source: white of the guide is the white of the network."""
    trained, used = both(tmp_path, DEEP, guide, **numbers)
    np.testing.assert_allclose(used, trained, atol=1e-6)
    assert float(trained.max()) == pytest.approx(1 if guide == "deep.png" else 1 / 4095, rel=0.01)


def test_what_was_trained_with_numbers_of_targets_alone(tmp_path: Path) -> None:
    trained, used = both(tmp_path, RGB, "rgb.png", target_range=(0, 4095))
    np.testing.assert_allclose(used, trained, atol=1e-6)
    assert float(trained.max()) > 0.9


def test_further_pictures_of_several_depths_share_a_call() -> None:
    generator = Guided(3)
    use = Translator(generator, ModelInfo("own"), device="cpu", precision="fp32", backend="eager")
    eight, sixteen = RGB, RGB.replace(pixels=RGB.pixels.astype(np.uint16) * 257)
    together = use([RGB] * 2, guide=[eight, sixteen])
    np.testing.assert_array_equal(together[0].pixels, together[1].pixels)
