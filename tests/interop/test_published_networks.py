"""Published networks in the layouts of their authors, against spandrel's (tools/network_fixtures.py)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from img2img.checkpoint import open_model, save_model
from img2img.errors import ModelError
from img2img.interop import open_checkpoint

FIXTURES = sorted((Path(__file__).parent / "fixtures").glob("*.safetensors"))
WRAPPED = {
    "params": lambda state: {"params": state},
    "params_ema": lambda state: {
        "params": {key: torch.zeros_like(value) for key, value in state.items()},
        "params_ema": state,
    },
    "bare": dict,
    "prefixed": lambda state: {f"module.{key}": value for key, value in state.items()},
}


def fixture(name: str | Path) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Returns the checkpoint, an input, and what spandrel's network makes of it."""
    path = Path(name) if Path(name).is_file() else FIXTURES[0].parent / f"{name}.safetensors"
    held = load_file(path)
    x, y = held.pop("input"), held.pop("output")
    return {key.removeprefix("params."): value for key, value in held.items()}, x, y


def opened(folder: Path, content: Mapping[str, object]):
    torch.save(dict(content), folder / "network.pth")
    return open_checkpoint(folder / "network.pth")


def agrees(generator, x: Tensor, y: Tensor) -> None:
    with torch.inference_mode():
        torch.testing.assert_close(generator.infer(x), y, rtol=1e-4, atol=1e-5 * float(y.std()))


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
@pytest.mark.sampled(5)
def test_it_computes_what_the_original_does(path: Path, tmp_path: Path):
    state, x, y = fixture(path)
    generator, info = opened(tmp_path, {"params": state})
    agrees(generator, x, y)
    assert f"x{y.shape[2] // x.shape[2]}" in info.origin["layout"]
    save_model(tmp_path / "imported.safetensors", generator, info)
    agrees(open_model(tmp_path / "imported.safetensors")[0], x, y)


@pytest.mark.parametrize("wrapping", WRAPPED)
@pytest.mark.sampled(2)
def test_wrappings_fall_away(wrapping: str, tmp_path: Path):
    state, x, y = fixture("span_x4")
    agrees(opened(tmp_path, WRAPPED[wrapping](state))[0], x, y)


def test_old_folded_weights_of_span_are_not_used(tmp_path: Path):
    state, x, y = fixture("span_x4")
    state = {key: torch.zeros_like(value) if "eval_conv" in key else value for key, value in state.items()}
    agrees(opened(tmp_path, state)[0], x, y)


def test_folded_span_is_known_too(tmp_path: Path):
    state, x, y = fixture("span_x4")
    generator, info = opened(
        tmp_path, {k: v for k, v in state.items() if ".sk." not in k and ".conv." not in k}
    )
    agrees(generator, x, y)
    assert info.origin["layout"] == "SPAN, folded, x4" and not generator.branches


def test_half_a_branch_is_a_sentence(tmp_path: Path):
    state, _, _ = fixture("span_x4")
    del state["block_1.c2_r.conv.1.weight"], state["block_1.c2_r.eval_conv.weight"]
    with pytest.raises(ModelError, match=r"does not fit span.*blocks\.0\.conv2"):
        opened(tmp_path, state)


def test_no_scale_is_a_sentence(tmp_path: Path):
    state, _, _ = fixture("span_x4")
    state["upsampler.0.weight"], state["upsampler.0.bias"] = torch.zeros(10, 4, 3, 3), torch.zeros(10)
    with pytest.raises(ModelError, match="3 input and 10 last channels: no scale fits"):
        opened(tmp_path, state)
