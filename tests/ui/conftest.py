"""The page that the slow tests talk to."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from served import Page

from img2img.image import Image, write_image


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    from img2img.checkpoint import ModelInfo, save_model
    from img2img.models import EDSR

    pytest.importorskip("gradio", reason="the page needs the extra ui")
    root = tmp_path_factory.mktemp("root")
    (root / "photos").mkdir()
    save_model(root / "big.safetensors", EDSR(features=1, blocks=0, scale=2), ModelInfo())
    for name in "ab":
        pixels = np.random.default_rng(0).integers(0, 65536, (9, 12, 3)).astype(np.uint16)
        write_image(Image(pixels), root / "photos" / f"{name}.png")
    ramp = np.linspace(0, 65535, 120 * 90 * 3).reshape(90, 120, 3).astype(np.uint16)
    write_image(Image(ramp), root / "large.png")
    page = Page(root, tmp_path_factory.mktemp("scratch"))
    yield page
    if page.process.poll() is None:
        page.process.kill()
        page.process.communicate()
