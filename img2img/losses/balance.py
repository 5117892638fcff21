"""Networks of features brought to one size: weights of losses mean the same for each of them.

The features of VGG as Caffe has it are hundreds of times as large as torchvision's, and differ from layer to
layer. Huang and Belongie (arXiv:1703.06868) scaled theirs such that each channel is 1 on average; here each
layer is scaled such that its squares are 1 on average, on noise with the spectrum of photographs. ReLU and
pooling let scales through, so that nothing else of what the network sees changes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from img2img.losses.vgg import VggWeights

_SIDE = 64


def balanced(weights: VggWeights) -> VggWeights:
    """Returns weights with which the activations of each layer have a mean square of 1.

    Layers that the file lacks, or has in other shapes, stay as they are: whoever takes them says so.
    """
    vgg = weights.vgg
    prefix = "features." if any(key.startswith("features.") for key in weights.state) else ""
    state = {key.removeprefix(prefix): value for key, value in weights.state.items()}
    x = _picture()
    mean, deviation = (x.new_tensor(values).view(3, 1, 1) for values in (vgg.mean, vgg.deviation))
    x, before = (x - mean) / deviation, x.new_ones(())
    places = iter(sorted(vgg.places))
    for depth in vgg.depths:
        for place in (next(places) for _ in range(depth)):
            weight, bias = state.get(f"{place}.weight"), state.get(f"{place}.bias")
            if weight is None or bias is None or weight.shape[1:] != (x.shape[1], 3, 3):
                return replace(weights, state=state)
            weight, bias = weight.float() * before, bias.float()
            x = F.relu(F.conv2d(x, weight, bias, padding=1))
            size = x.square().mean().sqrt().clamp(min=1e-12)
            x, before = x / size, size
            state |= {f"{place}.weight": weight / size, f"{place}.bias": bias / size}
        x = F.max_pool2d(x, 2)
    return replace(weights, state=state)


def _picture() -> Tensor:
    """Returns noise whose amplitudes fall with the frequency, as those of photographs do: (1, 3, H, W)."""
    rng = np.random.default_rng(0)
    frequencies = np.fft.fftfreq(_SIDE)
    distance = np.hypot(frequencies[:, None], frequencies)
    distance[0, 0] = np.inf
    common, own = rng.normal(size=(1, _SIDE, _SIDE)), rng.normal(size=(3, _SIDE, _SIDE))
    noise = np.fft.ifft2(np.fft.fft2(common + 0.3 * own) / distance).real  # colours are much alike
    return torch.from_numpy(0.45 + 0.25 * noise / noise.std()).float()[None].clamp(0, 1)
