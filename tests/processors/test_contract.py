"""What every registered operation promises, for every kind of image."""

from __future__ import annotations

import itertools
import json
import re

import numpy as np
import pytest

from img2img.errors import ProcessingError
from img2img.image.alpha import over_white
from img2img.image.image import Image, white_of
from img2img.processors import Operation, parse_operations, processors

# One complete `--op` text or more for each operation; a new operation must be added here.
CASES = {
    "auto-levels": ["auto-levels", "auto-levels=per_channel"],
    "blur": ["blur=1.5", "blur=box,radius:2", "blur=median,radius:2", "blur=motion,radius:3,angle:30"],
    "clahe": ["clahe=2", "clahe=clip:3,grid:4"],
    "colour-match": ["colour-match=REFERENCE", "colour-match=REFERENCE,histogram,strength:0.7"],
    "colour-space": ["colour-space", "colour-space=display-p3"],
    "crop": ["crop=80%x50%,top-left", "crop=3:2", "crop=5x5"],
    "degrade": [
        "degrade=denoise,sigma:20",
        "degrade=dejpeg,quality:40,seed:3",
        "degrade=deblur,scale:1",
        "degrade=old",
    ],
    "denoise": ["denoise=0.5"],
    "edges": ["edges", "edges=sobel"],
    "flip": ["flip=both"],
    "gamma": ["gamma=1.7"],
    "grayscale": ["grayscale", "grayscale=bt709,keep_channels"],
    "jpeg": ["jpeg=60"],
    "pad": ["pad=left:3,top:2", "pad=multiple:16,reflect", "pad=1:1,edge"],
    "resize": [
        "resize=long:20",
        "resize=17x9,lanczos",
        "resize=24x24,cover,linear",
        "resize=24x24,pad,area",
        "resize=150%,nearest",
    ],
    "rotate": ["rotate=90", "rotate=17", "rotate=-30,expand:false"],
    "sharpen": ["sharpen=1", "sharpen=amount:2,radius:0.7,threshold:1%,halo:0"],
    "side-by-side": ["side-by-side", "side-by-side=vertical,REFERENCE"],
    "white-balance": ["white-balance", "white-balance=gray-world", "white-balance=percentile"],
}
OTHERS = ["model"]  # tests/inference/test_operation.py has it
ALL = [text for name in processors if name not in OTHERS for text in CASES.get(name, [name])]
MOVING = {"crop", "flip", "pad", "resize", "rotate", "side-by-side", "blur"}  # these change alpha

IDENTITIES = [
    "auto-levels=0",
    "blur=0",
    "clahe=0",
    "colour-match=REFERENCE,strength:0",
    "colour-space",
    "crop=100%x100%",
    "denoise=0",
    "gamma=1",
    "pad=1x1",
    "resize=100%",
    "resize=long:100000,upscale:false",
    "rotate=0",
    "sharpen=0",
    "white-balance=strength:0",
    "white-balance=percentile,strength:0",
]


@pytest.fixture
def build(reference_file):
    return lambda text: parse_operations([text.replace("REFERENCE", str(reference_file))]).operations[0]


def image_of(shape, dtype, alpha=False, seed=0) -> Image:
    values = np.random.default_rng(seed).random((*shape[:2], shape[2] + 1), dtype=np.float32)
    values = values if dtype == np.float32 else np.rint(values * white_of(np.dtype(dtype))).astype(dtype)
    opacity = np.ascontiguousarray(values[:, :, -1])
    opacity[: shape[0] // 3] = 0
    pixels = np.ascontiguousarray(values[:, :, :-1])
    return Image(pixels, opacity if alpha else None, icc=b"icc", exif=b"II*\0", warnings=("seen before",))


def try_apply(operation: Operation, image: Image) -> Image | None:
    """Returns the result, or None where a sentence refuses the number of channels."""
    try:
        return operation(image)
    except ProcessingError as error:
        assert "channels" in str(error) and image.channels not in (1, 3)
        return None


def test_every_operation_has_a_case():
    assert set(CASES) == set(processors) - set(OTHERS)


@pytest.mark.parametrize("text", ALL)
@pytest.mark.parametrize("step", [6, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"])
def test_any_image_works(text, step, build):
    operation = build(text)
    sizes = [(1, 1), (1, 40), (37, 1), (2, 3), (23, 31)]
    kinds = itertools.product([np.uint8, np.uint16, np.float32], [1, 2, 3, 5], [False, True])
    # every sixth pair still has each depth with each size, and with alpha, and each number of channels
    pairs = itertools.islice(itertools.product(kinds, sizes), step - 1, None, step)
    for (dtype, channels, alpha), size in pairs:
        image = image_of((*size, channels), dtype, alpha)
        before = image.pixels.copy(), None if image.alpha is None else image.alpha.copy()
        result = try_apply(operation, image)
        np.testing.assert_array_equal(image.pixels, before[0])
        if result is None:
            continue
        assert result.pixels.dtype == dtype and result.pixels.flags.c_contiguous
        assert np.isfinite(result.pixels).all()
        assert result.channels == (1 if operation.name == "edges" or text == "grayscale" else channels) or (
            operation.name == "side-by-side" and channels == 1
        )
        assert (result.icc, result.exif) == (image.icc, image.exif)
        assert "seen before" in result.warnings
        if size == (23, 31):  # deterministic; how memory lies may change the last bit of a float
            again = operation(image).pixels
            np.testing.assert_allclose(result.pixels, again, atol=1e-6 if dtype == np.float32 else 0)
        if alpha:
            np.testing.assert_array_equal(image.alpha, before[1])
            assert result.alpha is not None and result.alpha.flags.c_contiguous
            if operation.name not in MOVING:
                np.testing.assert_array_equal(result.alpha, image.alpha)
        elif operation.name != "side-by-side":
            assert result.alpha is None


@pytest.mark.parametrize(
    ("text", "size", "dtype"),
    [(text, (37, 45), dtype) for text in ALL for dtype in (np.uint8, np.uint16, np.float32)]
    # of large pictures some operations look at a part: almost nothing can be seen, and it is not missed
    + [(text, (1300, 1301), np.uint8) for text in ALL if text.startswith(("white-balance", "edges"))]
    + [("white-balance", (1300, 1301), np.float32)],
)
@pytest.mark.sampled(24)
def test_what_cannot_be_seen_does_not_reach_what_can(text, size, dtype, build):
    white = white_of(np.dtype(dtype))
    shown = image_of((*size, 3), dtype, alpha=True)
    hidden = np.zeros(size, bool)
    hidden[: size[0] // 3], hidden[5:30, 7:20] = True, True
    if size[0] > 1000:
        hidden[:] = True
        hidden[501, 301:303] = False
    alpha = np.where(hidden, 0, white).astype(dtype)
    looks = []
    for colour in (0, white, np.nan if dtype == np.float32 else white // 3):
        pixels = np.where(hidden[..., None], np.array(colour, dtype), shown.pixels)
        looks.append(over_white(build(text)(Image(pixels, alpha))))
    for other in looks[1:]:
        np.testing.assert_allclose(looks[0].pixels, other.pixels, atol=1e-6 if dtype == np.float32 else 0)


@pytest.mark.parametrize("text", ALL)
@pytest.mark.parametrize("value", [np.nan, np.inf, -3e38])
@pytest.mark.sampled(45)
def test_values_that_one_cannot_compute_with_are_moved_or_refused(text, value, build):
    """No data in pictures of floats: never a warning of NumPy, never more such values than there were."""
    operation = build(text)
    for channels, alpha in itertools.product([1, 3, 5], [False, True]):
        image = image_of((23, 31, channels), np.float32, alpha)
        image.pixels[12, 15] = value
        if alpha:
            image.alpha[12, 15] = 1
        try:
            result = operation(image)
        except ProcessingError as error:
            assert re.search("not finite|holds the value -3e", str(error)) or channels == 5
            continue
        if not np.isfinite(value):
            assert operation.moves or operation.name == "side-by-side", "it computed with it"
        lost = ~np.isfinite(result.pixels).all(2)
        assert lost.sum() <= (4 if operation.name in ("side-by-side", "resize") else 1)


@pytest.mark.parametrize("text", ["sharpen", "flip", "auto-levels", "resize=long:20"])
def test_alpha_is_a_number_everywhere_or_the_picture_only_moves(text, build):
    image = image_of((23, 31, 3), np.float32, alpha=True)
    image.alpha[12, 15] = np.nan
    if build(text).moves:
        assert np.isnan(build(text)(image).alpha).sum() == 1
    else:
        with pytest.raises(ProcessingError, match="not finite numbers"):
            build(text)(image)


@pytest.mark.parametrize("text", IDENTITIES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_neutral_parameters_change_nothing(text, dtype, build):
    image = image_of((31, 23, 3), dtype, alpha=True)
    if text == "auto-levels=0":  # neutral where black and white are there already
        image.pixels[15, 3], image.pixels[15, 4], image.alpha[15] = 0, image.white, image.white
    result = build(text)(image)
    assert np.array_equal(result.pixels, image.pixels) or (
        dtype == np.float32 and np.allclose(result.pixels, image.pixels, atol=1e-6)
    )
    np.testing.assert_array_equal(result.alpha, image.alpha)


@pytest.mark.parametrize("text", ALL)
def test_depths_agree(text, build, picture):
    """The same picture in 8 bits, 16 bits and floats gives the same picture, within quantisation."""
    alpha = np.linspace(0, 255, picture.shape[0] * picture.shape[1]).reshape(picture.shape[:2])
    operation = build(text)
    for opacity in (None, alpha.round().astype(np.uint8)):
        byte = Image(picture, opacity)
        double = Image(*(None if p is None else p.astype(np.uint16) * 257 for p in (picture, opacity)))
        real = Image(*(None if p is None else p.astype(np.float32) / 255 for p in (picture, opacity)))
        results = [operation(image) for image in (byte, double, real)]
        white = [result.white for result in results]
        planes = [np.clip(r.pixels.astype(float) / w, 0, 1) for r, w in zip(results, white, strict=True)]
        if opacity is not None:
            # Where almost nothing can be seen, rounding in the alpha of 8 bits shows in the colours: compare
            # what is seen.
            planes = [
                p * (r.alpha.astype(float) / w)[:, :, None]
                for p, r, w in zip(planes, results, white, strict=True)
            ]
        for other in planes[1:]:
            difference = np.abs(planes[0] - other)
            if text == "edges":  # two values only: a pixel may fall on the other side
                assert (difference > 0.5).mean() < 0.002
            else:
                assert difference.max() <= 2.01 / 255, difference.max() * 255
                assert difference.mean() <= 0.6 / 255


@pytest.mark.parametrize("text", ALL)
def test_settings_are_json_and_parameters_are_frozen(text, build):
    operation = build(text)
    settings = json.loads(json.dumps(operation.settings()))
    assert settings.pop("operation") == operation.name
    assert set(settings) == set(type(operation).model_fields)
    with pytest.raises(ValueError, match="frozen"):
        setattr(operation, next(iter(settings)), 1)


@pytest.mark.parametrize("name", list(processors))
def test_examples_are_valid(name, reference_file):
    for example in processors[name].examples:
        assert example.split("=")[0] == name
        parse_operations([example.replace("reference.jpg", str(reference_file))])
    assert processors[name].examples
