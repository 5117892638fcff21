from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    """A smooth, colourful picture with edges and a little texture: (96, 128, 3) uint8."""
    rows, columns = np.mgrid[0:96, 0:128]
    red = 40 + columns * 1.4
    green = 200 - rows * 1.5
    blue = 90 + 50 * np.sin(columns / 9) * np.cos(rows / 11)
    pixels = np.stack([red, green, blue], axis=2)
    pixels[20:60, 30:70] *= 0.4
    pixels += np.random.default_rng(7).normal(0, 3, pixels.shape)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def reference_file(tmp_path_factory: pytest.TempPathFactory, picture: np.ndarray) -> Path:
    """A warm, dark reference picture as a PNG file."""
    warm = np.clip(picture[::-1, ::-1] * np.array([0.8, 0.6, 0.3]) + 10, 0, 255).astype(np.uint8)
    path = tmp_path_factory.mktemp("reference") / "reference.png"
    path.write_bytes(cv2.imencode(".png", warm[:, :, ::-1])[1].tobytes())
    return path
