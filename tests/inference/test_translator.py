"""Pictures of any size, depth and kind go through and come out as they were."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from fakes import Enlarge

from img2img.checkpoint import ModelInfo, save_model
from img2img.errors import ConfigError, ProcessingError, UnknownModelError
from img2img.image import Image
from img2img.inference import Translator, load_model
from img2img.models import Compact, Generator, Resnet, RRDBNet

DTYPES = [np.uint8, np.uint16, np.float32]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def picture(rng, shape, dtype=np.uint8):
    values = rng.random(shape, np.float32)
    return values if dtype == np.float32 else (values * np.iinfo(dtype).max).round().astype(dtype)


def enlarged(pixels, scale=2):
    return pixels.repeat(scale, 0).repeat(scale, 1)


def compact(**arguments):
    torch.manual_seed(0)
    return Compact(**({"features": 8, "convs": 4, "scale": 4} | arguments))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 7, 3), (1, 30, 3), (5, 7, 1), (5, 7), (5, 7, 4), (5, 7, 2)])
@pytest.mark.sampled(9)
def test_arrays_keep_their_kind(rng, dtype, shape):
    pixels = picture(rng, shape, dtype)
    result = Translator(Enlarge(), device="cpu", precision="fp32", alpha="bicubic")(pixels)
    assert result.dtype == dtype
    assert result.shape == (2 * shape[0], 2 * shape[1], *shape[2:])
    colours = slice(None) if len(shape) == 2 else slice(0, {2: 1, 4: 3}.get(shape[2], shape[2]))
    if len(shape) == 2:
        np.testing.assert_allclose(result, enlarged(pixels), rtol=1e-6)
    elif shape[2] in (1, 3):
        np.testing.assert_allclose(result[..., colours], enlarged(pixels)[..., colours], rtol=1e-6)


@pytest.mark.parametrize(
    "wrong", [np.zeros((3, 3, 3), np.int32), np.zeros((0, 3, 3), np.uint8), np.zeros(3, np.uint8)]
)
def test_arrays_that_are_no_pictures(wrong):
    with pytest.raises(ValueError, match="a picture is an array"):
        Translator(Enlarge(), device="cpu")(wrong)


def test_images_of_all_kinds_in_one_call_keep_order_and_metadata(rng):
    images = [
        Image(picture(rng, (4, 4, 3)), icc=b"rgb", exif=b"II*\0"),
        Image(picture(rng, (2, 3, 1), np.uint16), icc=b"grey"),
        Image(picture(rng, (4, 4, 3)), picture(rng, (4, 4))),
        Image(picture(rng, (4, 4, 3)), warnings=("before",)),
    ]
    results = Translator(Enlarge(), device="cpu", alpha="bicubic")(images)
    assert [r.pixels.shape for r in results] == [(8, 8, 3), (4, 6, 1), (8, 8, 3), (8, 8, 3)]
    assert (results[0].icc, results[0].exif, results[1].icc) == (b"rgb", b"II*\0", b"grey")
    assert results[2].alpha is not None and results[2].alpha.shape == (8, 8)
    assert results[3].warnings == ("before",) and results[3].alpha is None
    for image, result in zip(images, results, strict=True):
        if image.alpha is None:
            np.testing.assert_array_equal(result.pixels, enlarged(image.pixels))


def test_small_images_share_a_call_and_large_ones_do_not(rng):
    generator = Enlarge()
    translator = Translator(generator, device="cpu", precision="fp32")
    images = [Image(picture(rng, (8, 8, 3))) for _ in range(5)]
    translator(images)
    assert generator.seen == [(5, 3, 8, 8)]
    assert len({translator.group_key(image) for image in images}) == 1
    assert translator.group_key(images[0]) != translator.group_key(Image(picture(rng, (8, 8, 1))))
    assert translator.group_key(images[0]) != translator.group_key(Image(picture(rng, (8, 8, 3), np.uint16)))
    assert translator.group_key(Image(np.zeros((4000, 4000, 3), np.uint8))) is None


def test_grey_through_a_colour_model_is_the_mean_of_what_it_makes(rng):
    generator = compact()
    grey = picture(rng, (6, 5, 1), np.float32)
    translator = Translator(generator, device="cpu", precision="fp32")
    own = Translator(generator, ModelInfo("own"), device="cpu", precision="fp32")
    made = own(np.repeat(grey, 3, 2))
    np.testing.assert_allclose(own(grey), made, atol=1e-6)
    np.testing.assert_allclose(translator(grey), made.mean(2, keepdims=True), atol=1e-6)


def test_colour_through_a_one_channel_model(rng):
    colour = picture(rng, (6, 5, 3))
    result = Translator(Enlarge(1), device="cpu")(colour)
    np.testing.assert_array_equal(result, enlarged(colour))
    image = Image(colour, icc=b"rgb")
    (own,) = Translator(Enlarge(1), ModelInfo("own"), device="cpu", precision="fp32")([image])
    luma = np.rint(colour @ np.array([0.299, 0.587, 0.114], np.float32))
    assert own.icc is None
    np.testing.assert_allclose(own.pixels[..., 0], enlarged(luma), atol=1)


def test_what_does_not_fit_is_a_sentence(rng):
    with pytest.raises(ProcessingError, match="5 channels and the model takes 3"):
        Translator(Enlarge(3), device="cpu")(picture(rng, (3, 3, 5)))
    with pytest.raises(ProcessingError, match="not finite"):
        Translator(Enlarge(3), device="cpu")(np.full((3, 3, 3), np.nan, np.float32))


def test_many_channels_go_through_a_model_that_takes_them(rng):
    pixels = picture(rng, (3, 4, 7))
    np.testing.assert_array_equal(Translator(Enlarge(7), device="cpu")(pixels), enlarged(pixels))


def test_a_model_with_four_channels_gets_alpha_as_the_fourth(rng):
    generator = Enlarge(4)
    translator = Translator(generator, device="cpu", precision="fp32")
    pixels, alpha = picture(rng, (4, 4, 3)), picture(rng, (4, 4)) | 1
    opaque, clear = translator([Image(pixels), Image(pixels, alpha)])
    assert opaque.alpha is None and opaque.channels == 3
    np.testing.assert_array_equal(clear.alpha, enlarged(alpha))


def test_alpha_that_the_model_makes_is_kept_at_the_trained_size(rng):
    torch.manual_seed(0)
    generator = Resnet(4, 4, features=4, blocks=1)
    image = Image(picture(rng, (8, 8, 3)), picture(rng, (8, 8)))
    (native,) = Translator(generator, ModelInfo("own"), device="cpu", precision="fp32")([image])
    (trained,) = Translator(generator, ModelInfo("own", 8), device="cpu", precision="fp32")([image])
    assert not np.array_equal(native.alpha, image.alpha)
    np.testing.assert_array_equal(trained.alpha, native.alpha)
    (larger,) = Translator(generator, ModelInfo("own", 16), device="cpu", precision="fp32")([image])
    assert larger.alpha.shape == (8, 8) and not np.array_equal(larger.alpha, image.alpha)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alpha", ["model", "bicubic"])
def test_colours_bleed_under_transparency_and_alpha_is_enlarged(rng, dtype, alpha):
    """A white disc on transparent black: what comes out is white everywhere, and no halo is left."""
    white = 1 if dtype == np.float32 else np.iinfo(dtype).max
    y, x = np.mgrid[:24, :24]
    disc = ((y - 12) ** 2 + (x - 12) ** 2 < 50).astype(dtype) * dtype(white)
    image = Image(disc[..., None].repeat(3, 2), disc)
    (result,) = Translator(Enlarge(), device="cpu", precision="fp32", alpha=alpha)([image])
    assert (result.pixels == white).all()
    assert result.alpha is not None and result.alpha.dtype == dtype
    if alpha == "model":
        np.testing.assert_array_equal(result.alpha, enlarged(disc))
    assert result.alpha.max() >= 0.99 * white and result.alpha.min() <= 0


def test_alpha_that_is_constant_costs_nothing_and_stays(rng):
    generator = Enlarge()
    image = Image(picture(rng, (4, 5, 3)), np.full((4, 5), 77, np.uint8))
    (result,) = Translator(generator, device="cpu", precision="fp32")([image])
    assert generator.seen == [(1, 3, 4, 5)]
    assert (result.alpha == 77).all() and result.alpha.shape == (8, 10)


def test_alpha_can_be_dropped_and_stays_where_the_size_does(rng):
    image = Image(picture(rng, (4, 5, 3)), picture(rng, (4, 5)))
    (dropped,) = Translator(Enlarge(), device="cpu", alpha="drop")([image])
    assert dropped.alpha is None
    generator = Enlarge(scale=1)
    (same,) = Translator(generator, device="cpu", precision="fp32")([image])
    np.testing.assert_array_equal(same.alpha, image.alpha)
    assert generator.seen == [(1, 3, 4, 5)]


SIZES = [(1, 1), (1, 50), (33, 47), (64, 64), (90, 41)]


@pytest.mark.parametrize(
    ("tile", "size"),
    [(tile, size) for tile in (16, 40) for size in SIZES] + [(1, size) for size in [*SIZES[:2], (11, 13)]],
)
@pytest.mark.sampled(3)
def test_compact_tiled_equals_whole(rng, size, tile):
    generator = compact()
    pixels = picture(rng, (*size, 3))
    whole = Translator(generator, device="cpu", precision="fp32", tile=10**6)(pixels)
    tiled = Translator(generator, device="cpu", precision="fp32", tile=tile)(pixels)
    assert np.abs(whole.astype(int) - tiled).max() <= 1
    exact = Translator(generator.double().float(), device="cpu", tile=tile)(pixels.astype(np.float32) / 255)
    np.testing.assert_allclose(
        exact, Translator(generator, device="cpu")(pixels.astype(np.float32) / 255), atol=1e-5
    )


@pytest.mark.parametrize("memory", [2_000, 200_000, 2_000_000])
def test_less_memory_means_more_tiles_and_the_same_picture(rng, memory):
    generator = Enlarge()
    pixels = picture(rng, (150, 130, 3))
    result = Translator(generator, device="cpu", precision="fp32", memory=memory)(pixels)
    np.testing.assert_array_equal(result, enlarged(pixels))
    bytes_each = 4 * generator.live_features
    largest = max(shape[0] * shape[2] * shape[3] for shape in generator.seen)
    assert largest <= max(memory // bytes_each, 32 * 32)
    if memory < 10**6:
        assert len(generator.seen) > 1


def test_rrdbnet_in_blended_tiles_is_close_to_whole(rng):
    torch.manual_seed(0)
    generator = RRDBNet(features=8, blocks=4, growth=4, scale=2)
    smooth = np.linspace(0, 1, 140, dtype=np.float32)
    pixels = np.stack([np.add.outer(smooth, smooth[:130]) / 2] * 3, 2)
    whole = Translator(generator, device="cpu", precision="fp32", tile=10**6)(pixels)
    translator = Translator(generator, device="cpu", precision="fp32", tile=64)
    grid = translator._runner._layout(140, 130, 10**9, pixels.dtype)
    tiled = translator(pixels)
    assert grid.tiles >= 4 and grid.ramp > 0
    np.testing.assert_allclose(tiled, whole, atol=1e-3)


@pytest.mark.parametrize(
    ("scale", "unshuffle", "size"), [(2, 2, (7, 9)), (1, 4, (5, 6)), (1, 4, (1, 1)), (1, 4, (130, 71))]
)
def test_odd_sizes_are_mirrored_to_a_multiple_and_cropped(rng, scale, unshuffle, size):
    torch.manual_seed(0)
    generator = RRDBNet(features=8, blocks=1, growth=4, scale=scale, unshuffle=unshuffle).eval()
    pixels = picture(rng, (*size, 3), np.float32)
    pad = [(0, -side % unshuffle) for side in size]
    padded = np.pad(pixels, [*pad, (0, 0)], mode="reflect")
    with torch.inference_mode():
        expected = generator(torch.from_numpy(padded).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
    result = Translator(generator, device="cpu", precision="fp32", tile=48)(pixels)
    np.testing.assert_allclose(result, expected[: size[0] * scale, : size[1] * scale], atol=1e-5)


@pytest.mark.parametrize("limit", [2000, 40_000])
def test_running_out_of_memory_shrinks_the_tiles_and_loses_none(rng, limit):
    generator = Enlarge()
    generator.limit = limit
    translator = Translator(generator, device="cpu", precision="fp32")
    pixels = picture(rng, (300, 310, 3))
    np.testing.assert_array_equal(translator(pixels), enlarged(pixels))
    failures = len(generator.failed)
    assert failures > 0
    np.testing.assert_array_equal(translator(pixels), enlarged(pixels))
    assert len(generator.failed) == failures, "it did not learn from the first time"


def test_running_out_of_memory_in_the_smallest_tile_is_an_error(rng):
    generator = Enlarge()
    generator.limit = 10
    with pytest.raises(ProcessingError, match="too little memory"):
        Translator(generator, device="cpu")(picture(rng, (300, 310, 3)))


def test_other_errors_of_the_network_are_not_hidden(rng):
    class Broken(Enlarge):
        def forward(self, x):
            raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        Translator(Broken(), device="cpu")(picture(rng, (3, 3, 3)))


def test_a_network_that_needs_the_whole_picture_and_has_no_room_says_so(rng, monkeypatch):
    import img2img.inference.runner as runner

    monkeypatch.setattr(runner, "free_memory", lambda: 1000)
    generator = Enlarge()
    generator.tiling = "none"
    with pytest.raises(ProcessingError, match="seams"):
        Translator(generator, device="cpu", memory=1000)(picture(rng, (300, 310, 3)))


def test_overflow_in_half_precision_is_repeated_in_fp32_with_a_warning(rng):
    generator = Enlarge()
    generator.overflow_in_half = True
    translator = Translator(generator, device="cpu", precision="bf16")
    pixels = picture(rng, (6, 6, 3))
    (result,) = translator([Image(pixels)])
    np.testing.assert_array_equal(result.pixels, enlarged(pixels))
    assert result.warnings == ("bf16 overflowed; the part was computed again in fp32",)
    with pytest.warns(RuntimeWarning, match="computed again"):
        translator(pixels)


def test_a_model_that_answers_nonsense_is_an_error(rng):
    generator = compact()
    with torch.no_grad():
        generator.body[-1].bias.fill_(float("inf"))
    with pytest.raises(ProcessingError, match="not finite"):
        Translator(generator, device="cpu", precision="fp32")(picture(rng, (6, 6, 3)))


def test_bf16_is_close_to_fp32_and_keeps_its_output_layer(rng):
    generator = compact()
    pixels = picture(rng, (40, 40, 3))
    full = Translator(generator, device="cpu", precision="fp32")
    half = Translator(generator, device="cpu", precision="bf16")
    difference = np.abs(full(pixels).astype(int) - half(pixels))
    assert difference.max() <= 4 and half.generator.body[0].weight.dtype == torch.float32
    lowered = half.prepare().generator
    assert lowered.body[0].weight.dtype == torch.bfloat16 and lowered.body[-1].weight.dtype == torch.float32
    with torch.inference_mode():
        assert lowered(torch.rand(1, 3, 8, 8)).dtype == torch.float32


def test_auto_precision_computes_deep_pictures_in_fp32(rng, monkeypatch):
    monkeypatch.setattr("img2img.inference.precision.cpu_bf16", lambda: "amx")
    generator = compact()
    auto = Translator(generator, device="cpu")
    assert auto.precision == "bf16"
    full = Translator(generator, device="cpu", precision="fp32")
    for dtype in (np.uint16, np.float32):
        pixels = picture(rng, (9, 9, 3), dtype)
        np.testing.assert_array_equal(auto(pixels), full(pixels))
    monkeypatch.setattr("img2img.inference.precision.cpu_bf16", lambda: "none")
    assert Translator(generator, device="cpu").precision == "fp32"


def test_load_model_by_path_and_by_name(tmp_path, monkeypatch, rng):
    generator = compact()
    save_model(tmp_path / "mine.safetensors", generator, ModelInfo())
    monkeypatch.setenv("IMG2IMG_WEIGHTS_DIR", str(tmp_path))
    pixels = picture(rng, (5, 5, 3))
    by_path = load_model(tmp_path / "mine.safetensors", device="cpu")
    by_name = load_model("mine", device="cpu")
    np.testing.assert_array_equal(by_path(pixels), by_name(pixels))
    assert by_path.fingerprint == by_name.fingerprint
    with pytest.raises(UnknownModelError, match="did you mean 'mine'"):
        load_model("minne")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"device": "abacus"}, "abacus.*here are: cpu"),
        ({"device": "meta"}, "computes nothing"),
        ({"precision": "fp8"}, "not one of auto, fp32"),
        ({"alpha": "keep"}, "not one of model"),
        ({"tile": -1}, "negative"),
        ({"memory": -5}, "negative"),
    ],
)
def test_wrong_options_are_sentences(options, match):
    with pytest.raises(ConfigError, match=match):
        Translator(Enlarge(), **({"device": "cpu"} | options))


def test_nothing_warns_on_the_way(rng):
    with warnings.catch_warnings(record=True, action="always") as caught:
        Translator(compact(), device="cpu")(picture(rng, (9, 9, 3)))
    assert not caught


def test_the_network_is_a_generator():
    assert isinstance(Translator(compact(), device="cpu").generator, Generator)


def test_set5_reaches_the_published_number(test_data):
    """realesr-animevideov3 in fp32: 28.23 dB on unrounded Y (BT.601) of the 8-bit result, border 4."""
    from img2img.image import read_image

    translator = load_model(
        test_data / "data/weights/realesrgan/realesr-animevideov3.pth", device="cpu", precision="fp32"
    )

    def luma(pixels):
        return 16 + pixels[4:-4, 4:-4] @ np.array([65.481, 128.553, 24.966]) / 255

    values = []
    for low in sorted((test_data / "data/sr/Set5/image_SRF_4").glob("*_LR.png")):
        high = read_image(low.with_name(low.name.replace("_LR", "_HR"))).pixels
        error = luma(translator(read_image(low).pixels).astype(float)) - luma(high.astype(float))
        values.append(10 * np.log10(255**2 / (error**2).mean()))
    assert len(values) == 5
    assert np.mean(values) == pytest.approx(28.2325, abs=0.002)
