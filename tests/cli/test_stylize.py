"""`img2img stylize` on files: styles, mixtures, strength, colours, odd kinds, and what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from img2img.checkpoint import ModelInfo, save_model
from img2img.cli.main import cli
from img2img.image import Image, read_image, write_image
from img2img.inference import Styles, Translator
from img2img.inference.stylizer import Stylizer
from img2img.models import EDSR, AdaIN, Resnet
from img2img.models.init import initialize

Call = Callable[..., tuple[int, str]]


def noise(height: int, width: int, channels: int = 3, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, np.iinfo(dtype).max, (height, width, channels), endpoint=True).astype(dtype)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models, styles, and pictures of many kinds in `in`."""
    folder = tmp_path_factory.mktemp("stylize")
    torch.manual_seed(0)
    adain = AdaIN(**AdaIN.tiny)
    initialize(adain, "kaiming")
    save_model(folder / "adain.safetensors", adain, ModelInfo("own", synthetic=True))
    johnson = Resnet(features=4, blocks=1, upsample="resize")
    save_model(folder / "johnson.safetensors", johnson, ModelInfo("own", synthetic=True))
    edsr = EDSR(features=4, blocks=1, scale=2)
    save_model(folder / "x2.safetensors", edsr, ModelInfo())
    save_model(folder / "restores.safetensors", Resnet(**Resnet.tiny), ModelInfo("like_input"))
    write_image(Image(noise(40, 60, seed=1)), folder / "a.png")
    write_image(Image(noise(30, 30, seed=2) // 2), folder / "b.png")
    write_image(Image(noise(1, 1)), folder / "dot.png")
    (folder / "text.jpg").write_text("no picture")
    (folder / "in").mkdir()
    write_image(Image(noise(37, 51)), folder / "in" / "odd.png")
    write_image(Image(noise(24, 17, dtype=np.uint16)), folder / "in" / "deep.png")
    write_image(Image(noise(20, 31), noise(20, 31, 1)[..., 0]), folder / "in" / "alpha.png")
    write_image(Image(noise(9, 7, 1)), folder / "in" / "grey.png")
    write_image(Image(noise(1, 1)), folder / "in" / "one.png")
    return folder


@pytest.fixture
def call(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.chdir(place)

    def run(*arguments: object, source: str = "in", out: str = "out") -> tuple[int, str]:
        words = ["stylize", source, "-o", str(tmp_path / out), *map(str, arguments)]
        result = CliRunner().invoke(cli, words, prog_name="img2img")
        return result.exit_code, result.stderr

    return run


@pytest.mark.parametrize(
    "how",
    [
        ["-m", "adain.safetensors", "--style", "a.png"],
        ["-m", "johnson.safetensors", "--strength", "0.6", "--keep-colors"],
    ],
    ids=["adain", "johnson"],
)
def test_pictures_of_any_kind_keep_size_depth_and_alpha(
    call: Call, how: list[str], place: Path, tmp_path: Path
) -> None:
    code, said = call(*how)
    assert code == 0, said
    for path in (place / "in").iterdir():
        before, after = read_image(path), read_image(tmp_path / "out" / path.name)
        assert after.pixels.shape == (*before.pixels.shape[:2], 3)
        assert after.pixels.dtype == before.pixels.dtype
        assert (after.alpha is None) == (before.alpha is None)
        if before.alpha is not None:
            assert np.array_equal(after.alpha, before.alpha)
    code, said = call(*how)
    assert code == 0 and "5 skipped" in said


def test_another_style_is_another_result_and_the_same_one_is_up_to_date(call: Call, tmp_path: Path) -> None:
    model = ["-m", "adain.safetensors"]
    several = [
        ["--style", "a.png"],
        ["--style", "b.png"],
        ["--style", "a.png", "--style", "b.png"],
        ["--style", "a.png", "--style", "b.png:0.3"],
        ["--style", "a.png", "--strength", "0.5"],
        ["--style", "a.png", "--style-size", "16"],
        ["--style", "a.png", "--keep-colours"],
    ]
    seen = []
    for more in several:
        code, said = call(*model, *more, source="in/odd.png")
        assert code == 0 and "1 done" in said, (more, said)
        seen.append(read_image(tmp_path / "out" / "odd.png").pixels)
    assert all(not np.array_equal(a, b) for i, a in enumerate(seen) for b in seen[:i])
    same = ["--style", "a.png:2", "--style", "b.png:0.6"]
    call(*model, *several[3], source="in/odd.png")
    code, said = call(*model, *same, source="in/odd.png")
    assert code == 0 and "1 skipped" in said, "weights count beside each other"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-m", "adain.safetensors"], "paints in the style of a picture; name one or more with --style"),
        (["-m", "adain.safetensors", "--style", "text.jpg"], "text.jpg: this is not an image"),
        (["-m", "adain.safetensors", "--style", "dot.png"], "the style dot.png has 1x1 pixels"),
        (["-m", "adain.safetensors", "--style", "none.png"], "none.png does not exist; a style is a picture"),
        (["-m", "adain.safetensors", "--style", "in"], "in is a folder; a style is a picture"),
        (["-m", "adain.safetensors", "--style", "a.png:0"], "the weight of a style is a number above 0"),
        (["-m", "adain.safetensors", "--style", "a.png:x"], "a.png:x does not exist"),
        (["-m", "adain.safetensors", "--style", "a.png", "--strength", "1.5"], "--strength"),
        (["-m", "johnson.safetensors", "--style", "a.png"], "the one style that it has learned"),
        (["-m", "johnson.safetensors", "--style-size", "64"], "--style-size says how large"),
        (["-m", "x2.safetensors"], "enlarges by 2, and paints in no style"),
        (["-m", "restores.safetensors"], "makes no other picture, and paints in no style"),
        (["-m", "text.jpg"], "text.jpg"),
    ],
)
def test_what_is_wrong_is_a_sentence_before_anything_is_written(
    call: Call, arguments: list[str], sentence: str, tmp_path: Path
) -> None:
    code, said = call(*arguments)
    assert code == 2 and sentence in " ".join(said.split()), said
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").glob("*.png"))


def test_strength_and_colours_of_the_picture() -> None:
    torch.manual_seed(0)
    translator = Translator(Resnet(**Resnet.tiny), ModelInfo("own"), device="cpu", precision="fp32")
    source = Image(noise(16, 20).astype(np.float32) / 255)
    (full,) = Stylizer(translator)([source])
    (none,) = Stylizer(translator, 0.0)([source])
    (half,) = Stylizer(translator, 0.5)([source])
    (kept,) = Stylizer(translator, 1.0, True)([source])
    assert np.array_equal(none.pixels, source.pixels)
    np.testing.assert_allclose(half.pixels, (full.pixels + source.pixels) / 2, atol=1e-6)
    weights = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(kept.pixels @ weights, full.pixels @ weights, atol=1e-5)
    for a, b in ((0, 1), (1, 2)):  # differences of colours are those of the picture
        np.testing.assert_allclose(
            kept.pixels[..., a] - kept.pixels[..., b],
            source.pixels[..., a] - source.pixels[..., b],
            atol=1e-5,
        )


def test_a_large_picture_in_strips_is_the_whole_one_in_its_style() -> None:
    torch.manual_seed(0)
    results = []
    for memory in (2**30, 600_000):
        generator = AdaIN(**AdaIN.tiny)
        torch.manual_seed(0)
        initialize(generator, "kaiming")
        translator = Translator(
            generator,
            ModelInfo("own"),
            device="cpu",
            memory=memory,
            style=Styles([Image(noise(32, 32, seed=3))]),
        )
        results.append(translator(noise(150, 61).astype(np.float32) / 255))
    assert translator._runner._scheme(150, 61, np.dtype(np.float32), 600_000, 600_000) is not None
    np.testing.assert_allclose(results[1], results[0], rtol=0, atol=1e-4 * np.abs(results[0]).max())


@pytest.mark.parametrize("weights", [[1.0], [0.0, 0.0], [-1.0, 2.0], [float("nan"), 1.0]])
def test_weights_that_make_no_sense(weights: list[float]) -> None:
    from img2img.errors import ConfigError

    with pytest.raises(ConfigError, match="weights"):
        Styles([Image(noise(16, 16))] * 2, weights)
