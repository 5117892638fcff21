"""Transparency by one rule: use feeds what training fed, and what is hidden reaches no result."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from fakes import Enlarge

from img2img.checkpoint import ModelInfo, save_model
from img2img.cli.main import cli
from img2img.data.pictures import Recipe
from img2img.image import Image, read_image, white_of, write_image
from img2img.image.alpha import over_white
from img2img.image.resize import resize
from img2img.inference import Translator, load_model
from img2img.models import Resnet, UNet

DTYPES = [np.uint8, np.uint16, np.float32]
OWN, LIKE = ModelInfo("own"), ModelInfo()


class Spy(Enlarge):
    """Keeps what it sees, in levels of 8 bits."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        low, high = self.input_range
        self.fed = ((x - low) * (255 / (high - low))).permute(0, 2, 3, 1).numpy()
        return super().forward(x)


def sprite(dtype=np.uint8, channels=3, hidden: float | None = None, height=19, width=23) -> Image:
    """A soft disc of random colours; around it the colour `hidden`, or anything."""
    stream = np.random.default_rng(channels)
    white = white_of(np.dtype(dtype))
    y, x = np.mgrid[:height, :width]
    opacity = np.clip(8 - np.hypot(y - 9, x - 10), 0, 2) / 2
    alpha = (opacity * white).astype(dtype)
    pixels = (stream.random((height, width, channels)) * white).astype(dtype)
    if hidden is not None:
        pixels[alpha == 0] = hidden
    return Image(pixels, alpha)


def model(inputs: int, outputs: int, info: ModelInfo = OWN, **options) -> Translator:
    torch.manual_seed(0)
    network = Resnet(inputs, outputs, features=4, blocks=1)
    return Translator(network, info, device="cpu", precision="fp32", **options)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", ["native", 16])
@pytest.mark.sampled(6)
def test_translation_sees_a_transparent_picture_on_white(dtype, channels, size):
    image = sprite(dtype, channels)
    clear, flat = model(3, 3, size=size)([image, over_white(image)])
    np.testing.assert_array_equal(clear.pixels, flat.pixels)
    np.testing.assert_array_equal(clear.alpha, image.alpha)
    assert flat.alpha is None


@pytest.mark.parametrize("taken", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [None, (16, 12)])
@pytest.mark.parametrize("kind", ["grey", "grey and alpha", "colour", "colour and alpha"])
@pytest.mark.sampled(10)
def test_use_feeds_what_training_fed(taken, size, kind):
    image = sprite(channels=1 if kind.startswith("grey") else 3)
    if not kind.endswith("alpha"):
        image = image.replace(alpha=None)
    if size is not None:
        size = (16, 16)
    trained = Recipe(size=size, channels=taken)(image, Path("a.png"))
    spy = Spy(taken, scale=1, outputs=3)
    Translator(spy, OWN, device="cpu", precision="fp32", size="native" if size is None else 16)([image])
    np.testing.assert_allclose(spy.fed[0], trained, atol=1e-3)
    if taken in (2, 4) and size is None:
        expected = np.full(image.pixels.shape[:2], 255) if image.alpha is None else image.alpha
        np.testing.assert_array_equal(np.rint(spy.fed[0, ..., -1]), expected)


def test_bands_that_are_not_alpha_pass_as_they_are():
    stream = np.random.default_rng(0)
    for bands in (2, 4):
        pixels = stream.integers(0, 256, (9, 8, bands), np.uint8)
        spy = Spy(bands, scale=1)
        (made,) = Translator(spy, OWN, device="cpu", precision="fp32")([Image(pixels)])
        np.testing.assert_array_equal(made.pixels, pixels)
        assert made.alpha is None
        np.testing.assert_array_equal(np.rint(spy.fed[0]), Recipe(channels=bands)(Image(pixels), Path("a")))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("info", [OWN, LIKE], ids=["own", "like input"])
@pytest.mark.parametrize(("inputs", "outputs"), [(3, 3), (4, 3), (3, 4), (4, 4), (1, 1), (2, 2), (2, 1)])
@pytest.mark.sampled(4)
def test_what_is_hidden_reaches_no_result(dtype, info, inputs, outputs):
    white = white_of(np.dtype(dtype))
    hidden = (0, white, np.nan if dtype == np.float32 else white // 2)
    for channels, alpha in itertools.product((1, 3), ("model", "drop")):
        translator = model(inputs, outputs, info, alpha=alpha)
        first, *others = translator([sprite(dtype, channels, colour) for colour in hidden])
        assert np.isfinite(first.pixels).all()
        assert (first.alpha is None) == (alpha == "drop")
        for other in others:
            np.testing.assert_array_equal(other.pixels, first.pixels)
            np.testing.assert_array_equal(other.alpha, first.alpha)


def test_what_was_dropped_lay_on_white():
    for image, info in itertools.product((sprite(), sprite(channels=1)), (OWN, LIKE)):
        translator = Translator(Enlarge(3, scale=1), info, device="cpu", precision="fp32", alpha="drop")
        (made,) = translator([image])
        assert made.alpha is None
        expected = over_white(image).pixels
        np.testing.assert_array_equal(made.pixels, np.broadcast_to(expected, made.pixels.shape))
    (rgba,) = Translator(Enlarge(4, scale=1), OWN, device="cpu", precision="fp32", alpha="drop")([sprite()])
    np.testing.assert_array_equal(rgba.pixels, over_white(sprite()).pixels)


def test_alpha_that_a_model_makes():
    """Its own stays, also for opaque pictures; a result like its input is as opaque as that."""
    opaque = sprite().replace(alpha=None)
    (own,) = model(3, 4)([opaque])
    assert own.alpha is not None and own.channels == 3 and np.ptp(own.alpha) > 0
    (like,) = model(4, 4, LIKE)([opaque])
    assert like.alpha is None and like.channels == 3
    (grey,) = model(4, 4, LIKE)([sprite(channels=1)])
    assert grey.alpha is not None and grey.channels == 1
    (two,) = model(2, 2)([sprite(channels=1)])
    assert two.alpha is not None and two.channels == 1
    (array,) = [model(3, 4)(opaque.pixels)]
    assert array.shape == (19, 23, 4)


def test_a_soft_edge_enlarged_by_the_shipped_model_has_no_rim():
    """A dark drawing on nothing, with white hidden around it, is as dark over black as it was."""
    side, scale = 40, 4
    y, x = (np.mgrid[: side * scale, : side * scale] + 0.5) / scale
    large = np.clip((14 - np.hypot(y - 20, x - 20)) * scale + 0.5, 0, 1).astype(np.float32)
    alpha = np.rint(resize(large[..., None], side, side)[..., 0].clip(0, 1) * 255).astype(np.uint8)
    for dark, hidden in ((30, 255), (225, 0)):
        pixels = np.where(alpha[..., None] > 0, dark, hidden).repeat(3, 2).astype(np.uint8)
        (made,) = load_model("x4", device="cpu", precision="fp32")([Image(pixels, alpha)])
        assert made.alpha is not None
        for behind in (0, 255):
            share = made.alpha[..., None] / 255
            seen = made.pixels * share + behind * (1 - share)
            truth = dark * large[..., None] + behind * (1 - large[..., None])
            low, high = sorted((dark, behind))
            assert seen.min() >= low - 3 and seen.max() <= high + 3, "a rim of another colour"
            assert np.abs(seen - truth).mean() < 2


def test_transparent_labels_are_white_and_foreign_colours_are_told(tmp_path):
    palette = ((0, 0, 0), (255, 0, 0), (255, 255, 255))
    network = UNet(in_channels=3, **UNet.tiny)
    save_model(tmp_path / "m.safetensors", network, ModelInfo("own", 16, {}, palette, True))
    translator = load_model(tmp_path / "m.safetensors", device="cpu", precision="fp32")
    stream = np.random.default_rng(0)
    labels = np.asarray(palette, np.uint8)[stream.integers(0, 3, (16, 16))]
    alpha = np.full((16, 16), 255, np.uint8)
    alpha[:5] = 0
    white = np.where(alpha[..., None] > 0, labels, 255).astype(np.uint8)
    clear, flat = translator([Image(labels, alpha), Image(white)])
    np.testing.assert_array_equal(clear.pixels, flat.pixels)
    assert clear.warnings == flat.warnings == () and clear.alpha is None
    np.testing.assert_array_equal(translator(np.dstack((labels, alpha))), flat.pixels)
    strange = labels.copy()
    strange[:4] = (3, 200, 9)
    (made,) = translator([Image(strange)])
    assert len(made.warnings) == 1 and "25.0% of the pixels" in made.warnings[0]


def test_labels_with_alpha_of_their_own_mix_nothing():
    image = sprite(channels=3)
    pixels = Recipe(size=(11, 12), channels=4, method="nearest")(image, Path("a.png"))
    assert (pixels[pixels[..., 3] == 0] == (255, 255, 255, 0)).all()
    spy = Spy(4, scale=1, outputs=3)
    Translator(spy, ModelInfo("own", nearest=True), device="cpu", precision="fp32", size=11)([image])
    trained = Recipe(size=(11, 11), channels=4, method="nearest")(image, Path("a.png"))
    np.testing.assert_array_equal(np.rint(spy.fed[0]), trained)


@pytest.mark.parametrize(("source", "target"), [(4, 3), (4, 4), (None, 4), (2, 1)])
@pytest.mark.sampled(2)
def test_models_with_alpha_are_trained_and_used(tmp_path, source, target):
    for number in range(4):
        for folder in "AB":
            clear = (folder == "A" and source) or (folder == "B" and target in (2, 4))
            image = sprite(channels=1 if source == 2 else 3, height=32, width=32)
            image = image.replace(pixels=np.roll(image.pixels, number + ord(folder), 0))
            (tmp_path / folder).mkdir(exist_ok=True)
            write_image(image if clear else image.replace(alpha=None), tmp_path / folder / f"{number}.png")
    channels = [f"--set=target_channels={target}"]
    channels += [f"--set=source_channels={source}"] if source else []
    pair = ["--paired", str(tmp_path / "A"), str(tmp_path / "B")]
    command = ["train", "smoke_pix2pix", *pair, "-o", str(tmp_path / "run"), "--precision", "fp32"]
    steps = ["--set", "training.steps=1", "--set", "load_size=32", "--set", "crop_size=32"]
    result = CliRunner().invoke(cli, [*command, *steps, *channels])
    assert result.exit_code == 0, result.output
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for name, image in {
        "clear.png": sprite(height=40, width=48),
        "deep.png": sprite(np.uint16),
        "grey.png": sprite(channels=1).replace(alpha=None),
        "grey_clear.png": sprite(channels=1),
        "opaque.png": sprite().replace(alpha=None),
        "photo.jpg": sprite().replace(alpha=None),
    }.items():
        write_image(image, mixed / name)
    model = next((tmp_path / "run").glob("last*.safetensors"))
    result = CliRunner().invoke(cli, ["translate", str(mixed), "-o", str(tmp_path / "out"), "-m", str(model)])
    assert result.exit_code == 0 and "6 done" in result.output, result.output
    for path in mixed.iterdir():
        before = read_image(path)
        made = tmp_path / "out" / (path.name + ".png" if target == 4 and path.suffix == ".jpg" else path.name)
        after = read_image(made)
        assert after.pixels.dtype == before.pixels.dtype
        assert (after.height, after.width) == (before.height, before.width)
        assert (after.alpha is not None) == (before.alpha is not None or target == 4), path.name


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.sampled(1)
def test_an_enlarged_mask_has_no_holes_in_the_opaque_and_no_specks_in_the_clear(dtype):
    """A network rings beside the hard edges of a mask: what is far from an edge stays what it was."""
    white = white_of(np.dtype(dtype))
    alpha = np.zeros((24, 24), dtype)
    alpha[8:, 8:] = white
    alpha[4:7, 4] = white * 0.25  # a faint stroke stays faint
    image = Image(np.full((24, 24, 3), white, dtype), alpha)
    (result,) = load_model("x4", device="cpu", precision="fp32", scale=4)([image])
    enlarged = result.alpha
    assert enlarged is not None and enlarged.dtype == dtype
    assert (enlarged[36:, 36:] == white).all()
    assert (enlarged[:12] == 0).all() and (enlarged[:, :12] == 0).all()
    assert enlarged[:24, :24].max() <= white * 0.25
    assert 0 < enlarged[30:34, 60:].mean() < white  # the edge itself is the model's
