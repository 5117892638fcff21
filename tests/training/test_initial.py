"""Weights of others to start from."""

from pathlib import Path

import pytest
import torch
import yaml

from img2img.checkpoint import ModelInfo, save_model
from img2img.errors import ConfigError
from img2img.methods import methods
from img2img.models import ArchSpec, build
from img2img.training import read_experiment
from img2img.training.initial import architecture, load_initial
from img2img.training.starts import start

SMALL = {"features": 4, "blocks": 2}


@pytest.fixture
def x4(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "x4.safetensors"
    save_model(path, build(ArchSpec("edsr", {**SMALL, "scale": 4})), ModelInfo("like_input", None, {}))
    return path


def test_all_of_the_same_network_is_taken(x4: Path) -> None:
    torch.manual_seed(1)
    network = build(ArchSpec("edsr", {**SMALL, "scale": 4}))
    before = network.state_dict()["last.weight"].clone()
    assert load_initial(network, x4) == ""
    assert not torch.equal(before, network.state_dict()["last.weight"])


def test_another_scale_keeps_the_layers_that_make_the_pixels(x4: Path) -> None:
    torch.manual_seed(0)
    source = build(ArchSpec("edsr", {**SMALL, "scale": 4})).state_dict()
    torch.manual_seed(1)
    network = build(ArchSpec("edsr", {**SMALL, "scale": 2}))
    fresh = {name: value.clone() for name, value in network.state_dict().items()}
    said = load_initial(network, x4)
    assert said == "all but last, for the file is for x4 and this is x2"
    for name, value in network.state_dict().items():
        assert torch.equal(value, fresh[name] if name.startswith("last.") else source[name]), name


SYMMETRIC = {"features": 8, "blocks": 2, "symmetric": True}


@pytest.mark.parametrize("scale", [2, 4])
def test_a_symmetric_network_starts_from_the_plain_file_of_one(tmp_path: Path, scale: int) -> None:
    torch.manual_seed(0)
    source = build(ArchSpec("edsr", {**SYMMETRIC, "scale": 4}))
    save_model(
        tmp_path / "m.safetensors", source.exported(), ModelInfo("like_input", None, {}), torch.float16
    )
    torch.manual_seed(1)
    network = build(ArchSpec("edsr", {**SYMMETRIC, "scale": scale}))
    said = load_initial(network, tmp_path / "m.safetensors")
    assert said == ("" if scale == 4 else "all but last, for the file is for x4 and this is x2")
    assert torch.allclose(
        network.state_dict()["first.weight"], source.state_dict()["first.weight"], atol=1e-3
    )


@pytest.mark.parametrize("scale", [2, 4])
def test_a_symmetric_network_does_not_start_from_one_that_is_not(tmp_path: Path, scale: int) -> None:
    plain = build(ArchSpec("edsr", {**SYMMETRIC, "scale": 4, "symmetric": False}))
    save_model(tmp_path / "m.safetensors", plain, ModelInfo("like_input", None, {}))
    network = build(ArchSpec("edsr", {**SYMMETRIC, "scale": scale}))
    with pytest.raises(ConfigError, match=r"m\.safetensors: the weights did not learn.*set that to false"):
        load_initial(network, tmp_path / "m.safetensors")


@pytest.mark.parametrize(("key", "value"), [("features", 8), ("blocks", 3)])
@pytest.mark.parametrize("scale", [2, 4])
def test_another_size_is_an_error_that_names_it(x4: Path, key: str, value: int, scale: int) -> None:
    network = build(ArchSpec("edsr", {**SMALL, "scale": scale, key: value}))
    with pytest.raises(ConfigError, match=rf"{key} {SMALL[key]} \(here {value}\).*give method.generator the"):
        load_initial(network, x4)


def test_a_difference_that_no_weight_shows_is_said(tmp_path: Path) -> None:
    path = tmp_path / "relu.safetensors"
    arguments = {"features": 4, "convs": 2, "scale": 2}
    network = build(ArchSpec("compact", {**arguments, "activation": "relu"}))
    save_model(path, network, ModelInfo("like_input", None, {}))
    said = load_initial(build(ArchSpec("compact", {**arguments, "activation": "leakyrelu"})), path)
    assert said == "which has the architecture compact with activation relu (here leakyrelu)"


@pytest.mark.parametrize(("sets", "scale"), [([], 4), (["scale=2"], 2)])
def test_the_architecture_of_the_file_at_the_scale_that_is_wanted(
    x4: Path, sets: list[str], scale: int
) -> None:
    initial = f"training.initial={{generator: {x4}}}"
    experiment = read_experiment(
        None, [initial, *sets], source={"images": "x"}, defaults=start("super_resolution")
    )
    method = methods[experiment.method.name](experiment.method, {"source": 3, "target": 3})
    generator = method.generators()["generator"]
    assert (generator.spec.arguments["blocks"], generator.scale) == (2, scale)
    load_initial(generator, x4)


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_network_that_learned_to_be_symmetric_goes_on_so(tmp_path: Path, symmetric: bool) -> None:
    torch.manual_seed(0)
    network = build(ArchSpec("edsr", {**SYMMETRIC, "symmetric": symmetric})).exported()
    save_model(tmp_path / "m.safetensors", network, ModelInfo("like_input", None, {}), torch.float16)
    generator, scale = architecture(tmp_path / "m.safetensors")
    assert generator["symmetric"] is symmetric and generator["blocks"] == 2 and scale == 4


def test_the_name_of_a_model_stays_a_name(x4: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMG2IMG_WEIGHTS_DIR", str(x4.parent))
    x4.rename(x4.with_name("mine.safetensors"))
    for given, kept in (("mine", "mine"), (str(x4.with_name("mine.safetensors")), None)):
        experiment = read_experiment(
            None,
            [f"training.initial={{generator: {given}}}"],
            source={"images": "x"},
            defaults=start("super_resolution"),
        )
        written = yaml.safe_load(experiment.dump())
        assert written["training"]["initial"]["generator"] == (kept or given)
        assert Path(written["data"]["images"][0]).is_absolute()


@pytest.mark.parametrize(
    ("config", "model", "source", "left_out"),
    [
        ("span_x4_cpu", "x4-fast", {"images": "x"}, ""),
        ("span_x2_cpu", "x4-fast", {"images": "x"}, "all but last, for the file is for x4 and this is x2"),
        ("photo_x4_cpu", "photo", {"paired": ["A", "B"]}, ""),
    ],
)
def test_every_command_of_the_guides_fits_the_models_that_ship(
    config: str, model: str, source: dict, left_out: str
) -> None:
    experiment = read_experiment(config, [f"training.initial={{generator: {model}}}"], source=source)
    method = methods[experiment.method.name](experiment.method, {"source": 3, "target": 3})
    assert load_initial(method.generators()["generator"], Path(model)) == left_out


@pytest.mark.parametrize(
    ("own", "advice"),
    [
        ({"in_channels": 4}, "set data.source_channels=3, which fits the file"),
        ({"out_channels": 1}, "set data.target_channels=3, which fits the file"),
        ({"in_channels": 1, "out_channels": 1}, "set data.source_channels=3 and data.target_channels=3,"),
    ],
)
def test_other_channels_are_those_of_the_pictures(tmp_path: Path, own: dict, advice: str) -> None:
    """An RGB model for pictures with alpha, or grey ones: nothing in a configuration of the network helps."""
    save_model(tmp_path / "rgb.safetensors", build(ArchSpec("resnet", SMALL)), ModelInfo("own"))
    with pytest.raises(ConfigError, match=advice):
        load_initial(build(ArchSpec("resnet", {**SMALL, **own})), tmp_path / "rgb.safetensors")
    assert not {"in_channels", "out_channels"} & architecture(tmp_path / "rgb.safetensors")[0].keys()
