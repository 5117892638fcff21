"""Perceptual metrics against the packages of their authors, or formulas written once more in NumPy."""

from __future__ import annotations

import importlib.util
import math
import os
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor, nn

from img2img.errors import ConfigError, ModelError
from img2img.files import file_digest
from img2img.metrics import WeightsMissingError, dists, haarpsi, lpips, metrics, ms_ssim, niqe, ssimulacra2
from img2img.metrics.backbones import BACKBONES
from img2img.metrics.files import WeightFile
from img2img.types import SYMMETRIC, UNIT, ValueRange

DATA = os.environ.get("IMG2IMG_TEST_DATA")


def pair(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(*shape[:2], shape[2] // 8 + 1, shape[3] // 8 + 1, generator=generator)
    a = nn.functional.interpolate(coarse, shape[2:], mode="bilinear")
    return a, (a + 0.1 * torch.randn(shape, generator=generator)).clamp(0, 1)


def quiet(name: str) -> object:
    """Returns a package that warns while it is imported."""
    pytest.importorskip(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


# MS-SSIM


def plain_factors(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Mean luminance x contrast x structure, and mean contrast x structure, of (H, W) arrays."""
    y, x = np.mgrid[-5:6, -5:6]
    weights = np.exp(-(x**2 + y**2) / (2 * 1.5**2))
    weights /= weights.sum()

    def mean(values: np.ndarray) -> np.ndarray:
        return np.einsum("hwij,ij->hw", sliding_window_view(values, (11, 11)), weights)

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b, cov = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2, mean(a * b) - mean_a * mean_b
    contrast = (2 * cov + 0.03**2) / (var_a + var_b + 0.03**2)
    luminance = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
    return float((luminance * contrast).mean()), float(contrast.mean())


def plain_ms_ssim(a: np.ndarray, b: np.ndarray) -> float:
    result = 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        if scale:
            a, b = (np.pad(x, [(0, s % 2) for s in x.shape], mode="edge") for x in (a, b))
            a, b = ((x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4 for x in (a, b))
        whole, contrast = plain_factors(a, b)
        result *= max(0.0, whole if scale == 4 else contrast) ** weight
    return result


def test_ms_ssim_is_the_formula_in_colour_and_at_odd_sizes() -> None:
    a, b = pair(1, 2, 161, 174)
    expected = [plain_ms_ssim(*(x[0, c].double().numpy() for x in (a, b))) for c in range(2)]
    assert ms_ssim(a, b, UNIT).item() == pytest.approx(np.mean(expected), abs=1e-10)


@pytest.mark.slow
def test_ms_ssim_is_piq_on_grey_pictures_of_even_sides() -> None:
    piq = quiet("piq")
    a, b = (x.double() for x in pair(2, 1, 176, 192))
    found = piq.multi_scale_ssim(a, b, data_range=1.0, reduction="none")
    assert ms_ssim(a, b, UNIT).tolist() == pytest.approx(found.tolist(), abs=1e-6)


# HaarPSI, SSIMULACRA 2


def plain_haarpsi(a: np.ndarray, b: np.ndarray) -> float:
    """HaarPSI of two (1 or 3, H, W) arrays of even sides in [0, 255], as the authors' program has it."""
    yiq = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])

    def same(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        size = len(kernel)
        padded = np.pad(x, ((size - 1) // 2, size // 2))  # what MATLAB's conv2(..., "same") keeps
        return np.einsum("hwij,ij->hw", sliding_window_view(padded, (size, size)), kernel[::-1, ::-1])

    def halved(x: np.ndarray) -> np.ndarray:
        return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4

    def wavelets(y: np.ndarray) -> np.ndarray:
        found = []
        for scale in (1, 2, 3):
            kernel = np.full((2**scale, 2**scale), 2.0**-scale)
            kernel[: len(kernel) // 2] *= -1
            found.append([same(y, kernel), same(y, kernel.T)])
        return np.abs(np.array(found))  # (3, 2, H, W)

    def similarity(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (2 * x * y + 30) / (x**2 + y**2 + 30)

    a, b = (halved(np.einsum("ij,jhw->ihw", yiq, x) if len(x) == 3 else x) for x in (a, b))
    one, two = wavelets(a[0]), wavelets(b[0])
    maps = [similarity(one[:2, side], two[:2, side]).mean(0) for side in (0, 1)]
    weights = [np.maximum(one[2, side], two[2, side]) for side in (0, 1)]
    if len(a) == 3:
        box = np.full((2, 2), 0.25)
        chroma = [np.abs(np.array([same(x[i], box) for i in (1, 2)])) for x in (a, b)]
        maps.append(similarity(*chroma).mean(0))
        weights.append((weights[0] + weights[1]) / 2)
    score = sum(float((w / (1 + np.exp(-4.2 * m))).sum()) for m, w in zip(maps, weights, strict=True))
    score /= sum(float(w.sum()) for w in weights)
    return (math.log(score / (1 - score)) / 4.2) ** 2


@pytest.mark.slow
def test_haarpsi_is_about_piq() -> None:
    """Which has other digits in the weights of YIQ."""
    piq = quiet("piq")
    a, b = (x.double() for x in pair(2, 3, 47, 64))
    assert haarpsi(a, b, UNIT).tolist() == pytest.approx(piq.haarpsi(a, b, "none").tolist(), abs=1e-3)


def test_haarpsi_is_the_formula() -> None:
    a, b = (x.double() for x in pair(2, 3, 48, 64))
    for one, other in ((a, b), (a[:, :1], b[:, :1])):
        both = zip(one.numpy() * 255, other.numpy() * 255, strict=True)
        expected = [plain_haarpsi(x, y) for x, y in both]
        assert haarpsi(one, other, UNIT).tolist() == pytest.approx(expected, abs=1e-10)
    black = torch.zeros(1, 3, 16, 16)
    assert haarpsi(black, black, UNIT).item() == 1 > haarpsi(black, black + 1, UNIT).item()


@pytest.mark.slow
def test_ssimulacra2_is_the_number_of_its_package_for_files(tmp_path: Path) -> None:
    package = pytest.importorskip("ssimulacra2")
    from img2img.image import Image, write_image

    a, b = pair(1, 3, 40, 57)
    for name, x in (("made", a), ("original", b)):
        levels = (x[0].double() * 255).round().byte().permute(1, 2, 0).numpy()
        write_image(Image(np.ascontiguousarray(levels)), tmp_path / f"{name}.png")
    expected = package.compute_ssimulacra2(str(tmp_path / "original.png"), str(tmp_path / "made.png"))
    assert ssimulacra2(a, b, UNIT).item() == pytest.approx(expected, abs=1e-12)
    assert ssimulacra2(a, a, UNIT).item() == 100


# networks


def random_weights(path: Path, name: str) -> Path:
    """Writes weights that nobody trained, with torchvision's names."""
    features = nn.Sequential(*BACKBONES[name].layers())
    generator = torch.Generator().manual_seed(1)
    for parameter in features.parameters():
        fan = max(1, parameter[0].numel()) if parameter.ndim > 1 else 100
        parameter.data.normal_(0, (2 / fan) ** 0.5, generator=generator)
    torch.save({f"features.{key}": value for key, value in features.state_dict().items()}, path)
    return path


@pytest.fixture(scope="module")
def squeeze(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_weights(tmp_path_factory.mktemp("weights") / "squeeze.pth", "squeeze")


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_lpips_is_the_package_of_its_authors(name: str, tmp_path: Path) -> None:
    package = quiet("lpips")
    weights = random_weights(tmp_path / "weights.pth", name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = package.LPIPS(net=name, pnet_rand=True, verbose=False)
    state = torch.load(weights, weights_only=True)
    for place, layer in theirs.net.named_modules():
        if place.rpartition(".")[2].isdecimal() and f"features.{place.partition('.')[2]}.weight" in state:
            layer.weight.data = state[f"features.{place.partition('.')[2]}.weight"]
            layer.bias.data = state[f"features.{place.partition('.')[2]}.bias"]
    if name == "squeeze":
        inner = {f"features.{key.partition('.')[2]}": key for key in theirs.net.state_dict()}
        theirs.net.load_state_dict({key: state[whole] for whole, key in inner.items()})
    a, b = pair(2, 3, 64, 72)
    expected = theirs(a, b, normalize=True).flatten().tolist()
    found = lpips(a, b, UNIT, backbone=name, weights=weights)  # type: ignore[arg-type]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
def test_dists_is_torchmetrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = pytest.importorskip("torchmetrics.functional.image.dists")
    weights = random_weights(tmp_path / "weights.pth", "vgg")
    state = {key.partition(".")[2]: value for key, value in torch.load(weights, weights_only=True).items()}
    vgg = importlib.import_module("torchvision.models.vgg")

    def random_vgg(weights: object) -> nn.Module:
        holder = nn.Module()
        holder.features = vgg.make_layers(vgg.cfgs["D"])
        holder.features.load_state_dict(state)
        return holder

    monkeypatch.setattr(module, "vgg16", random_vgg)
    theirs = module.DISTSNetwork().eval()
    a, b = pair(2, 3, 64, 72)
    assert dists(a, b, UNIT, weights=weights).tolist() == pytest.approx(theirs(a, b).tolist(), abs=1e-5)
    assert dists(a, a, UNIT, weights=weights).tolist() == pytest.approx([0, 0], abs=1e-12)


def test_lpips_of_equal_grey_and_small_pictures(squeeze: Path) -> None:
    if importlib.util.find_spec("torchmetrics") is None:
        pytest.skip("torchmetrics, which brings the weights of the channels, is not installed")
    measure = partial(lpips, backbone="squeeze", weights=squeeze)
    a, b = pair(1, 3, 17, 23)
    assert measure(a, a, UNIT).item() == 0 < measure(a, b, UNIT).item()
    assert measure(a * 2 - 1, b * 2 - 1, SYMMETRIC).item() == pytest.approx(
        measure(a, b, UNIT).item(), rel=1e-5
    )
    grey, other = a[:, :1], b[:, :1]
    assert torch.equal(
        measure(grey, other, UNIT), measure(grey.expand(-1, 3, -1, -1), other.expand(-1, 3, -1, -1), UNIT)
    )
    with pytest.raises(ValueError, match="at least 17x17 pixels, not 23x16"):
        measure(a[..., :16, :], b[..., :16, :], UNIT)
    with pytest.raises(ValueError, match="grey or RGB pictures, not 2 channels"):
        measure(a[:, :2], b[:, :2], UNIT)
    with pytest.raises(ConfigError, match="did you mean 'squeeze'"):
        lpips(a, b, UNIT, backbone="squeez")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", BACKBONES)
def test_the_smallest_size_is_the_smallest_that_the_network_takes(name: str) -> None:
    kind = BACKBONES[name]
    features = nn.Sequential(*kind.layers())
    features(torch.zeros(1, 3, kind.smallest, kind.smallest))
    with pytest.raises(RuntimeError):
        features(torch.zeros(1, 3, kind.smallest - 1, kind.smallest - 1))


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_the_networks_are_torchvision(name: str) -> None:
    models = importlib.import_module("torchvision.models")
    usual = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}[name]
    with torch.device("meta"):
        theirs = getattr(models, usual)(weights=None).features[: BACKBONES[name].ends[-1]]
        ours = nn.Sequential(*BACKBONES[name].layers())
    state = {key: torch.randn(value.shape) / 20 for key, value in theirs.state_dict().items()}
    for network in (ours, theirs):
        network.load_state_dict(state, assign=True)
    x = torch.randn(1, 3, 67, 80)
    assert torch.equal(ours(x), theirs(x))


# NIQE


@pytest.fixture
def parameters() -> Path:
    path = Path(DATA or "", "data/weights/niqe/niqe_pris_params.npz")
    if not DATA or not path.is_file():
        pytest.skip("IMG2IMG_TEST_DATA has no parameters of NIQE")
    return path


def plain_niqe(levels: np.ndarray, file: Path) -> float:
    """NIQE of Y (H, W) in whole levels, written from the paper with SciPy."""
    from scipy.ndimage import convolve
    from scipy.special import gamma

    from img2img.image.resize import resize

    shapes = np.arange(0.2, 10.001, 0.001)
    ratios = gamma(2 / shapes) ** 2 / (gamma(1 / shapes) * gamma(3 / shapes))

    def fit(values: np.ndarray) -> tuple[float, float, float]:
        left, right = (np.sqrt((values[side] ** 2).mean()) for side in (values < 0, values > 0))
        g = left / right
        r = np.abs(values).mean() ** 2 / (values**2).mean() * (g**3 + 1) * (g + 1) / (g**2 + 1) ** 2
        alpha = shapes[((ratios - r) ** 2).argmin()]
        spread = np.sqrt(gamma(1 / alpha) / gamma(3 / alpha))
        return alpha, left * spread, right * spread

    def describe(block: np.ndarray) -> list[float]:
        alpha, left, right = fit(block)
        found = [alpha, (left + right) / 2]
        for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
            alpha, left, right = fit(block * np.roll(block, shift, (0, 1)))
            found += [alpha, (right - left) * gamma(2 / alpha) / gamma(1 / alpha), left, right]
        return found

    model = np.load(file)
    rows, columns = levels.shape[0] // 96, levels.shape[1] // 96
    levels = levels[: rows * 96, : columns * 96].astype(np.float64)
    features = []
    for side in (96, 48):
        mean = convolve(levels, model["gaussian_window"], mode="nearest")
        square = convolve(levels**2, model["gaussian_window"], mode="nearest")
        flat = (levels - mean) / (np.sqrt(np.abs(square - mean**2)) + 1)
        features.append(
            [
                describe(flat[r * side : (r + 1) * side, c * side : (c + 1) * side])
                for r in range(rows)
                for c in range(columns)
            ]
        )
        half = resize((levels / 255).astype(np.float32)[..., None], rows * 48, columns * 48)
        levels = half[..., 0].astype(np.float64) * 255
    both = np.concatenate(features, axis=1)
    d = model["mu_pris_param"].ravel() - both.mean(0)
    return float(np.sqrt(d @ np.linalg.pinv((model["cov_pris_param"] + np.cov(both.T)) / 2) @ d))


def test_niqe_is_the_formula(parameters: Path) -> None:
    pytest.importorskip("scipy")
    a, b = pair(2, 1, 200, 300)
    for x in (a, b):
        expected = [plain_niqe((each[0] * 255).round().numpy(), parameters) for each in x]
        # each shape is the nearest of a table in steps of 0.001: other roundings may choose the next one
        assert niqe(x, UNIT, parameters=parameters).tolist() == pytest.approx(expected, abs=2e-3)


def test_niqe_takes_what_it_can_look_at(parameters: Path) -> None:
    a, _ = pair(1, 3, 96, 192)
    found = niqe(a, UNIT, parameters=parameters)
    assert found.shape == (1,) and 0 < found.item() < 100
    assert torch.allclose(niqe(a * 255, ValueRange(0, 255), parameters=parameters), found)
    with pytest.raises(ValueError, match="two blocks of 96x96 pixels or more, not 191x96"):
        niqe(a[..., :191], UNIT, parameters=parameters)
    with pytest.raises(ValueError, match="not flat"):
        niqe(torch.zeros(1, 1, 96, 192), UNIT, parameters=parameters)


# what is missing


def test_without_its_weights_a_metric_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("IMG2IMG_WEIGHTS_DIR", str(tmp_path / "mine"))
    a, _ = pair(1, 3, 64, 64)
    for name in ("lpips_alex", "lpips_vgg", "dists"):
        with pytest.raises(
            WeightsMissingError, match=r"not at hand.*allow the download of \d+ MiB from https://"
        ):
            metrics[name].measure(a, a, UNIT)
        with pytest.raises(WeightsMissingError, match="IMG2IMG_WEIGHTS_DIR"):
            metrics[name].prepare()
    for name in ("psnr", "ssim", "ms_ssim", "l1"):
        metrics[name].prepare()


def test_another_file_does_not_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("IMG2IMG_WEIGHTS_DIR", str(tmp_path))
    file = WeightFile("w.pth", "12345678", "https://example.org/w.pth", "1 MiB", "a network")
    (tmp_path / "w.pth").write_bytes(b"other weights")
    with pytest.raises(
        WeightsMissingError, match=r"w\.pth is not the file .* that of the right one with 12345678"
    ):
        file.find()
    assert file.checksum() == ""
    digest = "0d6ae1d3"
    right = WeightFile("w.pth", _digest(tmp_path / "w.pth")[:8], file.url, "1 MiB", "a network")
    assert right.find() == tmp_path / "w.pth" and right.checksum().startswith(right.sha256) and digest


def _digest(path: Path) -> str:

    return file_digest(path)


def test_files_of_other_things_are_refused(squeeze: Path, tmp_path: Path) -> None:
    a, _ = pair(1, 3, 32, 32)
    text = tmp_path / "notes.pth"
    text.write_text("no weights")
    measure: Callable[..., Tensor] = partial(lpips, a, a, UNIT)
    with pytest.raises(ModelError, match="cannot be read as the weights of AlexNet"):
        measure(weights=text)
    with pytest.raises(ModelError, match="does not hold the weights of AlexNet"):
        measure(weights=squeeze)
    with pytest.raises(ModelError, match="does not hold the weights of LPIPS on SqueezeNet"):
        measure(backbone="squeeze", weights=squeeze, heads=squeeze)
    with pytest.raises(ModelError, match="cannot be read as the parameters of NIQE"):
        niqe(pair(1, 1, 96, 192)[0], UNIT, parameters=text)
