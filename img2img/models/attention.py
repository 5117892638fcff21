"""Self-attention between the places of a map of features.

Zhang, Goodfellow, Metaxas, Odena: Self-Attention Generative Adversarial Networks (arXiv:1805.08318).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from img2img.errors import ConfigError

_PARTS = 4  # the values are four times as wide as queries and keys


class SelfAttention(nn.Module):
    """Adds to each place a mean over all places of what stands there, weighted by how well they match.

    Queries and keys have an eighth of the channels, values half of them; keys and values are pooled by two,
    and convolutions have no bias, as in the authors' code. (The paper has neither pooling nor halved values.)
    What is added begins with the weight `gamma` 0, so a fresh layer is the identity.

    Time grows with the square of the area. So does memory in training; in use it grows with the area.

    Args:
        channels: C, before and after.
        spectral: Divides every convolution by its largest singular value.
    """

    def __init__(self, channels: int, spectral: bool = False) -> None:
        super().__init__()
        width = max(1, channels // 8)

        def conv(before: int, after: int) -> nn.Module:
            layer = nn.Conv2d(before, after, 1, bias=False)
            return spectral_norm(layer) if spectral else layer

        self.query, self.key = conv(channels, width), conv(channels, width)
        self.value, self.output = conv(channels, _PARTS * width), conv(_PARTS * width, channels)
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        query, key, value = self.query(x), self.pool(self.key(x)), self.pool(self.value(x))
        found = _attend(*(part.flatten(2).mT for part in (query, key, value)))
        output: Tensor = x + self.gamma * self.output(found.mT.reshape(len(x), -1, *x.shape[2:]))
        return output


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Returns the mean of the values for each query, weighted by the softmax of its products with the keys.

    Where a gradient is wanted, by the formula, since the fused kernels have no second derivative, which R1
    and the gradient penalty take of a discriminator. Otherwise by one of these, which never hold all weights;
    they want values as wide as keys, so the parts of the values go as heads with the same weights.

    Args:
        query: (N, P, D).
        key, value: (N, Q, D) and (N, Q, 4D).

    Returns:
        (N, P, 4D).
    """
    if torch.is_grad_enabled():
        weights = (query @ key.mT).softmax(-1)
        return weights.to(value.dtype) @ value
    # copied, because the kernels refuse channels that do not lie side by side, and else all weights are held
    query, key, value = (x.clone(memory_format=torch.contiguous_format) for x in (query, key, value))
    parts = value.view(*value.shape[:2], _PARTS, -1).transpose(1, 2)
    queries, keys = (x[:, None].expand(-1, _PARTS, -1, -1) for x in (query, key))
    return F.scaled_dot_product_attention(queries, keys, parts, scale=1.0).transpose(1, 2).flatten(2)


def attention_place(attention: bool | int, count: int, usual: int, name: str) -> int:
    """Returns after which of `count` layers in a row attention stands, counted from 1; 0 for none.

    Args:
        attention: What the configuration says: False, True for the usual place, or a number.
        count: How many layers there are.
        usual: The place that True means.
        name: What the layers are called.

    Raises:
        ConfigError: There is no such layer.
    """
    place = usual if attention is True else attention
    if attention is not False and (not isinstance(place, int) or not 1 <= place <= count):
        raise ConfigError(
            f"attention stands after one of the {count} {name} and is {attention!r}; give true, false, or a "
            f"number from 1 to {count}."
            if count
            else f"attention stands after one of the {name}, and there are none; leave it out."
        )
    return int(place)
