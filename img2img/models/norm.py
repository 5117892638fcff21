"""Normalisation layers, and the choice of the statistics that batch norm uses in evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from img2img.errors import ConfigError
from img2img.registry import unknown

_MANY = 2**20  # values of a channel beyond which one pass over them in fp32 is off by more than a rounding
NormKind = Literal["batch", "instance", "none"]
NormStats = Literal["running", "image"]


class Statistics(NamedTuple):
    """Mean and biased variance of each channel of each image, both (N, C) or (1, C)."""

    mean: Tensor
    variance: Tensor


def instance_norm(
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    statistics: Statistics | None = None,
) -> Tensor:
    """Normalises each channel of each image by its own mean and variance.

    This is `group_norm` with one group per channel: the same function, with a kernel for channels_last, and
    with the right gradient, while torch's own `instance_norm` on the CPU (2.13, 2.15) returns a wrong one for
    a single image in channels_last. Never call that one.

    Args:
        x: (N, C, H, W).
        weight, bias: (C,) each, applied after normalising.
        eps: Added to the variance.
        statistics: Used in place of those of `x`, for parts of an image too large to be normalised at once.
    """
    if statistics is None:
        if _one_by_one(x):
            images = torch.split(x, 1)
            return torch.cat([F.batch_norm(i, None, None, weight, bias, True, 0.0, eps) for i in images])
        if not _is_too_large(x):
            return F.group_norm(x, x.shape[1], weight, bias, eps)
        rows = max(1, _MANY // 4 // x.shape[3])
        each = [merged_statistics(torch.split(image, rows, 2)) for image in torch.split(x, 1)]
        statistics = Statistics(*map(torch.cat, zip(*each, strict=True)))
    scale = torch.rsqrt(statistics.variance + eps)
    if weight is not None:
        scale = scale * weight
    shift = -statistics.mean * scale
    if bias is not None:
        shift = shift + bias
    return torch.addcmul(shift[..., None, None], x, scale[..., None, None]).to(x.dtype)


def _one_by_one(x: Tensor) -> bool:
    """Returns whether to normalise each image as a batch of its own.

    That is the same once more. Where a gradient is wanted of channels_last on a CPU it is 20 times faster:
    `group_norm` has no kernel for that, batch norm has one.
    """
    return (
        x.requires_grad
        and x.device.type == "cpu"
        and not x.is_contiguous()
        and x.is_contiguous(memory_format=torch.channels_last)
        and x.shape[-1] * x.shape[-2] > 1  # batch norm refuses a single value
        and not torch.compiler.is_compiling()
    )


def _is_too_large(x: Tensor) -> bool:
    """Returns whether the kernel of `group_norm` loses digits: 1.5 levels of 255 in a 12 megapixel result."""
    return (
        not torch.compiler.is_compiling()  # first: a graph would be for the sizes alone that it compares
        and x.shape[-1] * x.shape[-2] > _MANY
        and x.device.type == "cpu"
        and x.dtype != torch.float64
        and not x.requires_grad
    )


def merged_statistics(parts: Iterable[Tensor]) -> Statistics:
    """Returns mean and variance of each channel over all parts of an image, (1, C, h, W) each.

    Each part gives its own, and these are merged in double precision by the rule of Chan, Golub and LeVeque
    (1979), which loses nothing when the mean is large against the deviation.
    """
    count = 0
    mean = deviations = torch.zeros(())  # the sum of the squared deviations from the mean
    dtype, device = torch.float32, torch.device("cpu")
    for x in parts:
        x = (
            x if x.dtype == torch.float64 else x.float()
        ).contiguous()  # in channels_last it subtracts squares
        dtype, device = x.dtype, x.device
        size = x.shape[2] * x.shape[3]
        # the kernel that normalises whole images, for its moments: without eps they are 1 / deviation
        _, own_mean, inverse = torch.native_group_norm(x, None, None, 1, x.shape[1], size, x.shape[1], 0.0)
        own_mean, own_deviations = own_mean.cpu().double(), inverse.cpu().double().pow(-2) * size
        apart = own_mean - mean
        total = count + size
        mean = mean + apart * (size / total)
        deviations = deviations + own_deviations + apart.square() * (count * size / total)
        count = total
    return Statistics(mean.to(device, dtype), (deviations / count).to(device, dtype))


class InstanceNorm(nn.Module):
    """Normalises each image by its own statistics, in training and in use.

    Args:
        channels: C.
        eps: Added to the variance.
        affine: Whether each channel has a weight and a bias; the original translation networks have none.

    Attributes:
        statistics: When set, used in place of those of the input.

    References:
        Ulyanov et al., Instance Normalization (arXiv:1607.08022).
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(self, channels: int, eps: float = 1e-5, affine: bool = False) -> None:
        super().__init__()
        self.channels, self.eps = channels, eps
        self.register_parameter("weight", nn.Parameter(torch.ones(channels)) if affine else None)
        self.register_parameter("bias", nn.Parameter(torch.zeros(channels)) if affine else None)
        self.statistics: Statistics | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return instance_norm(x, self.weight, self.bias, self.eps, self.statistics)

    def extra_repr(self) -> str:
        """What `print(module)` shows."""
        return f"{self.channels}, eps={self.eps}, affine={self.weight is not None}"


class BatchNorm(nn.BatchNorm2d):
    """Batch norm that can normalise each image by itself in evaluation.

    Trained with one image per batch, as pix2pix is, batch norm has only ever seen the statistics of single
    images; the paper therefore tests with them too. Per image, batch norm is instance norm with its weight
    and bias, which does not depend on the other images of the batch. In training mode nothing changes.

    Args:
        channels: C.
        stats: What evaluation uses: the "running" averages of the training, or those of each "image".
        affine: Whether a weight and a bias follow.

    Attributes:
        stats: As above; `set_norm_stats` changes it for a whole network. Not part of the weights.
        statistics: When set and `stats` is "image", used in place of those of the input.
        synchronised: Whether training normalises by the statistics of the batches of all processes together;
            if not, each process has its own. Not part of the weights.

    References:
        Ioffe and Szegedy, Batch Normalization (arXiv:1502.03167); Isola et al. (arXiv:1611.07004), 3.4.
    """

    def __init__(self, channels: int, stats: NormStats = "running", affine: bool = True) -> None:
        super().__init__(channels, affine=affine)
        self.stats: NormStats = stats
        self.statistics: Statistics | None = None
        self.synchronised = False

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        if self.training and self.synchronised:
            return self._over_processes(x)
        if self.training or self.stats == "running":
            y = super().forward(x)
            if y.requires_grad and y.device.type == "cpu" and not torch.compiler.is_compiling():
                y.register_hook(_closed)  # type: ignore[no-untyped-call]
            return y
        return instance_norm(x, self.weight, self.bias, self.eps, self.statistics)

    def _over_processes(self, x: Tensor) -> Tensor:
        """Normalises by mean and variance of the batches of all processes, which may differ in size."""
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        values = x.to(self.running_mean.dtype)
        own = torch.cat((values.sum((0, 2, 3)), values.new_tensor([values[:, 0].numel()])))
        sums = _over_processes(own)
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = values - mean[:, None, None]
        variance = _over_processes(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1).clamp(min=1)), self.momentum)
        scale = torch.rsqrt(variance + self.eps)
        if not self.affine:
            return (centred * scale[:, None, None]).to(x.dtype)
        scale = self.weight * scale
        return torch.addcmul(self.bias[:, None, None], centred, scale[:, None, None]).to(x.dtype)


class LayerNorm(nn.Module):
    """Normalises the channels at each place, over that place alone (Ba et al., arXiv:1607.06450)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        last = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, 1e-6)
        return last.permute(0, 3, 1, 2)


class _Sum(torch.autograd.Function):
    """The sum of a tensor over the processes; its gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _over_processes(gradient)


def _over_processes(x: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(x)
    return total


def _closed(gradient: Tensor) -> Tensor:
    """Returns the same without gaps in memory.

    The gradient of one half of a concatenation has gaps, as in a U-Net, and batch norm on a CPU takes a
    hundred times as long for it as for a copy without.
    """
    is_last = gradient.stride(1) == 1 and gradient.shape[1] > 1
    return gradient.contiguous(memory_format=torch.channels_last if is_last else torch.contiguous_format)


def make_norm(kind: NormKind, channels: int, stats: NormStats = "running", affine: bool = True) -> nn.Module:
    """Returns the layer called `kind` for `channels` channels; "none" is the identity.

    Args:
        kind: "batch", "instance" or "none".
        channels: C.
        stats, affine: See `BatchNorm`; instance norm never has weights.

    Raises:
        ConfigError: There is no such kind.
    """
    if kind == "batch":
        return BatchNorm(channels, stats, affine)
    if kind == "instance":
        return InstanceNorm(channels)
    if kind == "none":
        return nn.Identity()
    raise ConfigError(unknown("norm", kind, get_args(NormKind)))


def batch_norms(module: nn.Module) -> Iterator[BatchNorm]:
    """Yields every batch norm inside `module`."""
    return (layer for layer in module.modules() if isinstance(layer, BatchNorm))
