"""pix2pix and segmentation with further conditions: through data, training, the model file and use."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from samples import SIDE, batch, channels, companions, configured, made

from img2img.checkpoint import open_model
from img2img.cli.main import cli
from img2img.errors import ConfigError
from img2img.fields import Ids, Mask, Picture, Vector
from img2img.image import Image, read_image, write_image
from img2img.inference import load_model
from img2img.methods import methods
from img2img.models import ArchSpec, build
from img2img.models.joining import boundaries, join, read_further
from img2img.training import read_experiment
from img2img.types import SYMMETRIC

KINDS = {"hint": "picture", "place": "mask", "parts": "ids", "label": "vector"}


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli, list(map(str, arguments)))


# --- the networks


def test_conditions_become_channels_in_the_order_of_their_names() -> None:
    fields = read_further("hint:picture:2 place:mask:1 parts:ids:1 label:vector:3")
    assert fields == {
        "hint": Picture(channels=2), "place": Mask(), "parts": Ids(), "label": Vector(size=3),
    }  # fmt: skip
    x = torch.rand(2, 3, 4, 6)
    given = {
        "hint": torch.rand(2, 2, 4, 6),
        "place": (torch.rand(2, 1, 4, 6) > 0.5).float(),
        "parts": torch.randint(0, 3, (2, 1, 4, 6), dtype=torch.int32),
        "label": torch.tensor([[1.0, 0.0, 5.0], [2.0, 3.0, 4.0]]),
    }
    joined = join(x, fields, given, SYMMETRIC)
    assert joined.shape == (2, 10, 4, 6)
    assert torch.equal(joined[:, :3], x) and torch.equal(joined[:, 3:5], given["hint"])
    assert torch.equal(joined[:, 5:6], given["place"] * 2 - 1)
    assert torch.equal(joined[:, 6:7], boundaries(given["parts"]).float() * 2 - 1)
    assert (joined[:, 7:] == given["label"][:, :, None, None]).all()


@pytest.mark.parametrize("name", ["unet", "resnet"])
def test_a_network_with_conditions_is_the_one_with_as_many_channels(name: str) -> None:
    arguments = {"features": 4, "norm": "instance", **({"downs": 2} if name == "unet" else {"blocks": 1})}
    torch.manual_seed(0)
    own = build(ArchSpec(name, {**arguments, "further": "hint:picture:1 label:vector:2"})).eval()
    plain = build(ArchSpec(name, {**arguments, "in_channels": 6})).eval()
    plain.load_state_dict(own.state_dict())
    x, hint, label = torch.rand(1, 3, 16, 16), torch.rand(1, 1, 16, 16), torch.tensor([[0.5, -2.0]])
    whole = torch.cat((x, hint, label[:, :, None, None].expand(-1, -1, 16, 16)), 1)
    assert own.in_channels == 3 and own.live_features == plain.live_features
    assert torch.equal(own(x, hint=hint, label=label), plain(whole))


@pytest.mark.parametrize(
    "text", ["hint", "hint:picture", "hint:photo:3", "a:mask:2", "x:mask:1", "a:vector:0"]
)
def test_what_names_no_conditions_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError):
        read_further(text)


# --- the methods


@pytest.mark.parametrize("name", ["pix2pix", "segmentation"])
def test_every_condition_reaches_both_networks(name: str) -> None:
    config = configured(name, conditions=KINDS)
    fields = methods[name].fields_of(config)
    assert {n: f.kind for n, f in fields.items() if n in KINDS} == KINDS
    method = methods[name](config, channels(fields))
    samples = batch(method, fields)
    seen: list[torch.Tensor] = []
    method.adversary.discriminator.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    method.check(samples)
    method.step(samples, lambda *_: None)
    expected = join(samples.source, method.generator.conditions, samples.fields, SYMMETRIC)
    assert expected.shape[1] == 3 + 3 + 1 + 1 + 5
    assert all(torch.equal(x[:2, :13], expected) for x in seen) and {x.shape[1] for x in seen} == {16}
    columns = list(method.columns(samples, method.generators()))
    assert columns == ["source", "hint", "place", "output", "target"]


def test_a_network_that_takes_no_conditions_says_which_do() -> None:
    with pytest.raises(
        ConfigError,
        match=r"nafnet takes no further conditions.*choose flow_unet or resnet or spade_resnet or unet",
    ):
        made("pix2pix", generator={"name": "nafnet"}, conditions={"hint": "picture"})


def test_conditions_are_named_and_names_that_are_nearly_known_are_asked_about() -> None:
    conditions = {"hint": "picture", "instnce": "picture", "maks": "picture", "mask2": "mask"}
    for name in ("pix2pix", "segmentation"):
        method = made(name, conditions=conditions)
        (note,) = (note for note in method.notes if "Conditions" in note)
        assert "hint (a picture), instnce (a picture), maks (a picture), mask2 (a mask)" in note
        assert [text.split("; ")[1] for text in method.warnings] == [
            "did you mean 'instance'?",
            "did you mean 'mask'?",
        ]
    assert not made("pix2pix").notes and not made("pix2pix").warnings


def test_extra_terms_are_weighted_and_named() -> None:
    boxes = {"mouth": [0.5, 0.25, 1, 0.75]}
    terms = [
        {"kind": "symmetry", "weight": 0.3, "side": "right"},
        {"kind": "multiscale_l1", "weight": 2},
        {"kind": "crops", "weight": 3, "boxes": boxes},
        {"kind": "tv", "weight": 0.5},
        {"kind": "tv", "weight": 0.25},
    ]
    found: dict[str, torch.Tensor] = {}
    method = made("pix2pix", extra_terms=terms)
    samples = batch(method, methods["pix2pix"].fields)
    method.check(samples)
    method.step(samples, lambda _, losses: found.update(losses))
    assert {"g_symmetry", "g_multiscale_l1", "g_crops", "g_tv", "g_tv_2"} < set(found)
    torch.testing.assert_close(found["g_tv"], 2 * found["g_tv_2"])
    fake = method.generator(samples.source)
    rows, columns = slice(SIDE // 2, SIDE), slice(SIDE // 4, 3 * SIDE // 4)
    part = (fake - samples.target)[..., rows, columns].abs().mean()
    torch.testing.assert_close(found["g_crops"], 3 * part)


@pytest.mark.parametrize(
    ("terms", "sentence"),
    [
        ("[{kind: symmetri, weight: 1}]", "did you mean 'symmetry'"),
        ("[{kind: crops, weight: 1, boxes: {eye: [0.5, 0, 0.4, 1]}}]", "the box eye is [0.5, 0, 0.4, 1]"),
        ("[{kind: tv}]", "weight is missing"),
    ],
)
def test_wrong_terms_are_sentences(terms: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_experiment("smoke_pix2pix", [f"extra_terms={terms}"], source={"aligned": "x"})
    assert sentence in str(caught.value)


def test_terms_look_at_the_size_of_the_pictures() -> None:
    method = made("pix2pix", extra_terms=[{"kind": "multiscale_l1", "weight": 1, "scales": [1] * 7}])
    with pytest.raises(ConfigError, match="halves pictures 6 times, and they are 32x32"):
        method.check(batch(method, methods["pix2pix"].fields))


# --- edges and a blurred hint of the colours


def test_edges_and_a_hint_of_colours_from_pairs_to_use(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(5):
        pixels = rng.integers(0, 256, (5, 5, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        path = tmp_path / "photos" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        write_image(Image(pixels), path)
    result = call(
        "data",
        "pair",
        tmp_path / "photos",
        "-o",
        tmp_path / "pairs",
        "--op",
        "edges",
        "--also",
        "hint:blur=4",
    )
    assert result.exit_code == 0 and f"--field hint={tmp_path}/pairs/hint" in result.stderr, result.output
    pairs = tmp_path / "pairs"
    assert (
        read_image(pairs / "A" / "0.png").channels == 1 and read_image(pairs / "hint" / "0.png").channels == 3
    )
    places = ["--paired", pairs / "A", pairs / "B", "--field", f"hint={pairs / 'hint'}"]
    sets = [
        "steps=2", "crop_size=32", "load_size=32", "workers=0", "training.threads=1", "training.device=cpu",
        "generator={name: unet, features: 4, downs: 3, norm: instance, dropout: false}", "ema=0",
        "discriminator={name: patchgan, features: 4, layers: 1, norm: instance}", "batch_size=2",
    ]  # fmt: skip
    words = [word for each in sets for word in ("--set", each)]
    assert call("data", "check", *places, *words[2:6]).exit_code in (0, 1)
    result = call("train", *places, "-o", tmp_path / "run", *words)
    assert result.exit_code == 0, result.output
    model = tmp_path / "run" / "last.safetensors"
    generator, _ = open_model(model)
    assert generator.in_channels == 1 and generator.conditions == {"hint": Picture(channels=3)}
    assert "conditions:\n    hint: picture" in (tmp_path / "run" / "config.yaml").read_text()
    facts = json.loads(call("model", "info", model, "--json").stdout)
    assert "--with hint=DIR" in facts["use"]

    alone = call("translate", pairs / "A", "-o", tmp_path / "out", "-m", model, "--device", "cpu")
    assert alone.exit_code == 2 and "Give --with hint=DIR" in " ".join(alone.stderr.split())
    done = call(
        "translate", pairs / "A", "-o", tmp_path / "out", "-m", model, "--with", f"hint={pairs / 'hint'}",
        "--device", "cpu",
    )  # fmt: skip
    assert done.exit_code == 0 and len(list((tmp_path / "out").glob("*.png"))) == 5, done.output
    (pairs / "hint" / "3.png").unlink()
    write_image(Image(np.zeros((20, 20, 3), np.uint8)), pairs / "hint" / "2.png")
    less = call(
        "translate", pairs / "A", "-o", tmp_path / "less", "-m", model, "--with", f"hint={pairs / 'hint'}",
        "--device", "cpu",
    )  # fmt: skip
    said = " ".join(less.stderr.split())
    assert less.exit_code == 1 and "there is no hint for it" in said
    assert "the condition 'hint' has 20x20 pixels, and its picture has 40x40" in said

    translator = load_model(model, device="cpu")
    edges = read_image(pairs / "A" / "0.png").pixels
    one, other = (translator(edges, **companions({"hint": Picture()}, 40, 40)), None)
    other = translator(edges, hint=np.zeros((40, 40, 3), np.uint8))
    assert one.shape == other.shape == (40, 40, 3) and not np.array_equal(one, other)


def test_what_also_makes_is_checked(tmp_path: Path) -> None:
    write_image(Image(np.zeros((8, 8, 3), np.uint8)), tmp_path / "a.png")
    for also, words in (
        ("hint", "say FIELD:NAME"),
        ("target:blur=3", "target is what"),
        ("A:blur=3", "cannot be called"),
        ("hint:blurr=3", "did you mean 'blur'"),
    ):
        result = call(
            "data", "pair", tmp_path / "a.png", "-o", tmp_path / "o", "--op", "edges", "--also", also
        )
        assert result.exit_code == 2 and words in " ".join(result.stderr.split()), also
