"""Training steps as plain scripts do them: the baseline of `benchmark.py train`.

fp32, contiguous, eager, Adam as torch makes it by default, `requires_grad` switched for the player who waits,
one call for every image: the steps of the original pix2pix, CycleGAN, BasicSR and ESRGAN code, written down
once more for the networks of this package, with torch's own layers in them. They share nothing with the
trainer.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from img2img.methods import Method
from img2img.models.norm import BatchNorm, InstanceNorm
from img2img.models.prelu import PReLU
from img2img.types import Batch

Step = Callable[[Batch], None]
Betas = tuple[float, float]


def pix2pix_step(method: Method, rate: float, betas: Betas) -> Step:
    """Returns the step of pix2pix: the discriminator, then the generator."""
    generator, discriminator = _network(method, "generator"), _network(method, "adversary.discriminator")
    of_generator = torch.optim.Adam(generator.parameters(), rate, betas)
    of_discriminator = torch.optim.Adam(discriminator.parameters(), rate, betas)

    def step(batch: Batch) -> None:
        fake = generator(batch.source)
        _learns(discriminator, True)
        of_discriminator.zero_grad()
        of_fake = _cross_entropy(discriminator(torch.cat((batch.source, fake), 1).detach()), 0.0)
        of_real = _cross_entropy(discriminator(torch.cat((batch.source, batch.target), 1)), 1.0)
        ((of_fake + of_real) * 0.5).backward()
        of_discriminator.step()
        _learns(discriminator, False)
        of_generator.zero_grad()
        fooled = _cross_entropy(discriminator(torch.cat((batch.source, fake), 1)), 1.0)
        (fooled + 100.0 * F.l1_loss(fake, batch.target)).backward()
        of_generator.step()

    return step


def cyclegan_step(method: Method, rate: float, betas: Betas) -> Step:
    """Returns the step of CycleGAN: both generators, then both discriminators."""
    a2b, b2a = _network(method, "a2b"), _network(method, "b2a")
    judge_a, judge_b = _network(method, "judge_a.discriminator"), _network(method, "judge_b.discriminator")
    of_generators = torch.optim.Adam([*a2b.parameters(), *b2a.parameters()], rate, betas)
    of_judges = torch.optim.Adam([*judge_a.parameters(), *judge_b.parameters()], rate, betas)
    pools: tuple[list[Tensor], list[Tensor]] = ([], [])

    def judge(discriminator: nn.Module, real: Tensor, fake: Tensor) -> None:
        of_real = F.mse_loss(*_against(discriminator(real), 1.0))
        ((of_real + F.mse_loss(*_against(discriminator(fake.detach()), 0.0))) * 0.5).backward()

    def step(batch: Batch) -> None:
        a, b = batch.source, batch.target
        fake_b = a2b(a)
        back_a = b2a(fake_b)
        fake_a = b2a(b)
        back_b = a2b(fake_a)
        for network in (judge_a, judge_b):
            _learns(network, False)
        of_generators.zero_grad()
        loss = 5.0 * (F.l1_loss(a2b(b), b) + F.l1_loss(b2a(a), a))
        loss = (
            loss + F.mse_loss(*_against(judge_b(fake_b), 1.0)) + F.mse_loss(*_against(judge_a(fake_a), 1.0))
        )
        (loss + 10.0 * (F.l1_loss(back_a, a) + F.l1_loss(back_b, b))).backward()
        of_generators.step()
        for network in (judge_a, judge_b):
            _learns(network, True)
        of_judges.zero_grad()
        judge(judge_b, b, _exchanged(pools[1], fake_b))
        judge(judge_a, a, _exchanged(pools[0], fake_a))
        of_judges.step()

    return step


def pixel_step(method: Method, rate: float, betas: Betas) -> Step:
    """Returns the step of a super-resolution network that learns from L1 alone."""
    generator = _network(method, "generator")
    optimizer = torch.optim.Adam(generator.parameters(), rate, betas)

    def step(batch: Batch) -> None:
        optimizer.zero_grad()
        F.l1_loss(generator(batch.source), batch.target).backward()
        optimizer.step()

    return step


def esrgan_step(method: Method, rate: float, betas: Betas) -> Step:
    """Returns the step of ESRGAN without its perceptual loss: the generator, then the discriminator."""
    generator, discriminator = _network(method, "generator"), _network(method, "adversary.discriminator")
    of_generator = torch.optim.Adam(generator.parameters(), rate, betas)
    of_discriminator = torch.optim.Adam(discriminator.parameters(), rate, betas)

    def relativistic(real: Tensor, fake: Tensor, label: float) -> Tensor:
        of_real = _cross_entropy(real - fake.mean(), label)
        return (of_real + _cross_entropy(fake - real.mean(), 1.0 - label)) / 2

    def step(batch: Batch) -> None:
        _learns(discriminator, False)
        of_generator.zero_grad()
        fake = generator(batch.source)
        real_logits = discriminator(batch.target).detach()
        fooled = relativistic(real_logits, discriminator(fake), 0.0)
        (1e-2 * F.l1_loss(fake, batch.target) + 5e-3 * fooled).backward()
        of_generator.step()
        _learns(discriminator, True)
        of_discriminator.zero_grad()
        relativistic(discriminator(batch.target), discriminator(fake.detach()), 1.0).backward()
        of_discriminator.step()

    return step


def with_plain_layers(network: nn.Module) -> nn.Module:
    """Returns `network` with torch's own layers in place of those of this package that are quicker."""
    for name, layer in network.named_children():
        plain: nn.Module
        if isinstance(layer, InstanceNorm):
            plain = nn.InstanceNorm2d(layer.channels, layer.eps)
        elif isinstance(layer, BatchNorm):
            plain = nn.BatchNorm2d(layer.num_features, layer.eps)
        elif isinstance(layer, PReLU):
            plain = nn.PReLU(layer.num_parameters)
        else:
            with_plain_layers(layer)
            continue
        plain.load_state_dict(layer.state_dict())
        setattr(network, name, plain)
    return network


def _network(method: Method, name: str) -> nn.Module:
    return method.get_submodule(name)


def _learns(network: nn.Module, flag: bool) -> None:
    for parameter in network.parameters():
        parameter.requires_grad_(flag)


def _against(logits: Tensor, label: float) -> tuple[Tensor, Tensor]:
    return logits, torch.full_like(logits, label)


def _cross_entropy(logits: Tensor, label: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(*_against(logits, label))


def _exchanged(pool: list[Tensor], images: Tensor, size: int = 50) -> Tensor:
    """Returns images of earlier steps for half of the new ones, once `size` are there."""
    handed = []
    for image in images.detach().split(1):
        if len(pool) < size:
            pool.append(image)
            handed.append(image)
        elif random.random() > 0.5:
            place = random.randrange(size)
            handed.append(pool[place].clone())
            pool[place] = image
        else:
            handed.append(image)
    return torch.cat(handed)
