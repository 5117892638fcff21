"""tools/seams.py measures what docs/tiling.md says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch
from click.testing import CliRunner

from img2img.checkpoint import ModelInfo, save_model
from img2img.image import read_image
from img2img.models import Resnet, RRDBNet


@pytest.fixture(scope="module")
def seams() -> ModuleType:
    path = Path(__file__).resolve().parent.parent / "tools" / "seams.py"
    spec = importlib.util.spec_from_file_location("seams", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_strips_have_no_seams_and_tiles_do(seams: ModuleType, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_model(tmp_path / "m.safetensors", Resnet(**Resnet.tiny), ModelInfo())
    arguments = ["compare", "--model", str(tmp_path / "m.safetensors"), "--width", "128", "--height", "96"]
    arguments += ["--tile", "32", "--output", str(tmp_path / "heat.png")]
    result = CliRunner().invoke(seams.seams, arguments, catch_exceptions=False)
    psnr = {line[:36].strip(): line[36:45].strip() for line in result.output.splitlines()[2:]}
    assert float(psnr["tiles, each with its own statistics"]) < 40
    assert all(float(psnr[kept]) > 100 for kept in ("two maps", "one map", "nothing"))
    assert read_image(tmp_path / "heat.png").pixels.shape == (2 * (384 + 8), 2 * (512 + 8), 3)


def test_peak_memory_is_printed(seams: ModuleType, tmp_path: Path) -> None:
    save_model(tmp_path / "m.safetensors", RRDBNet(**RRDBNet.tiny), ModelInfo())
    size = ["--model", str(tmp_path / "m.safetensors"), "--width", "64", "--height", "64"]
    for kept in ("whole", "trunk"):
        result = CliRunner().invoke(seams.seams, ["memory", kept, *size], catch_exceptions=False)
        assert f"64x64 fp32, {kept}: peak +" in result.output
    assert CliRunner().invoke(seams.seams, ["memory", "two maps", *size]).exit_code == 2
