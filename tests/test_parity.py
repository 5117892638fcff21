"""tools/parity.py: steps of methods against those of the original implementation, or of plain torch."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner


@pytest.fixture(scope="module")
def parity() -> ModuleType:
    path = Path(__file__).resolve().parent.parent / "tools" / "parity.py"
    spec = importlib.util.spec_from_file_location("parity", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("method", ["pix2pix", "cyclegan"])
def test_steps_equal_those_of_the_original(parity: ModuleType, test_data: Path, method: str) -> None:
    result = CliRunner().invoke(parity.parity, [str(test_data / "fixtures" / f"{method}_steps")])
    report = json.loads(result.output)
    assert result.exit_code == 0 and report["verdict"] == "parity"
    assert report["method"] == method and report["steps"] == 6
    assert report["largest_deviation"]["losses"] < 1e-3
    assert report["largest_deviation"]["norms"] < 1e-4


def test_another_algorithm_has_no_parity(parity: ModuleType, test_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "steps"
    shutil.copytree(test_data / "fixtures" / "pix2pix_steps", folder)
    (folder / "A.npy").rename(folder / "C.npy")
    (folder / "B.npy").rename(folder / "A.npy")
    (folder / "C.npy").rename(folder / "B.npy")
    result = CliRunner().invoke(parity.parity, [str(folder)])
    assert result.exit_code == 1 and json.loads(result.output)["verdict"] == "no parity"


def test_another_folder_is_refused(parity: ModuleType, tmp_path: Path) -> None:
    result = CliRunner().invoke(parity.parity, [str(tmp_path)])
    assert result.exit_code == 1 and "no folder of training steps" in result.output


@pytest.mark.parametrize("case", ["stargan", "stargan_joint", "pix2pixhd", "oasis", "oasis_plain"])
def test_steps_equal_those_of_plain_torch(parity: ModuleType, case: str) -> None:
    """Three steps in fp64; the generator of StarGAN learns in the second."""
    result = CliRunner().invoke(parity.parity, [case])
    report = json.loads(result.output)
    assert result.exit_code == 0 and report["verdict"] == "parity" and report["steps"] == 3
    assert max(max(step.values()) for step in report["loss_deviations"]) < 1e-6
    if not case.startswith("stargan"):
        return
    learned = [any(name.startswith("g_") for name in step) for step in report["loss_deviations"]]
    assert learned == [False, True, False]
