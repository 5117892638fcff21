"""The sheets of samples show what people would look for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from img2img.image import read_image
from img2img.methods import Column
from img2img.training.grid import write_grid
from img2img.types import ValueRange

COLOURS = ((255, 0, 0), (0, 128, 0), (0, 0, 200), (9, 9, 9), (80, 80, 80))


@pytest.mark.parametrize(("classes", "sure"), [(2, 1), (3, 1), (5, 1), (5, 0.6)])  # maps, and likelihoods
def test_label_maps_have_the_colours_of_their_classes(tmp_path, classes, sure):
    number = torch.arange(16).reshape(4, 4) % classes
    hot = torch.nn.functional.one_hot(number, classes).permute(2, 0, 1)[None].float() * sure
    hot = torch.nn.functional.interpolate(hot, scale_factor=64)
    column = Column(hot, ValueRange(0, 1), "input")
    write_grid(tmp_path / "grid.png", {"source": column}, ["a.png"], COLOURS[:classes])
    seen = {tuple(colour) for colour in read_image(tmp_path / "grid.png").pixels.reshape(-1, 3).tolist()}
    assert set(COLOURS[:classes]) <= seen
    assert np.array_equal(read_image(tmp_path / "grid.png").pixels[40, 40], COLOURS[0])
