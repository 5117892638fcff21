"""AdaIN against its formula, mixtures of styles, and the encoder against the network of its weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from img2img.errors import ConfigError, ModelError
from img2img.losses.vgg import RANDOM, VGG19, VGGFeatures, vgg_weights
from img2img.methods.adain import fill
from img2img.models import AdaIN
from img2img.models.adain import AdaptiveInstanceNorm, Moments, moments
from img2img.types import UNIT


def made() -> AdaIN:
    torch.manual_seed(0)
    generator = AdaIN(**AdaIN.tiny).eval()
    fill(generator, vgg_weights(RANDOM))
    return generator


def test_the_formula() -> None:
    rng = np.random.default_rng(0)
    content, style = rng.normal(2, 3, (2, 4, 5, 6)), rng.normal(-1, 2, (2, 4, 7, 3))

    def of(v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return v.mean((2, 3), keepdims=True), np.sqrt(v.var((2, 3), keepdims=True) + 1e-5)

    (mean, deviation), (wanted_mean, wanted_deviation) = of(content), of(style)
    expected = (content - mean) / deviation * wanted_deviation + wanted_mean
    layer = AdaptiveInstanceNorm(4).double()
    x = torch.from_numpy(content)
    found = layer(x, moments(torch.from_numpy(style)))
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    layer.strength = 0.25
    found = layer(x, moments(torch.from_numpy(style)))
    np.testing.assert_allclose(found, 0.25 * expected + 0.75 * content, rtol=1e-10)


def test_the_networks_have_the_size_of_vgg_up_to_relu4_1() -> None:
    with torch.device("meta"):
        generator = AdaIN()
    count = sum(p.numel() for p in generator.encoder.parameters())
    assert count == 3_505_728 and not any(p.requires_grad for p in generator.encoder.parameters())
    assert [layer.out_channels for layer in generator.decoder if hasattr(layer, "out_channels")] == [
        256, 256, 256, 256, 128, 128, 64, 64,
    ]  # fmt: skip


def test_the_encoder_sees_what_the_network_sees_whose_weights_it_has() -> None:
    """But at the border, where one pads with zeros and the other reflects."""
    generator = made()
    x = torch.rand(2, 3, 64, 48, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = generator.encode(x)
        expected = VGGFeatures(RANDOM, ["conv1_1", "conv4_1"], UNIT, False)(x)
    torch.testing.assert_close(
        found["relu1_1"][..., 1:-1, 1:-1], expected["conv1_1"][..., 1:-1, 1:-1], rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(
        found["relu4_1"][:, :, 4:-4, 3:-3], expected["conv4_1"][:, :, 4:-4, 3:-3], rtol=1e-3, atol=1e-4
    )


def test_a_style_of_its_own_and_no_strength_are_the_same() -> None:
    generator = made()
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        generator.set_style(generator.moments(x))
        own = generator(x)
        generator.set_style(generator.moments(x.flip(1)))
        other = generator(x)
        generator.set_style(generator.moments(x.flip(1)), 0.0)
        torch.testing.assert_close(generator(x), own, rtol=1e-3, atol=1e-4)
    assert (other - own).abs().max() > 1e-4  # fresh decoders are weak


def test_a_mixture_is_the_mixture_of_features() -> None:
    generator = made()
    a, b, x = torch.rand(3, 1, 3, 32, 32, generator=torch.Generator().manual_seed(1)).unbind()
    with torch.no_grad():
        one, two = generator.moments(a), generator.moments(b)
        features = generator.encoder(x)
        expected = 0.7 * generator.adain(features, one) + 0.3 * generator.adain(features, two)
        mixed = Moments(*(0.7 * p + 0.3 * q for p, q in zip(one, two, strict=True)))
        torch.testing.assert_close(generator.adain(features, mixed), expected, rtol=1e-4, atol=1e-5)


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"set method.generator.encoder to vgg16 and .*features to 4"):
        fill(AdaIN(features=4), vgg_weights(RANDOM))
    with torch.device("meta"):
        generator = AdaIN()
    weights = vgg_weights(RANDOM)
    wrong = type(weights)(VGG19, {f"features.{key}": v for key, v in weights.state.items()}, None)
    with pytest.raises(ModelError, match="VGG19"):
        fill(generator, wrong)


def test_grey_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"data\.source_channels=3"):
        AdaIN(in_channels=1)
