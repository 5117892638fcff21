"""OASIS: its losses against their formulas, and what it makes of unknown places and sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from img2img.errors import ConfigError
from img2img.losses.segmentation import (
    class_weights,
    is_class_loss,
    is_made_loss,
    label_mix_loss,
    mixing_mask,
)
from img2img.methods import methods
from img2img.methods.oasis import OASIS
from img2img.types import Batch


def made(**more: object) -> OASIS:
    generator = {"name": "spade_resnet", "features": 2, "downs": 2, "noise": 3, "hidden": 4}
    section = {"name": "oasis", "generator": generator, "discriminator": {"features": 2, "downs": 2}, **more}
    method = methods["oasis"](OASIS.Config.model_validate(section), {"source": 4, "target": 3})
    assert isinstance(method, OASIS)
    return method


def one_hot(count: int, side: int, seed: int, classes: int = 4) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    cells = torch.randint(0, classes, (count, side // 4, side // 4), generator=random)
    numbers = cells.repeat_interleave(4, 1).repeat_interleave(4, 2)
    return F.one_hot(numbers, classes).permute(0, 3, 1, 2).double().contiguous()


def samples(seed: int) -> Batch:
    target = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(seed)).double() * 2 - 1
    return Batch({"source": one_hot(2, 16, seed), "target": target})


# --- losses


def test_the_weights_of_classes_are_the_formula() -> None:
    """alpha_c = pixels / (classes that there are * pixels of c); what has no class counts nothing."""
    labels = one_hot(2, 8, 0, classes=5)
    labels[0, :, :2] = 0
    labels[:, 4] = 0
    numbers, known = labels.argmax(1).numpy(), labels.sum(1).numpy() > 0
    counts = {c: int(((numbers == c) & known).sum()) for c in range(5)}
    present = [c for c, n in counts.items() if n]
    expected = np.zeros(numbers.shape)
    for place in np.ndindex(numbers.shape):
        if known[place]:
            expected[place] = numbers.size / (len(present) * counts[int(numbers[place])])
    np.testing.assert_allclose(class_weights(labels).numpy(), expected)
    assert class_weights(labels).mean().item() == pytest.approx(1)


def test_the_losses_of_the_classes_are_the_formulas() -> None:
    labels, logits = one_hot(2, 8, 1), torch.randn(2, 5, 8, 8, dtype=torch.double)
    shares = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(1, keepdims=True)
    numbers, weights = labels.argmax(1).numpy(), class_weights(labels).numpy()
    terms = np.zeros((3, *numbers.shape))
    for n, y, x in np.ndindex(numbers.shape):
        share = shares[n, 1 + numbers[n, y, x], y, x]
        terms[:, n, y, x] = -np.log([share, share, shares[n, 0, y, x]]) * [weights[n, y, x], 1, 1]
    found = [
        is_class_loss(logits, labels),
        is_class_loss(logits, labels, balanced=False),
        is_made_loss(logits),
    ]
    np.testing.assert_allclose([float(loss) for loss in found], terms.mean((1, 2, 3)))


@pytest.mark.parametrize("missing", [None, 0, 2])
def test_what_has_no_class_teaches_none(missing: int | None) -> None:
    labels = one_hot(1, 8, 1)
    if missing is not None:  # a class that is nowhere in the batch
        labels = F.one_hot(torch.full((1, 8, 8), 2 - missing), 4).permute(0, 3, 1, 2).double()
    labels[..., :4] = 0
    logits = torch.randn(1, 5, 8, 8, dtype=torch.double, requires_grad=True)
    for balanced in (True, False):
        (gradient,) = torch.autograd.grad(is_class_loss(logits, labels, balanced), logits)
        assert not gradient[..., :4].any() and gradient[..., 4:].all()
        assert not is_class_loss(logits, torch.zeros_like(labels), balanced).any()


def test_a_mixing_mask_draws_whole_classes() -> None:
    labels, drawn = one_hot(3, 16, 2, classes=6), []
    numbers = labels.argmax(1, keepdim=True)
    for seed in range(40):
        torch.manual_seed(seed)
        mask = mixing_mask(labels)
        values = [mask[numbers == c].unique() for c in range(6)]
        assert mask.shape == (3, 1, 16, 16) and all(len(value) == 1 for value in values)
        drawn.append([float(value) for value in values])
    assert 0.3 < np.mean(drawn) < 0.7 and len({tuple(row) for row in drawn}) > 15


def test_the_loss_of_a_mixture() -> None:
    mixed, real, fake = (torch.randn(2, 5, 4, 4, dtype=torch.double) for _ in range(3))
    mask = (torch.rand(2, 1, 4, 4) > 0.5).double()
    expected = ((mask * real + (1 - mask) * fake - mixed) ** 2).mean()
    torch.testing.assert_close(label_mix_loss(mixed, real, fake, mask), expected)


# --- the method; its steps against a transcription are a case of tools/parity.py


def test_weights_begin_as_those_of_the_authors() -> None:
    torch.manual_seed(0)
    method = made()
    layer = method.generator.blocks[0].norm1.gamma
    plain = layer.weight
    assert plain.std().item() == pytest.approx(0.02 * (2 / (9 * (4 + 8))) ** 0.5, rel=0.2)
    spectral = method.generator.blocks[0].conv1.parametrizations.weight.original
    assert spectral.abs().max().item() <= (9 * 8) ** -0.5, "as torch makes them"
    convs = [m for m in method.modules() if isinstance(m, nn.Conv2d) and m.bias is not None]
    assert convs and not any(conv.bias.any() for conv in convs)


def test_a_colour_that_stands_for_no_class_is_seen_and_teaches_nothing() -> None:
    torch.manual_seed(0)
    method, batch = made(unknown=1, label_mix=0).double(), samples(0)
    assert batch.source[:, 1].any() and not method._labels(batch.source)[:, 1].any()
    losses: dict[str, Tensor] = {}
    method.step(batch, lambda group, found: losses.update(found))
    known = batch.source.clone()
    known[:, 1] = 0
    logits = method.eval().discriminator(batch.target)
    torch.testing.assert_close(losses["d_real"], is_class_loss(logits, known), rtol=1e-2, atol=0)
    assert batch.source[:, 1].any(), "the batch is left as it is"
    with pytest.raises(ConfigError, match="the places of the 4 classes are 0 to 3"):
        made(unknown=4)


def test_sizes_that_do_not_fit_are_a_sentence() -> None:
    method = made(discriminator={"features": 2, "downs": 3})
    batch = Batch({"source": torch.zeros(1, 4, 12, 16), "target": torch.zeros(1, 3, 12, 16)})
    with pytest.raises(ConfigError, match=r"multiples of 8, these are 16x12.*method\.discriminator\.downs"):
        method.check(batch)


def test_colours_that_count_as_classes_are_said() -> None:
    assert not made().notes
    (note,) = methods["oasis"](methods["oasis"].Config(**OASIS.tiny), {"source": 3, "target": 3}).notes
    assert "one_hot" in note
