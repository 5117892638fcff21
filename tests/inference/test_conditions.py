"""What a network takes beside the picture goes with the picture: at its size, in its tiles, in its kind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from companions import Companions
from fakes import Enlarge

from img2img.checkpoint import ModelInfo
from img2img.data.pictures import Recipe
from img2img.errors import ConfigError, ProcessingError
from img2img.fields import Vector
from img2img.image import Image
from img2img.image.image import DTYPES, white_of
from img2img.image.planes import mask_of
from img2img.image.resize import resize_nearest
from img2img.inference import Translator
from img2img.inference.backends import choose_backend, typical_input
from img2img.inference.conditions import typical
from img2img.processors.inpaint import hole_of
from img2img.types import SYMMETRIC, ValueRange

SPATIAL = ("mask", "ids", "guide")


@pytest.fixture
def rng():
    torch.manual_seed(0)
    return np.random.default_rng(0)


def translator(generator, info=None, **options):
    return Translator(
        generator, info or ModelInfo("own"), **({"device": "cpu", "precision": "fp32"} | options)
    )


def given(rng, height, width):
    return {
        "mask": rng.integers(0, 2, (height, width)).astype(bool),
        "ids": rng.integers(0, 70_000, (height // 4 + 1, width // 4 + 1))
        .repeat(4, 0)
        .repeat(4, 1)[:height, :width],
        "guide": rng.integers(0, 256, (height, width, 3), np.uint8),
        "attributes": [1, 0, 0.5],
    }


def picture(rng, height, width):
    return rng.integers(0, 256, (height, width, 3), np.uint8)


def seen(generator, name):
    (_, conditions), *_ = generator.seen
    return conditions[name].numpy()


def test_each_kind_reaches_the_network_as_it_should(rng):
    generator = Companions()
    generator.input_range = SYMMETRIC
    values = given(rng, 6, 9)
    translator(generator)(picture(rng, 6, 9), **values)
    (x, conditions), *_ = generator.seen
    assert {name: (value.shape, value.dtype) for name, value in conditions.items()} == {
        "mask": ((1, 1, 6, 9), torch.float32),
        "ids": ((1, 1, 6, 9), torch.int32),
        "guide": (x.shape, torch.float32),
        "attributes": ((1, 3), torch.float32),
    }
    np.testing.assert_array_equal(conditions["mask"][0, 0], values["mask"])
    np.testing.assert_array_equal(conditions["ids"][0, 0], values["ids"])
    np.testing.assert_allclose(
        conditions["guide"][0].permute(1, 2, 0), values["guide"] / 127.5 - 1, atol=1e-6
    )
    assert conditions["attributes"].tolist() == [[1, 0, 0.5]]


@pytest.mark.parametrize(
    ("dtype", "below", "above"),
    [
        (np.uint8, 127, 128),
        (np.uint16, 32767, 32768),
        (np.float32, 0.5, 0.501),
        (np.float64, 0.5, 0.501),
        (bool, 0, 1),
    ],
)
def test_a_mask_is_what_is_above_half_of_white(rng, dtype, below, above):
    generator = Companions("mask")
    mask = np.array([[below, above, below]], dtype)
    for form in (mask, mask[..., None], mask[..., None].repeat(3, 2)):
        generator.seen.clear()
        translator(generator)(picture(rng, 1, 3), mask=form)
        assert seen(generator, "mask").tolist() == [[[[0, 1, 0]]]]


def test_colours_of_a_mask_are_averaged(rng):
    generator = Companions("mask")
    colours = np.array([[[255, 0, 0], [255, 255, 0], [128, 127, 128]]], np.uint8)
    translator(generator)([Image(picture(rng, 1, 3))], mask=[Image(colours)])
    assert seen(generator, "mask").tolist() == [[[[0, 1, 1]]]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3])
def test_transparent_is_not_white_in_training_in_use_and_for_a_hole(tmp_path, rng, dtype, channels):
    """Masks of programs that paint on a transparent layer; colours there may be anything."""
    white = white_of(np.dtype(dtype))
    levels = np.array([1, 1, 1, 1, 0, 0]) * white
    alpha = np.array([1, 0.6, 0.4, 0, 1, 0]) * white
    pixels = levels[None, :, None].repeat(channels, 2).astype(dtype)
    mask = Image(pixels, alpha[None].astype(dtype))
    expected = [1, 1, 0, 0, 0, 0]
    generator = Companions("mask")
    source = Image(picture(rng, 1, 6))
    translator(generator)([source], mask=[mask])
    assert seen(generator, "mask")[0, 0].tolist() == [expected]
    assert hole_of(mask, source)[0].tolist() == [[bool(one) for one in expected]]
    assert (Recipe(kind="mask")(mask, tmp_path)[..., 0] / 255).tolist() == [expected]
    if dtype == np.float32:
        pixels[0, 3] = np.nan
        assert mask_of(mask)[0][..., 0].tolist() == [expected]


def test_a_mask_of_zeros_and_ones_in_a_file_is_warned_of(rng):
    mask = Image(np.array([[[0], [1]]], np.uint8))
    (result,) = translator(Companions("mask"))([Image(picture(rng, 1, 2))], mask=[mask])
    assert len(result.warnings) == 1 and "marks nothing" in result.warnings[0]
    (result,) = translator(Companions("mask"))(
        [Image(picture(rng, 1, 2))], mask=[Image(np.zeros((1, 2, 1), np.uint8))]
    )
    assert not result.warnings  # nothing is a mask, too


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_ids_of_files_are_never_scaled(rng, dtype):
    generator = Companions("ids")
    ids = np.array([[0, 7, 255]], dtype)[..., None]
    for form in (ids, ids.repeat(3, 2)):
        generator.seen.clear()
        translator(generator)([Image(picture(rng, 1, 3))], ids=[Image(form)])
        assert seen(generator, "ids").tolist() == [[[[0, 7, 255]]]]


@pytest.mark.parametrize("unit", [1, 8])
@pytest.mark.parametrize("scale", [1, 2])
def test_tiles_equal_the_whole(rng, unit, scale):
    generator = Companions(scale=scale, unit=unit)
    pixels, values = picture(rng, 90, 75), given(rng, 90, 75)
    whole = translator(generator, tile=10_000)(pixels, **values)
    tiled = translator(generator, tile=16)(pixels, **values)
    x, conditions = generator.seen[-1]
    assert max(x.shape[2:]) < 50 and conditions["mask"].shape[2:] == x.shape[2:]
    np.testing.assert_array_equal(tiled, whole)


def test_a_network_that_takes_no_tiles_sees_the_whole(rng):
    generator = Companions(tiling="none")
    values = given(rng, 90, 75)
    translator(generator, tile=16, memory=2**20)(picture(rng, 90, 75), **values)
    (x, conditions), *more = generator.seen
    assert not more and x.shape[2:] == conditions["mask"].shape[2:] == (90, 75)


def test_padding_mirrors_what_stands_beside_it(rng):
    """A padded pixel is the mirror image of a pixel, and so are its mask and its id: no hole is lost."""
    generator = Companions(unit=8)
    pixels, values = picture(rng, 13, 10), given(rng, 13, 10)
    assert translator(generator)(pixels, **values).shape == (13, 10, 3)
    (x, conditions), *_ = generator.seen
    assert x.shape[2:] == (16, 16)
    rows, columns = (np.pad(np.arange(n), (0, 16 - n), "reflect") for n in (13, 10))
    for name, plane in (("mask", values["mask"]), ("ids", values["ids"])):
        np.testing.assert_array_equal(conditions[name][0, 0], plane[np.ix_(rows, columns)])


def test_all_go_to_the_size_of_the_model_and_names_are_not_mixed(rng):
    generator = Companions()
    values = given(rng, 20, 30)
    result = translator(generator, ModelInfo("own", (16, 8)))(picture(rng, 20, 30), **values)
    assert result.shape == (20, 30, 3)
    (x, conditions), *_ = generator.seen
    assert x.shape[2:] == conditions["guide"].shape[2:] == (16, 8)
    ids = resize_nearest(values["ids"][..., None], 16, 8)[..., 0]
    np.testing.assert_array_equal(conditions["ids"][0, 0], ids)
    assert set(np.unique(conditions["mask"])) == {0, 1}


def test_all_keep_their_proportions_where_the_picture_does(rng):
    generator = Companions(unit=4)
    result = translator(generator, ModelInfo("own", 16, fit="keep"))(
        picture(rng, 10, 23), **given(rng, 10, 23)
    )
    assert result.shape == (10, 23, 3)
    (x, conditions), *_ = generator.seen
    assert x.shape[2:] == (16, 40)  # 16 x 37, padded
    assert {conditions[name].shape[2:] for name in SPATIAL} == {(16, 40)}


def test_all_go_into_smaller_tiles_when_the_memory_ends(rng):
    class Hungry(Companions):
        def forward(self, x, **conditions):
            if x.shape[0] * x.shape[2] * x.shape[3] > 2000:
                raise torch.OutOfMemoryError("too many pixels")
            return super().forward(x, **conditions)

    pixels, values = picture(rng, 90, 75), given(rng, 90, 75)
    generator = Companions()
    hungry = Hungry()
    hungry.load_state_dict(generator.state_dict())
    np.testing.assert_array_equal(
        translator(hungry)(pixels, **values), translator(generator, tile=10_000)(pixels, **values)
    )
    assert len(hungry.seen) > 3


def test_images_of_one_size_share_a_call_with_their_own_conditions(rng):
    generator = Companions()
    process = translator(generator)
    images = [Image(picture(rng, *size)) for size in [(8, 8), (8, 8), (5, 9), (8, 8)]]
    each = [given(rng, image.height, image.width) for image in images]
    each[3]["ids"] = Image(each[3]["ids"].astype(np.uint8)[..., None])  # of another depth in its file
    together = {name: [one[name] for one in each] for name in each[0]}
    results = process(images, **together)
    assert sorted(x.shape[0] for x, _ in generator.seen) == [1, 3]
    for image, one, result in zip(images, each, results, strict=True):
        (alone,) = process([image], **{name: [value] for name, value in one.items()})
        np.testing.assert_allclose(result.pixels.astype(int), alone.pixels, atol=1)
    assert len({process.group_key(image) for image in images}) == 2


def test_colours_through_a_network_without_get_the_conditions_with_each_channel(rng):
    class Grey(Enlarge):
        def __init__(self):
            super().__init__(1)
            self.conditions = {"mask": Companions("mask").conditions["mask"]}

        def forward(self, x, mask):
            return super().forward(x * mask)

    pixels, mask = picture(rng, 6, 5), rng.integers(0, 2, (6, 5)).astype(bool)
    result = translator(Grey(), ModelInfo())(pixels, mask=mask)
    np.testing.assert_array_equal(result, (pixels * mask[..., None]).repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_carries_them(rng, precision):
    generator = Companions()
    pixels, values = picture(rng, 24, 31), given(rng, 24, 31)
    full = translator(generator)(pixels, **values)
    half = translator(generator, precision=precision)(pixels, **values)
    assert np.abs(half.astype(int) - full).max() <= 3
    assert {p.dtype for p in generator.parameters()} == {torch.float32}


def test_overflow_in_half_precision_is_computed_again_with_them(rng):
    generator = Companions()
    pixels, values = picture(rng, 8, 8), given(rng, 8, 8)
    expected = translator(generator)(pixels, **values)
    process = translator(generator, precision="bf16")
    torch.nn.init.constant_(process.prepare().generator.last.bias, float("nan"))
    (result,) = process([Image(pixels)], **{name: [value] for name, value in values.items()})
    assert "overflowed" in result.warnings[0]
    np.testing.assert_array_equal(result.pixels, expected)


def test_a_range_counts_for_further_pictures_too(rng):
    generator = Companions("guide")
    info = ModelInfo("own", range=ValueRange(0, 4095))
    guide = np.full((4, 4, 3), 4095, np.uint16)
    translator(generator, info)(guide // 2, guide=guide)
    np.testing.assert_array_equal(seen(generator, "guide"), 1)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"mask": ...}, r"takes more than a picture: mask \(a mask\), ids.*not given: mask"),
        ({"maks": 1}, "no condition 'maks'; did you mean 'mask'"),
        ({"mask": np.zeros((4, 4), np.int64)}, r"'mask' is a mask: .*not \(4, 4\) int64"),
        ({"mask": "hole.png"}, "'mask' is a mask: .*not str"),
        ({"ids": np.zeros((4, 4, 3), np.int32)}, r"'ids' is an id map: .*not \(4, 4, 3\)"),
        ({"guide": None}, "'guide' is a picture: .*not NoneType"),
        ({"attributes": "blond"}, "'attributes' is 3 numbers: a row of numbers, not str"),
        ({"attributes": [[1, 2, 3]]}, "'attributes' is 3 numbers"),
        ({"attributes": Image(np.zeros((1, 1, 3), np.uint8))}, "'attributes' is 3 numbers"),
    ],
)
def test_a_request_that_makes_no_sense_is_a_sentence(rng, change, match):
    values = {name: value for name, value in (given(rng, 4, 4) | change).items() if value is not ...}
    with pytest.raises(ConfigError, match=match):
        translator(Companions())(picture(rng, 4, 4), **values)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"mask": np.zeros((4, 5), bool)}, "'mask' has 5x4 pixels, and its picture has 4x4"),
        ({"ids": np.zeros((8, 8), np.int32)}, "'ids' has 8x8 pixels"),
        ({"guide": np.zeros((3, 4, 3), np.uint8)}, "'guide' has 4x3 pixels"),
        ({"guide": np.zeros((4, 4, 5), np.uint8)}, "'guide': the picture has 5 channels"),
        ({"mask": np.full((4, 4), np.nan)}, "'mask'.*not finite"),
        ({"ids": np.full((4, 4), 2**40)}, "'ids'.*2147483647"),
        ({"ids": np.full((4, 4), 0.5)}, "'ids'.*fractions"),
        ({"ids": np.full((4, 4), np.nan)}, "'ids'"),
        ({"ids": Image(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))}, "'ids'.*3 that differ"),
        ({"attributes": [1, 2]}, "has 2 numbers, and the model takes 3 numbers: Blond_Hair, Male, Young"),
        ({"attributes": [1, 2, np.inf]}, "not finite"),
    ],
)
def test_a_condition_that_does_not_fit_its_picture_is_that_pictures_failure(rng, change, match):
    info = ModelInfo("own", attributes={"attributes": ("Blond_Hair", "Male", "Young")})
    with pytest.raises(ProcessingError, match=match):
        translator(Companions(), info)(picture(rng, 4, 4), **given(rng, 4, 4) | change)


def test_lists_are_as_long_as_the_images(rng):
    images = [Image(picture(rng, 4, 4))] * 2
    process = translator(Companions("mask"))
    for wrong in ([np.zeros((4, 4), bool)], []):
        with pytest.raises(ConfigError, match=f"2 pictures and {len(wrong)} of the condition 'mask'"):
            process(images, mask=wrong)
    with pytest.raises(ConfigError, match="a list is needed"):
        process(images, mask=np.zeros((2, 4, 4), bool))
    with pytest.raises(ConfigError, match="a list is needed, one for each picture, not Image"):
        process(images, mask=images[0])


def test_a_model_of_a_picture_alone_takes_no_condition(rng):
    process = translator(Enlarge(), ModelInfo())
    assert not process.conditions
    with pytest.raises(ConfigError, match="takes a picture alone, and no mask"):
        process(picture(rng, 4, 4), mask=np.zeros((4, 4), bool))


@pytest.mark.parametrize("backend", ["eager", "auto"])
def test_backends_carry_them(rng, backend):
    generator = Companions().eval()
    x = typical_input(generator, 2)
    conditions = typical(generator, x)
    found = choose_backend(generator, "fp32", backend)
    with torch.inference_mode():
        assert torch.equal(found(x, **conditions), generator(x, **conditions))


def test_openvino_falls_back_with_a_sentence(rng):
    pixels, values = picture(rng, 8, 8), given(rng, 8, 8)
    generator = Companions()
    images, lists = [Image(pixels)], {name: [value] for name, value in values.items()}
    (result,) = translator(generator, backend="openvino")(images, **lists)
    assert "OpenVINO is left out" in result.warnings[0] and "mask" in result.warnings[0]
    np.testing.assert_array_equal(result.pixels, translator(generator)(pixels, **values))


@pytest.mark.slow
def test_compiling_falls_back_where_a_length_is_not_known():
    generator = Companions("attributes")
    generator.conditions = {"attributes": Vector()}
    backend = choose_backend(generator, "fp32", "compile")
    assert backend.name == "eager" and "length of its vector 'attributes'" in backend.note
