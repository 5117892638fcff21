"""Without a configuration the pictures and the machine decide, in one line, and what was set is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from drawings import draw_pairs, draw_photos

from img2img.cli.main import cli
from img2img.errors import ConfigError
from img2img.fields import PAIRED, Fields, Ids
from img2img.methods import Method, MethodConfig, methods
from img2img.training import read_experiment
from img2img.training.estimate import estimate_memory
from img2img.training.starts import choose, fine_tuning, places, start


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    folder = tmp_path_factory.mktemp("pictures")
    draw_pairs(folder / "large", 12, side=100)
    draw_pairs(folder / "small", 12, side=40)
    draw_photos(folder / "a", 3, side=100)
    draw_photos(folder / "b", 5, side=100)
    return {
        "large": {"aligned": str(folder / "large")},
        "small": {"aligned": str(folder / "small")},
        "unpaired": {"unpaired": [str(folder / "a"), str(folder / "b")]},
    }


def chosen(source: dict, *sets: str):
    return read_experiment(None, sets, source=source, defaults=choose(source, sets).sections)


class OwnConfig(MethodConfig):
    name: str = "own"
    maps: bool = False


class Own(Method):
    """A method whose configuration decides its fields, with nothing that need not be there."""

    Config = OwnConfig

    @classmethod
    def fields_of(cls, config: MethodConfig) -> Fields:
        """Maps where they are wanted."""
        assert isinstance(config, OwnConfig)
        return PAIRED | ({"ids": Ids(like="source")} if config.maps else {})


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"small": {"training": {"batch_size": 2}}},
        {"small": {"data": {"fit": "keep"}}, "defaults": {"training": {"steps": 5}}},
        {"small": {"training": {"stages": [{"name": "a", "steps": 5}]}}},
        {"small": {"method": {"maps": False}}, "fields": {**PAIRED, "ids": Ids(like="source")}},
    ],
)
def test_a_method_needs_no_more_than_its_fields(pictures, monkeypatch, attributes) -> None:
    monkeypatch.setitem(methods._entries, "own", type("Plain", (Own,), attributes))
    for sets in ((), ("device=cuda",)):
        choice = choose(pictures["large"], sets, method="own")
        length = () if choice.sections.get("training", {}).keys() & {"steps", "stages"} else ("steps=3",)
        one = read_experiment(None, length, source=pictures["large"], defaults=choice.sections)
        assert set(one.fields) == {"source", "target"}
    fine_tuning(choice.sections)
    empty = read_experiment(None, ["steps=3"], defaults=start("own") | {"training": {}}, places=places)
    assert empty.data.form == "paired" and not empty.data.fields
    more = read_experiment(
        None, ["steps=3", "maps=true"], defaults=start("own") | {"training": {}}, places=places
    )
    assert set(more.data.fields) == {"ids"}


@pytest.mark.parametrize("name", ["keys", "map", "x", "images", "split", "two words", "a=b", "B"])
def test_names_that_mean_something_else_are_no_fields(pictures, monkeypatch, name) -> None:
    fields = {**PAIRED, name: Ids(like="source")}
    with pytest.raises(ConfigError, match="cannot be called"):
        type("Named", (Own,), {"fields": fields})
    named = type("Configured", (Own,), {"fields_of": classmethod(lambda cls, config: fields)})
    monkeypatch.setitem(methods._entries, "own", named)
    with pytest.raises(ConfigError, match="cannot be called"):
        read_experiment(None, ["steps=3"], source=pictures["large"], defaults=start("own"))


@pytest.mark.parametrize(
    ("name", "sets", "crop", "features", "downs"),
    [
        ("large", ["device=cpu"], (128, 128), 32, 7),
        ("small", ["device=cpu"], (64, 64), 32, 6),
        ("large", ["device=cpu", "data.crop-size=64"], (64, 64), 32, 6),
        ("large", ["device=cpu", "crop_size=[64, 96]"], (64, 96), 32, 5),
        (
            "large",
            ["device=cpu", "crop_size=96", "generator.downs=4", "generator.features=8"],
            (96, 96),
            8,
            4,
        ),
        ("large", ["training.device=cuda"], (256, 256), 64, 8),
        ("large", ["device=cuda", "crop_size=128"], (128, 128), 64, 7),
    ],
)
def test_pairs_get_a_unet_that_fits_machine_and_size(pictures, name, sets, crop, features, downs) -> None:
    one = chosen(pictures[name], *sets)
    found = {"features": 64, "downs": 8} | one.method.generator.arguments
    assert (one.data.crop_size, found["features"], found["downs"]) == (crop, features, downs)


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    "sets",
    [
        ["crop_size=[64, 96]", "generator.features=8"],
        [],
        ["crop_size=96", "generator.downs=4"],
        ["crop_size=64"],
    ],
)
@pytest.mark.slow
def test_a_step_of_what_is_chosen_is_possible(pictures, sets) -> None:
    assert list(estimate_memory(chosen(pictures["large"], "device=cpu", *sets)))


def test_a_cpu_shows_a_picture_soon_and_normalises_by_the_instance(pictures) -> None:
    for name in ("large", "unpaired"):
        one = chosen(pictures[name], "device=cpu")
        assert one.training.sample_every <= 100 and one.training.save_every <= 500
        assert one.method.generator.arguments["norm"] == "instance"
        assert one.training.steps == 12_000
    assert chosen(pictures["large"], "device=cpu", "epochs=3").training.epochs == 3


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["generator.features=8", "steps=70"], "8 features and 7 levels at 128 pixels, 70 steps, a picture"),
        (
            ["crop_size=[64, 96]", "epochs=3"],
            "32 features and 5 levels at 96 x 64 pixels, 3 epochs, a picture",
        ),
        (["sample_every=0"], "at 128 pixels, 12000 steps."),
    ],
)
def test_what_was_set_is_part_of_what_is_said(pictures, sets: list[str], words: str) -> None:
    choice = choose(pictures["large"], ["device=cpu", *sets])
    one = read_experiment(None, ["device=cpu", *sets], source=pictures["large"], defaults=choice.sections)
    assert words in choice.explain(one)


def test_weights_to_start_from_bring_their_network(pictures) -> None:
    assert choose(pictures["large"], ["device=cpu", "training.initial.generator='x'"]).sections == start(
        "pix2pix"
    )


def test_what_is_wrong_with_the_pictures_is_told_later() -> None:
    assert "method" in choose({"paired": ["nowhere", "nowhere"]}, ["device=cpu", "crop_size=["]).sections
    assert choose({"images": "nowhere"}).basis == ""


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ([], "Chosen for 12 pairs of 100 x 100 and a CPU: pix2pix, a U-Net of 32"),
        (["pix2pix"], None),
    ],
)
def test_train_says_what_it_chose_and_how_to_get_the_papers(
    pictures, config: list[str], words: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["train", *config, "--aligned", pictures["large"]["aligned"], "--device", "cpu", "--dry-run"]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 0, result.output
    said = " ".join(result.stderr.split())
    if words is None:
        assert "Chosen" not in said and "generator 54.41 M" in said
    else:
        assert words in said and "img2img train pix2pix --aligned ..." in said


@pytest.mark.slow
def test_the_papers_are_had_for_fields_by_their_option(pictures) -> None:
    a, b = pictures["unpaired"]["unpaired"]
    for method, fields in (("cyclegan", "--field NAME=PLACE ..."), (None, "--field NAME=PLACE ...")):
        words = ["train", "--field", f"source={a}", "--field", f"target={a if method is None else b}"]
        words += ["--device", "cpu", "--dry-run", *([] if method is None else ["--method", method])]
        result = CliRunner().invoke(cli, words)
        assert result.exit_code == 0, result.output
        assert f"img2img train {method or 'pix2pix'} {fields}" in " ".join(result.stderr.split())


def test_auto_is_what_torch_has() -> None:
    has_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    assert ("GPU" in choose({"aligned": "nowhere"}).basis) == has_gpu


@pytest.mark.parametrize(
    "words",
    [
        "--paired nowhere elsewhere",
        "--unpaired {a} {b} --method pix2pix",
        "--aligned {large} --set lr=1",
    ],
)
def test_nothing_is_said_of_a_choice_for_what_cannot_be_trained(pictures, words: str) -> None:
    names = {
        "large": pictures["large"]["aligned"],
        **dict(zip("ab", pictures["unpaired"]["unpaired"], strict=True)),
    }
    command = ["train", *words.format(**names).split(), "--device", "cpu", "--dry-run"]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code != 0 and result.stderr.count("Error: ") == 1
    assert "Chosen" not in result.stderr


@pytest.mark.parametrize("name", ["inpainting", "pix2pix"])
@pytest.mark.sampled(1)
def test_a_jitter_matters_where_use_has_one_size(pictures, name: str) -> None:
    """A network for any size sees pictures as they are; one for a size sees them larger than it learned."""
    a, _ = pictures["unpaired"]["unpaired"]
    places = ["--images", a] if name == "inpainting" else ["--paired", a, a]
    command = ["--method", name, *places, "--set", "load_size=96", "--set", "crop_size=64"]
    tiny = ["--device=cpu", "--set", "generator.features=4", "--set", "generator.downs=3"]
    for words in (["train", *command, *tiny, "--dry-run"], ["data", "check", *command]):
        result = CliRunner().invoke(cli, words)
        assert ("times smaller" in result.stderr) == (name == "pix2pix"), result.output
        assert "Error: " not in result.stderr
