"""What the players of OASIS want of a discriminator that tells classes apart.

Schoenfeld, Sushko, Zhang, Gall, Schiele, Khoreva: You Only Need Adversarial Supervision for Semantic Image
Synthesis (arXiv:2012.04781).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from img2img.losses.pixel import full


def class_weights(labels: Tensor) -> Tensor:
    """Returns how much each pixel counts, so that all classes in the batch count alike.

    Args:
        labels: (N, K, H, W), 1 in the channel of the class and 0 elsewhere.

    Returns:
        (N, H, W): the number of pixels over that of classes and over that of pixels of its class; 0 where a
        pixel has no class.
    """
    count = labels.sum((0, 2, 3))
    # a class of no pixel would have infinitely much, and pixels of no class ask for that of the first
    share = labels[:, 0].numel() / (count * (count > 0).sum()).clamp(min=1)
    return share[labels.argmax(1)] * _known(labels)


def is_class_loss(logits: Tensor, labels: Tensor, balanced: bool = True) -> Tensor:
    """Returns how badly pixels are taken for what the label map says, a 0-dim fp32 tensor.

    The discriminator minimises it for real pictures and the generator for made ones.

    Args:
        logits: (N, 1 + K, H, W), first "made", then the classes.
        labels: (N, K, H, W), 1 in the channel of the class and 0 elsewhere, nowhere 1 for unknown.
        balanced: Whether rare classes count as much as frequent ones, see `class_weights`.
    """
    entropy = F.cross_entropy(full(logits), labels.argmax(1) + 1, reduction="none")
    return (entropy * (class_weights(labels) if balanced else _known(labels))).mean()


def is_made_loss(logits: Tensor) -> Tensor:
    """Returns how badly pixels are taken for made ones, a 0-dim fp32 tensor; arguments as above."""
    return -full(logits).log_softmax(1)[:, 0].mean()


def mixing_mask(labels: Tensor) -> Tensor:
    """Returns (N, 1, H, W), 1 in the regions of a random half of the classes and 0 in those of the others.

    The same classes in the whole batch, each with probability 1/2. (In the authors' code a class that was
    drawn as 1 falls together with class 1, and both are drawn again; the paper draws each by itself.)
    """
    drawn = torch.rand(labels.shape[1], device=labels.device) < 0.5
    return drawn[labels.argmax(1)][:, None].to(labels)


def label_mix_loss(mixed: Tensor, real: Tensor, fake: Tensor, mask: Tensor) -> Tensor:
    """Returns the mean squared distance of logits of a mixed picture from mixed logits, 0-dim fp32.

    Args:
        mixed: (N, C, H, W), of the picture that is real where the mask is 1 and made elsewhere.
        real, fake: Of both by themselves.
        mask: (N, 1, H, W).
    """
    return F.mse_loss(full(mixed), torch.lerp(full(fake), full(real), full(mask)))


def _known(labels: Tensor) -> Tensor:
    return labels.amax(1) > 0
