"""Training on cut-outs of what validation squeezes whole is said wherever data are looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from img2img.cli.main import cli
from img2img.image import Image, write_image

TINY = [
    word
    for each in ("generator.downs=5", "generator.features=4", "discriminator.features=4")
    for word in ("--set", each)
]
WARNING = "training sees cut-outs of 32 x 32 from pictures of 64 x 64"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (64, 128, 3)).astype(np.uint8)
        write_image(Image(pixels), folder / f"{number}.png")
    return folder


@pytest.mark.parametrize("command", ["train", "preview", "check"])
@pytest.mark.parametrize("sets", [["load_size=64", "crop_size=32"], ["crop_size=32"]])
def test_it_is_said_where_sizes_differ_by_more_than_jitter(
    command: str, sets: list[str], pairs: Path, tmp_path: Path
) -> None:
    words = {
        "train": ["train", "--dry-run", *TINY],
        "preview": ["data", "preview", "-o", str(tmp_path / "seen.png")],
        "check": ["data", "check"],
    }[command]
    words += ["--aligned", str(pairs), *(word for each in sets for word in ("--set", each))]
    said = " ".join(CliRunner().invoke(cli, words).stderr.split())
    if len(sets) == 2:
        assert WARNING in said and "Set load_size=[35, 35]" in said
    else:
        assert "cut-outs" not in said
        assert command == "check" or "loaded at 36 x 36, cut to 32 x 32" in said
