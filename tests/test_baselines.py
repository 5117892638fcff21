"""tools/baselines.py writes what a translation model has to beat."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from click.testing import CliRunner

from img2img import evaluate
from img2img.image import Image, read_image, write_image


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    path = Path(__file__).resolve().parent.parent / "tools" / "baselines.py"
    spec = importlib.util.spec_from_file_location("baselines_tool", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Side-by-side files: six for training, two held out."""
    for part, seeds in (("train", range(6)), ("val", range(6, 8))):
        (tmp_path / "data" / part).mkdir(parents=True)
        for seed in seeds:
            pixels = np.random.default_rng(seed).integers(0, 256, (64, 128, 3), np.uint8)
            write_image(Image(pixels), tmp_path / "data" / part / f"{seed}.png")
    return tmp_path / "data"


def test_mean_and_copy_of_the_held_out_pairs(tool: ModuleType, pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    keys = ("load_size=80", "crop_size=64", "direction=AtoB")
    changes = [word for key in keys for word in ("--set", f"data.{key}")]
    result = CliRunner().invoke(
        tool.baselines, ["smoke_pix2pix", "-o", str(out), "--set", f"data.aligned={pairs}", *changes]
    )
    assert result.exit_code == 0, result.output
    assert "mean: 2 pictures" in result.output
    trained = [read_image(path).pixels[:, 64:].astype(float) for path in sorted((pairs / "train").iterdir())]
    mean = np.mean(trained, axis=0)
    for key in (6, 7):
        pair = read_image(pairs / "val" / f"{key}.png").pixels
        found = {
            name: read_image(out / name / f"{key}.png").pixels for name in ("source", "target", "copied")
        }
        assert np.array_equal(found["source"], pair[:, :64]) and np.array_equal(found["target"], pair[:, 64:])
        assert np.array_equal(found["copied"], found["source"])
        assert np.abs(read_image(out / "mean" / f"{key}.png").pixels - mean).max() <= 0.51
    for name in ("mean", "copied"):
        assert len(evaluate(out / "target", pred=out / name, protocol="plain").scores) == 2
    means = [
        evaluate(out / "target", pred=out / name, protocol="plain").mean()["l1"]
        for name in ("mean", "copied")
    ]
    assert means[0] < means[1]  # of noise the mean is the better guess


def test_nothing_held_out_is_said(tool: ModuleType, pairs: Path, tmp_path: Path) -> None:
    arguments = ["smoke_pix2pix", "-o", str(tmp_path / "out"), "--set", f"data.aligned={pairs / 'val'}"]
    result = CliRunner().invoke(tool.baselines, [*arguments, "--set", "data.validation_fraction=0"])
    assert result.exit_code == 1 and "no pairs are held out" in result.output
