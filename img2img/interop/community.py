"""The long tail: architectures that only spandrel knows, when it is installed (the extra "community").

Such a network runs like any other, but it cannot be written as a model file of ours: its code is spandrel's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from img2img.checkpoint import ModelInfo
from img2img.errors import ModelError, UnknownModelError
from img2img.models import ArchSpec, Generator

UNKNOWN_RADIUS = 10**6  # tiles then overlap and are blended
PURPOSES = ("SR", "Restoration")
ADVICE = "spandrel knows more: pip install 'img2img[community]'."
_SWIN = "layers.0.residual_group.blocks.0."
# networks that people own, each by keys that only it has; the more special one of two comes first
_KEYS = {
    "HAT": ("conv_first.weight", "layers.0.residual_group.overlap_attn.relative_position_bias_table"),
    "ATD": ("conv_first.weight", "layers.0.residual_group.layers.0.sigma"),
    "SRFormer": ("conv_first.weight", f"{_SWIN}attn.aligned_relative_position_index"),
    "Swin2SR": ("conv_first.weight", f"{_SWIN}attn.logit_scale"),
    "SwinIR": ("conv_first.weight", f"{_SWIN}attn.relative_position_bias_table"),
    "DRCT": ("conv_first.weight", "layers.0.swin1.norm1.weight"),
    "RGT": ("before_RG.1.weight", "layers.0.blocks.0.gamma"),
    "DAT": ("before_RG.1.weight", "layers.0.blocks.0.norm1.weight"),
    "GRL": ("conv_first.weight", "norm_start.weight", "layers.0.blocks.0.attn.proj.weight"),
    "OmniSR": ("input.weight", "residual_layer.0.residual_layer.0.layer.0.fn.0.weight"),
    "DITN": ("UFONE.0.ITLs.0.attn.temperature",),
    "SAFMN": ("to_feat.weight", "feats.0.safm.mfr.0.weight"),
    "SCUNet": ("m_head.0.weight", "m_body.0.trans_block.ln1.weight"),
    "DRUNet": ("m_head.weight", "m_down1.0.res.0.weight"),
    "FBCNN": ("m_head.weight", "qf_pred.0.weight"),
    "Restormer": ("patch_embed.proj.weight", "encoder_level1.0.attn.temperature"),
    "Uformer": ("input_proj.proj.0.weight", "encoderlayer_0.blocks.0.norm1.weight"),
    "RCAN": ("head.0.weight", "body.0.body.0.body.3.conv_du.0.weight"),
}
_OTHER_PURPOSES = {
    "GFPGAN": ("toRGB.0.weight", "stylegan_decoder.style_mlp.1.weight"),
    "CodeFormer": ("position_emb", "quantize.embedding.weight"),
    "RestoreFormer": ("encoder.conv_in.weight", "quantize.embedding.weight"),
    "MAT": ("synthesis.first_stage.conv_first.conv.resample_filter",),
    "LaMa": ("model.1.ffc.convl2l.weight",),
    "DDColor": ("encoder.arch.downsample_layers.0.0.weight",),
}


class Community(Generator):
    """A network of spandrel behind the contract of a generator; takes and returns RGB in [0, 1].

    Args:
        descriptor: spandrel's `ImageModelDescriptor`.
    """

    def __init__(self, descriptor: Any) -> None:
        super().__init__()
        self.network: nn.Module = descriptor.model
        self.in_channels, self.out_channels = descriptor.input_channels, descriptor.output_channels
        self.scale = descriptor.scale
        needs = descriptor.size_requirements
        self.multiple_of, self.minimum_size = max(1, needs.multiple_of), max(1, needs.minimum)
        self.half_precision = bool(descriptor.supports_bfloat16 and descriptor.supports_half)
        self.tiling = "none" if descriptor.tiling.name == "INTERNAL" or needs.square else "local"
        self.receptive_field = UNKNOWN_RADIUS
        self.live_features = _live_features(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, H*scale, W*scale)."""
        output: Tensor = self.network(x)
        return output


def is_installed() -> bool:
    """Returns whether spandrel can be imported."""
    try:
        import spandrel  # noqa: F401
    except ImportError:
        return False
    return True


def known_elsewhere(state: Mapping[str, Tensor]) -> str | None:
    """Returns the sentence for a network that spandrel has and img2img has not, told by its keys, or None."""

    def named(table: Mapping[str, tuple[str, ...]]) -> str | None:
        return next((name for name, keys in table.items() if all(key in state for key in keys)), None)

    if name := named(_OTHER_PURPOSES):
        return _other_purpose(name)
    name = named(_KEYS)
    if name is None:
        return None
    if is_installed():
        return f"is a {name} model of a kind that this version of spandrel does not open."
    return (
        f"is a {name} model, an architecture that img2img does not have and the extra `community` "
        "opens: pip install 'img2img[community]'."
    )


def _other_purpose(name: str) -> str:
    return (
        f"is a {name} model, which spandrel knows, but it takes more than a picture, or is for faces, "
        "inpainting or colouring; only super-resolution and restoration models are run."
    )


def open_community(state: Mapping[str, Tensor]) -> tuple[Generator, ModelInfo] | None:
    """Returns the network that spandrel recognises in `state`, or None if it does not, or is not installed.

    Raises:
        UnknownModelError: It is recognised, but does something that one picture does not suffice for.
        ModelError: It is recognised and cannot be opened.
    """
    try:
        from spandrel import ImageModelDescriptor, ModelLoader, UnsupportedModelError
    except ImportError:
        return None
    try:
        descriptor = ModelLoader(torch.device("cpu")).load_from_state_dict(dict(state))
    except UnsupportedModelError:
        return None
    except Exception as error:  # its readers check nothing: what a damaged file makes of them is arbitrary
        reason = " ".join(str(error).split())
        raise ModelError(f"is damaged, or not what spandrel takes it for ({reason[:200]}).") from error
    name = descriptor.architecture.name
    if not isinstance(descriptor, ImageModelDescriptor) or descriptor.purpose not in PURPOSES:
        raise UnknownModelError(_other_purpose(name))
    generator = Community(descriptor)
    generator.spec = ArchSpec(f"spandrel {name}", {"tags": list(descriptor.tags)})
    return generator.eval(), ModelInfo(origin={"layout": f"{name}, opened with spandrel"})


def _live_features(generator: Community) -> int:
    """Returns a cautious guess of the values alive at once per input pixel, from one small run."""
    side = -(-max(64, generator.minimum_size) // generator.multiple_of) * generator.multiple_of
    most = 0

    def watch(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal most
        tensors = [t for t in (*inputs, output) if isinstance(t, Tensor)]
        most = max(most, sum(t.numel() for t in tensors))

    hooks = [module.register_forward_hook(watch) for module in generator.network.modules()]
    try:
        with torch.inference_mode():
            generator.network.eval()(torch.zeros(1, generator.in_channels, side, side))
    finally:
        for hook in hooks:
            hook.remove()
    return 3 * -(-most // side**2)  # skip connections and what single operations allocate come on top
