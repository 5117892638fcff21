from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from img2img.checkpoint import ModelInfo, save_model
from img2img.errors import ConfigError, ProcessingError
from img2img.image.image import Image
from img2img.models import EDSR
from img2img.processors import (
    Chain,
    describe,
    open_recipe,
    parse_operations,
    processors,
    read_recipe,
    shipped_recipes,
)
from img2img.weights import finder


def settings(*texts):
    return parse_operations(texts).settings()


def test_ways_to_say_the_same():
    assert settings("sharpen=0.8") == settings("sharpen=amount:0.8") == settings(" Sharpen = 0.8 ")
    assert (
        settings("crop=center,512x512") == settings("crop=512x512,gravity:center") == settings("crop=512x512")
    )
    assert settings("grayscale=keep-channels") == settings("grayscale=keep_channels:true")
    assert settings("resize=50%") == settings("resize=scale:0.5") == settings("resize=0.5")
    assert settings("crop=16:9") == settings("crop=aspect:16:9")
    assert settings("auto_levels=1%") == settings("auto-levels=cut:0.01")
    assert settings("greyscale") == settings("grayscale")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sharpn=1", ["no operation 'sharpn'", "did you mean 'sharpen'?"]),
        ("sharpen=abc", ["sharpen", "amount", "'abc'", "a number", "from 0 to 10"]),
        ("sharpen=99", ["amount is '99'", "from 0 to 10"]),
        ("sharpen=amout:3", ["'amout'", "did you mean 'amount'?"]),
        ("sharpen=1,2", ["'2'", "no further value"]),
        ("sharpen=1,amount:2", ["'1'", "no further value"]),
        ("sharpen=amount:1,amount:2", ["'amount' is given twice"]),
        ("sharpen=", ["empty value"]),
        ("sharpen=1,,", ["empty value"]),
        ("=5", ["without the name"]),
        ("", ["without the name"]),
        ("flip=horizontl", ["did you mean 'horizontal'?"]),
        ("crop=centre,5x5", ["'centre'", "did you mean 'center'?"]),
        ("crop=5x", ["'5x'", "WIDTHxHEIGHT", "16:9"]),
        ("crop=0x5", ["'0x5'"]),
        ("crop=5x5,16:9", ["needs one of"]),
        ("resize", ["no size", "long:N"]),
        ("resize=long:5,scale:2", ["long and scale", "one of"]),
        ("resize=long:1.5", ["a whole number", "in pixels"]),
        ("gamma", ["gamma needs gamma", "a number"]),
        ("blur=median,radius:7", ["radius 7", "1 or 2"]),
        ("pad=5x5,fill:mauve", ["fill is 'mauve'", "#rrggbb"]),
        ("rotate=nan", ["angle is 'nan'"]),
        ("jpeg=quality:high", ["a whole number", "from 1 to 100"]),
        ("colour-match", ["needs reference", "picture file"]),
        ("colour-match=nowhere.png", ["'nowhere.png'", "cannot be read", "No such file"]),
        ("grayscale=keep_channels:perhaps", ["true or false"]),
    ],
)
def test_every_mistake_gets_a_sentence(text, words):
    with pytest.raises(ConfigError) as caught:
        parse_operations([text])
    message = str(caught.value)
    assert message.startswith(f"`operations` {text}: ")
    for word in words:
        assert word in message
    assert "\n" not in message and message.endswith((".", "?"))


def test_all_mistakes_at_once():
    with pytest.raises(ConfigError) as caught:
        parse_operations(["sharpn", "clahe", "jpeg=0,sampling:4:1:1", "gamma=0"])
    assert len(str(caught.value).splitlines()) == 4


def test_recipe_speaks_the_same_language(tmp_path, reference_file):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "- resize: {long: 64, upscale: no}\n- clahe\n- sharpen: 0.5\n- crop: [center, 32x32]\n- crop: 16:9\n"
        "- gamma=1.2\n- jpeg: 80\n- auto-levels: {cut: 1%}\n- denoise:\n- rotate: 1e+1\n"
    )
    texts = [
        "resize=long:64,upscale:no",
        "clahe",
        "sharpen=0.5",
        "crop=center,32x32",
        "crop=16:9",
        "gamma=1.2",
    ]
    texts += ["jpeg=80", "auto-levels=1%", "denoise", "rotate=10"]
    assert read_recipe(recipe).settings() == settings(*texts)


def test_recipe_names_files_from_where_it_lies(reference_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = reference_file.parent / "match.yaml"
    recipe.write_text("- colour-match: reference.png\n- side-by-side: {reference: reference.png}\n")
    assert read_recipe(recipe).operations[0].reference.path == reference_file


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["is empty", "list of operations"]),
        ("sharpen: 1", ["is a mapping", "list of operations"]),
        ("5", ["is a number"]),
        ("- 5", ["operation 1", "is a number"]),
        ("- [clahe]", ["operation 1", "is a list"]),
        ("- {clahe: 1, sharpen: 2}", ["operation 1", "is a mapping", "one name"]),
        ("- clahe\n- sharpen: {amount: [1]}", ["operation 2", "amount is [1]"]),
        ("- clahe\n- sharpen: {5: 1}", ["operation 2", "'5'"]),
        ("- clahe: {clip: 1, clip: 2}", ["line 1, column 20", "'clip' is given twice"]),
        ("- clahe: [", ["line 1, column"]),
        ("- !!python/object/apply:os.getcwd []", ["line 1, column 3", "python/object"]),
    ],
)
def test_every_mistake_in_a_recipe_gets_a_sentence(tmp_path, text, words):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_recipe(recipe)
    for word in ["r.yaml", *words]:
        assert word in str(caught.value)


def test_all_problems_of_a_recipe_at_once(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("- sharpn\n- clahe\n- gamma: no\n- resize: {long: -1, fit: insid}\n")
    with pytest.raises(ConfigError) as caught:
        read_recipe(recipe)
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0].split(", ")[-1] for line in lines] == [
        "operation 1", "operation 3", "operation 4", "operation 4",
    ]  # fmt: skip


def test_fingerprint_follows_results(reference_file, tmp_path):
    one, same = parse_operations(["clahe"]), parse_operations(["clahe=clip:1.2,grid:8"])
    assert one.fingerprint() == same.fingerprint() != parse_operations(["clahe=1.3"]).fingerprint()
    assert (
        parse_operations(["clahe", "flip"]).fingerprint() != parse_operations(["flip", "clahe"]).fingerprint()
    )
    moved = tmp_path / "elsewhere.png"
    moved.write_bytes(reference_file.read_bytes())
    here, there = (parse_operations([f"colour-match={path}"]) for path in (reference_file, moved))
    assert here.fingerprint() == there.fingerprint()  # the same content
    moved.write_bytes(cv2.imencode(".png", np.zeros((3, 3, 3), np.uint8))[1].tobytes())
    assert here.fingerprint() != parse_operations([f"colour-match={moved}"]).fingerprint()
    json.dumps(here.settings())


def test_chain_is_a_batch_processor(picture):
    chain = parse_operations(["flip", "rotate=90"])
    images = [Image(picture), Image(picture[:5].copy())]
    results = chain(images)
    assert [r.pixels.shape for r in results] == [(128, 96, 3), (128, 5, 3)]
    assert chain.group_key(images[0]) is None
    np.testing.assert_array_equal(results[0].pixels, np.rot90(picture[:, ::-1], -1))
    assert Chain()(images) == images


def test_what_opencv_refuses_becomes_a_sentence(picture, monkeypatch):
    def refuse(*args, **kwargs):
        return cv2.cvtColor(np.zeros((2, 2, 7), np.uint8), cv2.COLOR_RGB2GRAY)

    monkeypatch.setattr("img2img.processors.detail._gaussian", refuse)
    with pytest.raises(
        ProcessingError, match="the operation 'blur' failed on 128 x 96 pixels with 3 channels"
    ):
        parse_operations(["blur"]).apply(Image(picture))


NEEDED = ("gamma", "angle", "reference", "damage", "model")


def test_descriptions_are_complete():
    for each in describe():
        assert each.summary.endswith(".") and each.examples
        for parameter in each.parameters:
            assert parameter.text.endswith(".") and parameter.allowed, (each.name, parameter.name)
            assert parameter.default is not None or parameter.name in NEEDED
        json.dumps(asdict(each))
    assert [each.name for each in describe()] == list(processors)
    assert describe("sharpen")[0].parameters[0].default == "0.5"
    with pytest.raises(ConfigError, match="did you mean 'resize'"):
        describe("resise")


def test_defaults_can_be_said(reference_file):
    """What `describe` shows as default can be written as a value."""
    needed = {"gamma": "gamma:1", "rotate": "angle:5", "colour-match": f"reference:{reference_file}"}
    needed |= {
        "model": "model:x2",
        "degrade": "damage:mixed",
        "resize": "long:5",
        "crop": "size:5x5",
        "pad": "size:5x5",
    }
    for each in describe():
        words = [needed[each.name]] if each.name in needed else []
        words += [f"{p.name}:{p.default}" for p in each.parameters if p.default]
        short = each.name + ("=" + needed[each.name] if each.name in needed else "")
        assert settings(f"{each.name}={','.join(words)}" if words else each.name) == settings(short)


@pytest.mark.slow
def test_no_heavy_import():
    code = (
        "import sys, img2img.processors; print([m for m in ('torch', 'click', 'rich') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_every_recipe_that_ships_works() -> None:
    assert "enhance" in shipped_recipes()
    image = Image(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))
    for name in shipped_recipes():
        (result,) = open_recipe(name)([image])
        assert not np.array_equal(result.pixels, image.pixels)


@pytest.mark.parametrize("name", ["enhance", "scan"])
def test_recipes_restore_what_is_damaged_first(name, tmp_path, monkeypatch):
    """The model makes everything a tenth of white lighter."""
    generator = EDSR(features=1, blocks=0, scale=1)
    for parameter in generator.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.constant_(generator.last.bias, 0.1)
    monkeypatch.setattr(finder, "folders", lambda: [tmp_path])
    recipe = Path(__file__).parents[2] / "configs" / f"recipe_{name}.yaml"
    without = read_recipe(recipe)
    save_model(tmp_path / "clean.safetensors", generator, ModelInfo())
    chain = read_recipe(recipe)
    image = Image(np.rint(np.linspace(40, 180, 96 * 80 * 3).reshape(80, 96, 3)).astype(np.uint8))
    assert np.array_equal(chain.apply(image).pixels, without.apply(image).pixels)
    restored = chain.operations[0].apply(image.replace(jpeg_quality=20))
    assert np.abs(restored.pixels.astype(float) - image.pixels - 25.5).max() <= 2  # computed in bf16
    assert chain.settings() != without.settings()


def test_an_unknown_recipe_is_answered_with_those_that_ship() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'enhance'.*scan"):
        open_recipe("enhanc")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("operation", ["colour-match", "side-by-side"])
def test_a_reference_is_a_regular_file(tmp_path, operation):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    recipe = tmp_path / "r.yaml"
    for name, words in {
        "pipe": "pipe, socket",
        "link": "pipe, socket",
        "/dev/zero": "device",
        ".": "folder",
    }.items():
        recipe.write_text(f"- {operation}: {{reference: {name}}}\n")
        with pytest.raises(ConfigError, match=f"reference.*{words}"):
            read_recipe(recipe)


@pytest.mark.parametrize(
    "text",
    [
        "- gamma: [" + "x, " * 5000 + "x]",
        "- crop: " + "9" * 4000 + "%",
        "- " + "x" * 50_000 + ": 1",
        '- gamma: "\\e]0;"',
    ],
)
def test_messages_stay_short_and_without_control_characters(tmp_path, text):
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_recipe(tmp_path / "r.yaml")
    assert len(str(caught.value)) < 6000 and "\x1b" not in str(caught.value)
