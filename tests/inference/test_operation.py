"""A model in a chain of operations does what it does by itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from companions import Companions

import img2img
from img2img.checkpoint import ModelInfo, save_model
from img2img.errors import ConfigError
from img2img.image import Image, write_image
from img2img.inference import load_model, operation
from img2img.models import Compact, generators
from img2img.processors import parse_operations, processors, read_recipe
from img2img.registry import Registry


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_model(tmp_path / "twice.safetensors", Compact(scale=2, features=8, convs=1), ModelInfo())
    return tmp_path / "twice.safetensors"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(9, 14, 3), (7, 5, 1), (1, 1, 3)])
@pytest.mark.parametrize("strength", [1, 0.6, 0])
@pytest.mark.sampled(5)
def test_it_makes_what_the_model_makes(model, dtype, shape, strength):
    rng = np.random.default_rng(0)
    values = rng.random(shape, np.float32)
    white = 1 if dtype == np.float32 else np.iinfo(dtype).max
    alpha = (rng.random(shape[:2]) * white).astype(dtype)
    image = Image((values * white).astype(dtype), alpha)
    chain = parse_operations([f"model={model},strength:{strength}"])
    (expected,) = load_model(model, strength=strength)([image])
    result = chain.apply(image)
    np.testing.assert_array_equal(result.pixels, expected.pixels)
    np.testing.assert_array_equal(result.alpha, expected.alpha)


@pytest.mark.parametrize("gan", [True, False, None])
@pytest.mark.parametrize("fix", ["auto", "off", "lowfreq", "wavelet"])
@pytest.mark.sampled(4)
def test_it_has_the_colours_that_upscale_gives(tmp_path, gan, fix):
    torch.manual_seed(0)
    path = tmp_path / "twice.safetensors"
    save_model(path, Compact(scale=2, features=4, convs=1), ModelInfo(adversarial=gan))
    image = Image(np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8))
    words = "" if fix == "auto" else f",color_fix:{fix}"
    chain = parse_operations([f"model={path}{words}"])
    (expected,) = load_model(path, color_fix=None if fix == "auto" else fix)([image])
    (without,) = load_model(path, color_fix="off")([image])
    result = chain.apply(image)
    np.testing.assert_array_equal(result.pixels, expected.pixels)
    corrected = fix in ("lowfreq", "wavelet") or (fix == "auto" and bool(gan))
    assert np.array_equal(result.pixels, without.pixels) != corrected


def test_operations_before_and_after_it_see_that_picture(model):
    image = Image(np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8))
    before, after = parse_operations(["resize=50%"]), parse_operations(["flip"])
    chain = parse_operations(["resize=50%", f"model={model}", "flip"])
    (made,) = load_model(model)([before.apply(image)])
    np.testing.assert_array_equal(chain.apply(image).pixels, after.apply(made).pixels)


def test_the_quality_of_a_file_is_not_that_of_what_was_made_of_it(model):
    image = Image(np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8), jpeg_quality=10)
    once = parse_operations([f"model={model},damaged:yes"]).apply(image)
    twice = parse_operations([f"model={model},damaged:yes"] * 2).apply(image)
    assert once.width == twice.width == 20
    np.testing.assert_array_equal(twice.pixels, once.pixels)


def test_the_next_run_knows_the_model_by_its_content(model, tmp_path):
    first = parse_operations([f"model={model}"]).settings()
    (tmp_path / "copy.safetensors").write_bytes(model.read_bytes())
    assert parse_operations([f"model={tmp_path / 'copy.safetensors'}"]).settings() == first
    torch.manual_seed(1)
    save_model(model, Compact(scale=2, features=8, convs=1), ModelInfo())
    assert parse_operations([f"model={model}"]).settings() != first


def test_a_recipe_names_models_from_where_it_lies(model, tmp_path, monkeypatch):
    (tmp_path / "recipe.yaml").write_text("- model: twice.safetensors\n- sharpen: 0.5\n")
    monkeypatch.chdir("/")
    chain = read_recipe(tmp_path / "recipe.yaml")
    assert chain.apply(Image(np.zeros((3, 4, 3), np.uint8))).width == 8


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model=nowhere.pth", "no model 'nowhere.pth'"),
        ("model=x22", "did you mean 'x2'"),
        ("model", "model"),
        ("model=x2,strength:2", "strength"),
        ("model=.", "model"),
    ],
)
def test_what_cannot_be_opened_is_one_sentence(text, words):
    with pytest.raises(ConfigError, match=words) as found:
        parse_operations([text])
    assert "\n" not in str(found.value)


def test_a_model_that_is_optional_is_left_out_where_it_is_not_there(model, tmp_path):
    image = Image(np.zeros((3, 4, 3), np.uint8))
    (tmp_path / "recipe.yaml").write_text("- model: {model: other.pth, optional: true}\n")
    chain = read_recipe(tmp_path / "recipe.yaml")
    assert chain.apply(image) is image
    before = chain.settings()
    model.rename(tmp_path / "other.pth")
    chain = read_recipe(tmp_path / "recipe.yaml")
    assert chain.apply(image).width == 8 and chain.settings() != before
    (tmp_path / "other.pth").write_bytes(b"no model")
    with pytest.raises(ConfigError, match=r"other\.pth"):  # it is there, and broken
        read_recipe(tmp_path / "recipe.yaml")


def test_a_model_for_damaged_pictures_leaves_others_alone(model):
    rng = np.random.default_rng(0)
    slope = np.tile(np.linspace(50, 200, 96)[None, :, None], (80, 1, 3))
    noisy = Image(np.rint(slope + rng.normal(0, 12, slope.shape)).astype(np.uint8))
    calm = Image(np.rint(slope).astype(np.uint8))
    chain = parse_operations([f"model={model},damaged"])
    assert chain.apply(calm) is calm
    assert chain.apply(calm.replace(jpeg_quality=20)).width == chain.apply(noisy).width == 192


def test_models_that_take_more_than_a_picture_are_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(generators._entries, "companions", Companions)
    save_model(tmp_path / "more.safetensors", Companions("mask"), ModelInfo("own"))
    with pytest.raises(ConfigError, match="mask"):
        parse_operations([f"model={tmp_path / 'more.safetensors'}"])


def test_a_folder_through_a_chain_with_a_model(model, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        write_image(Image(np.zeros((6, 8, 3), np.uint8)), tmp_path / "in" / name)
    chain = parse_operations([f"model={model}", "sharpen=0.5"])
    summary = img2img.convert_folder(
        tmp_path / "in", tmp_path / "out", chain, settings={"operations": chain.settings()}
    )
    assert summary.done == 2 and img2img.image.read_image(tmp_path / "out" / "a.png").width == 16


def test_its_module_is_imported_when_its_name_is_asked_for(monkeypatch):
    assert processors["model"] is operation.ModelOperation
    registry: Registry[object] = Registry("thing")
    registry.register("near")(object())
    registry.defer("far", "img2img.nowhere")
    assert "near" in registry and "other" not in registry
    with pytest.raises(ModuleNotFoundError):
        assert "far" in registry
