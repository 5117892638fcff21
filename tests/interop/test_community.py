"""Architectures that only spandrel knows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from img2img.checkpoint import save_model
from img2img.errors import ModelError, UnknownModelError
from img2img.inference import load_model
from img2img.interop import open_checkpoint


@pytest.fixture
def safmn(tmp_path: Path) -> tuple[Path, Any]:
    """A checkpoint of a small SAFMN network, and the network."""
    safmn = pytest.importorskip("spandrel.architectures.SAFMN")
    torch.manual_seed(0)
    network = safmn.SAFMN(dim=8, n_blocks=1, upscaling_factor=2).eval()
    torch.save({"params": network.state_dict()}, tmp_path / "safmn.pth")
    return tmp_path / "safmn.pth", network


def test_it_runs_like_any_other(safmn: tuple[Path, Any]) -> None:
    path, network = safmn
    translator = load_model(path, device="cpu", precision="fp32")
    assert translator.info.origin["layout"] == "SAFMN, opened with spandrel"
    picture = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    with torch.no_grad():
        x = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
        expected = network(x).clamp(0, 1)[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(translator(picture) - expected).max() <= 0.51


def test_it_cannot_become_a_model_file(safmn: tuple[Path, Any], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not an architecture of img2img"):
        save_model(tmp_path / "x.safetensors", *open_checkpoint(safmn[0]))
    assert not (tmp_path / "x.safetensors").exists()


def test_without_spandrel_the_error_names_it(
    safmn: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(UnknownModelError, match=r"img2img\[community\]"):
        open_checkpoint(safmn[0])


def test_what_spandrel_stumbles_over_is_a_sentence(tmp_path: Path) -> None:
    """It takes this for its compact network, whose first slopes are not one for each feature."""
    pytest.importorskip("spandrel")
    state = {"body.0.weight": torch.zeros(8, 3, 3, 3), "body.1.weight": torch.zeros(())}
    state |= {"body.2.weight": torch.zeros(12, 8, 3, 3)}
    torch.save(state, tmp_path / "m.pth")
    with pytest.raises(ModelError, match=r"m\.pth: is damaged"):
        open_checkpoint(tmp_path / "m.pth")
