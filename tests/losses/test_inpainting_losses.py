"""The terms of the inpainting loss against sums written out in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models.vgg import cfgs, make_layers

from img2img.losses.inpainting import LAYERS, FeatureTerms, composite, gram, masked_l1, total_variation
from img2img.losses.vgg import VGG16, VGGFeatures
from img2img.types import UNIT


@pytest.fixture
def pictures() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    mask = torch.zeros(2, 1, 24, 17)
    mask[0, :, 3:9, :5], mask[1, :, 20:, 9:12] = 1, 1
    return torch.rand(2, 3, 24, 17), torch.rand(2, 3, 24, 17), mask


def arrays(*tensors: torch.Tensor) -> list[np.ndarray]:
    return [tensor.double().numpy() for tensor in tensors]


def test_the_composite_is_exact_where_the_picture_is_known(pictures):
    output, truth, mask = pictures
    filled = composite(output, truth, mask)
    hole = mask.expand_as(truth) > 0
    assert torch.equal(filled[~hole], truth[~hole]) and torch.equal(filled[hole], output[hole])


def test_l1_in_holes_and_outside(pictures):
    output, truth, mask = arrays(*pictures)
    total = {0.0: 0.0, 1.0: 0.0}
    for n, c, y, x in np.ndindex(truth.shape):
        total[mask[n, 0, y, x]] += abs(output[n, c, y, x] - truth[n, c, y, x])
    hole, known = masked_l1(*pictures)
    assert hole.item() == pytest.approx(total[1.0] / truth.size, rel=1e-5)
    assert known.item() == pytest.approx(total[0.0] / truth.size, rel=1e-5)


def test_total_variation_of_pairs_within_the_widened_hole(pictures):
    picture, _, mask = arrays(*pictures)
    count, _, height, width = picture.shape
    region = np.zeros((count, height, width), bool)
    for n, _, y, x in np.argwhere(mask):
        region[n, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = True
    total = 0.0
    for n, c, y, x in np.ndindex(picture.shape):
        for dy, dx in ((0, 1), (1, 0)):
            if y + dy < height and x + dx < width and region[n, y, x] and region[n, y + dy, x + dx]:
                total += abs(picture[n, c, y + dy, x + dx] - picture[n, c, y, x])
    found = total_variation(pictures[0], pictures[2])
    assert found.item() == pytest.approx(total / picture.size, rel=1e-5)


def test_without_holes_only_the_known_part_counts(pictures):
    output, truth, mask = pictures
    hole, known = masked_l1(output, truth, 0 * mask)
    assert hole == 0 and known == pytest.approx((output - truth).abs().mean().item())
    assert total_variation(output, 0 * mask) == 0


def test_gram_is_the_product_over_all_values():
    features = torch.randn(2, 5, 4, 3)
    rows = features.double().numpy().reshape(2, 5, 12)
    expected = np.einsum("nik,njk->nij", rows, rows) / (5 * 4 * 3)
    np.testing.assert_allclose(gram(features).numpy(), expected, rtol=1e-5, atol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(gram(features), gram(features))
        np.testing.assert_allclose(gram(features).numpy(), expected, rtol=1e-5, atol=1e-6)


def vgg16() -> nn.Sequential:
    """Its first three blocks with weights that keep the size of the values."""
    torch.manual_seed(1)
    stages = make_layers(cfgs["D"])[:17]
    for stage in stages:
        if isinstance(stage, nn.Conv2d):
            nn.init.kaiming_normal_(stage.weight)
    return stages.requires_grad_(False)


def test_feature_terms_against_torchvision(pictures, tmp_path):
    output, truth, mask = pictures
    torch.save(vgg16().state_dict(), tmp_path / "vgg16.pth")
    terms = FeatureTerms(VGGFeatures(VGG16, LAYERS, UNIT, weights=tmp_path / "vgg16.pth"))

    reference = vgg16().double()
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    def features(x):
        x = (x.double() - mean) / deviation
        for first, last in ((0, 5), (5, 10), (10, 17)):
            x = reference[first:last](x)
            yield x.numpy()

    filled = torch.where(mask > 0, output, truth)
    perceptual = style = 0.0
    for picture in (output, filled):
        for a, b in zip(features(picture), features(truth), strict=True):
            perceptual += np.abs(a - b).mean()
            size = a[0].size
            grams = [np.einsum("nihw,njhw->nij", v, v) / size for v in (a, b)]
            style += np.abs(grams[0] - grams[1]).mean()
    found = terms(output.requires_grad_(), truth, mask)
    assert found[0].item() == pytest.approx(perceptual, rel=1e-4)
    assert found[1].item() == pytest.approx(style, rel=1e-4)
    (found[0] + found[1]).backward()
    assert output.grad is not None and output.grad.isfinite().all() and output.grad.abs().sum() > 0
    assert [term.item() for term in terms(truth, truth, mask)] == [0, 0]
