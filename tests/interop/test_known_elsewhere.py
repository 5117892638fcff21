"""A network that only spandrel opens: the sentence says which it is and what to install."""

from __future__ import annotations

import sys

import pytest
import torch

from img2img.errors import UnknownModelError
from img2img.interop import open_checkpoint

SWIN = "layers.0.residual_group.blocks.0."
NETWORKS = {
    "SwinIR": ["conv_first.weight", f"{SWIN}norm1.weight", f"{SWIN}attn.relative_position_bias_table"],
    "HAT": [
        "conv_first.weight",
        f"{SWIN}attn.relative_position_bias_table",
        "layers.0.residual_group.overlap_attn.relative_position_bias_table",
    ],
    "DAT": ["conv_first.weight", "before_RG.1.weight", "layers.0.blocks.0.norm1.weight"],
    "SCUNet": ["m_head.0.weight", "m_body.0.trans_block.ln1.weight"],
}


@pytest.mark.parametrize("prefix", ["", "module.", "netG."])
@pytest.mark.parametrize("name", NETWORKS)
def test_without_spandrel_the_extra_is_named(tmp_path, monkeypatch, name, prefix):
    monkeypatch.setitem(sys.modules, "spandrel", None)
    torch.save({"params": {prefix + key: torch.zeros(2, 2) for key in NETWORKS[name]}}, tmp_path / "m.pth")
    with pytest.raises(UnknownModelError, match=rf"is a {name} model.* pip install 'img2img\[community\]'"):
        open_checkpoint(tmp_path / "m.pth")


@pytest.mark.parametrize("keys", [["something.else.weight"], ["encoder.0.weight", "decoder.0.weight"]])
def test_so_it_is_for_what_nobody_knows(tmp_path, monkeypatch, keys):
    monkeypatch.setitem(sys.modules, "spandrel", None)
    torch.save({key: torch.zeros(2, 2) for key in keys}, tmp_path / "m.pth")
    with pytest.raises(UnknownModelError, match=r"not known.*pip install 'img2img\[community\]'"):
        open_checkpoint(tmp_path / "m.pth")


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("GFPGAN", ["toRGB.0.weight", "stylegan_decoder.style_mlp.1.weight"]),
        ("CodeFormer", ["position_emb", "quantize.embedding.weight", "encoder.blocks.0.weight"]),
        ("LaMa", ["generator.model.1.ffc.convl2l.weight", "generator.model.1.bn_l.weight"]),
    ],
)
def test_networks_for_faces_and_holes_are_not_run(tmp_path, monkeypatch, name, keys):
    monkeypatch.setitem(sys.modules, "spandrel", None)
    torch.save({key: torch.zeros(2, 2) for key in keys}, tmp_path / "m.pth")
    with pytest.raises(UnknownModelError, match=f"is a {name} model.* takes more than a picture"):
        open_checkpoint(tmp_path / "m.pth")
