"""`img2img config`, and every configuration that ships."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from pydantic import BaseModel

from img2img import keys
from img2img.cli.main import cli
from img2img.config import find_config, load_yaml, shipped_configs
from img2img.data import DataConfig
from img2img.errors import ConfigError
from img2img.interop import open_checkpoint
from img2img.losses.vgg import FeaturesMissingError
from img2img.methods import methods
from img2img.models import generators
from img2img.models.discriminators import discriminators
from img2img.training.document import documented, rows, schema
from img2img.training.estimate import estimate, estimate_memory, usual_batch, usual_channels
from img2img.training.experiment import read_experiment
from img2img.training.initial import load_initial
from img2img.training.settings import TrainingSettings
from img2img.training.starts import METHODS, places, start

FILES = {"aligned": "facades"}


def call(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, ["config", *map(str, arguments)], prog_name="img2img")
    return result.exit_code, result.stdout, result.stderr


def problems(*sets: str, name: str = "pix2pix_facades", source=FILES) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_experiment(name, sets, source=source)
    return [line.split("yaml: ")[-1] for line in str(caught.value).splitlines()]


def plain(experiment) -> dict:
    """Returns the configuration without the networks, whose arguments may be given or left to themselves."""
    tree = experiment.model_dump(mode="json")
    for role in ("generator", "discriminator"):
        tree["method"][role] = tree["method"][role]["name"]
    return tree


# --- what is wrong is said, all of it at once


def test_three_mistakes_in_three_sections_are_three_lines() -> None:
    found = problems("method.gann=hinge", "data.crop_sise=128", "training.epochs=many")
    assert found == [
        "there is no key method.gann; did you mean 'gan'?",
        "there is no key data.crop_sise; did you mean 'crop_size'?",
        "training.epochs is 'many'; input should be a valid integer, unable to parse string as an integer.",
    ]


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        ("gan=hing", "method.gan is 'hing'; did you mean 'hinge'?"),
        ("generator.featurs=3", "there is no argument of unet 'featurs'; did you mean 'features'?"),
        ("generator.norm=layer", "unet: norm is 'layer'; input should be 'batch', 'instance' or 'none'"),
        ("generator.name=unit", "method.generator: there is no generator 'unit'; did you mean 'unet'?"),
        ("generator=unet", "method.generator is 'unet'; it holds keys with values, such as {name: ...}."),
        ("name=cyclegn", "method.name: there is no method 'cyclegn'; did you mean 'cyclegan'?"),
        ("schedule.kind=cosin", "training.schedule.kind is 'cosin'; did you mean 'cosine'?"),
        (
            "schedule=constant",
            "training.schedule is 'constant'; it holds keys with values, such as {kind: ...}.",
        ),
        ("training.schedule={}", "training.schedule.kind is missing; it says which one is meant."),
        ("schedule.constant_epoch=4", "schedule.constant_epoch; did you mean 'constant_epochs'?"),
        (
            "training.stages=[{name: a}]",
            "training.stages.0: give the length of the stage a as",
        ),
        ("betas=[0.5]", "training.betas"),
        ("crop_size=[1, 2, 3]", "data.crop_size is [1, 2, 3]; "),
        ("data.flip=maybe", "data.flip is 'maybe'; "),
        ("learning_rates={generator: fast}", "training.learning_rates.generator is 'fast'; "),
        ("learning_rate=-1", "training.learning_rate is -1; input should be greater than 0."),
        ("load_size=100", "data: crop_size (256, 256) is larger than load_size (100, 100)"),
        ("augment.photometric=[{RandomGama: {}}]", "data.augment.photometric: there is no transform"),
        ("seed=-1", "seed is -1; "),
        ("training=fast", "training is 'fast'; it holds keys with values"),
        ("foo=1", "there is no key 'foo'; `img2img config schema` lists all keys."),
        ("epoch=1", "there is no key 'epoch'; did you mean 'training.epochs'?"),
        ("lr=1", "there is no key 'lr'; did you mean 'training.learning_rate'?"),
        ("training.lr=1", "there is no key training.lr; did you mean 'learning_rate'?"),
        ("method.lr=1", "there is no key method.lr; did you mean 'training.learning_rate'?"),
        ("data.epochs=1", "there is no key data.epochs; did you mean 'training.epochs'?"),
        ("batchSize=1", "there is no key 'batchSize'; did you mean 'training.batch_size'?"),
        ("features=1", "there is no key 'features'; did you mean 'method.generator.features'?"),
        ("ndf=1", "there is no key 'ndf'; did you mean 'method.discriminator.features'?"),
        ("netG=unet", "there is no key 'netG'; did you mean 'method.generator.name'?"),
        ("generator.ngf=1", "there is no argument of unet 'ngf'; did you mean 'features'?"),
        ("lambda_L1=1", "there is no key 'lambda_L1'; did you mean 'method.pixel_weight'?"),
        ("gpu-ids=0", "there is no key 'gpu_ids'; did you mean 'training.device'?"),
        ("epochs", "'epochs' is no assignment; write key=value"),
        ("epochs=[", "the value of 'epochs=[', line 1"),
        ("epochs=1 steps=2", "training: give the length as epochs or as steps, not both."),
    ],
)
def test_a_mistake_is_one_sentence(assignment: str, sentence: str) -> None:
    sets = assignment.split(" ") if assignment.startswith("epochs=1") else [assignment]
    (found,) = problems(*sets)
    assert sentence in found


def test_other_names_of_keys_lead_to_keys_that_there_are() -> None:
    sections = {"data": [DataConfig], "training": [TrainingSettings]}
    sections["method"] = [methods[name].Config for name in methods]
    known = {f"{key}.{name}" for key, some in sections.items() for each in some for name in each.model_fields}
    for name, key in keys._USUAL.items():
        assert keys.meant(name.upper().replace("_", "-")) == key
        assert key == "seed" or ".".join(key.split(".")[:2]) in known


def test_a_mistake_of_an_assignment_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("method: {name: pix2pix, gann: x}\ndata: {aligned: x}\ntraining: {epochs: 1}\n")
    with pytest.raises(ConfigError) as caught:
        read_experiment(path, ["crop_size=x"])
    of_file, own = str(caught.value).splitlines()
    assert of_file.startswith(f"{path}: there is no key method.gann")
    assert own.startswith("data.crop_size is 'x'")
    with pytest.raises(ConfigError) as caught:
        read_experiment("smoke_pix2pix", ["crop_size=x"])
    assert str(caught.value).startswith("data.crop_size is 'x'")


def test_no_length_says_how_to_give_one() -> None:
    with pytest.raises(ConfigError, match=r"epochs or as steps: `epochs=100`"):
        read_experiment(None, source=FILES, defaults={"method": {"name": "pix2pix"}, "training": {}})


@pytest.mark.parametrize(
    ("method", "assignment", "role", "arguments"),
    [
        ("pix2pix", "generator.downs=7", "generator", {"name": "unet", "downs": 7}),
        ("cyclegan", "generator.blocks=6", "generator", {"name": "resnet", "blocks": 6, "norm": "instance"}),
        (
            "cyclegan",
            "discriminator.layers=2",
            "discriminator",
            {"name": "patchgan", "layers": 2, "norm": "instance"},
        ),
        ("super_resolution", "generator.blocks=4", "generator", {"name": "srresnet", "blocks": 4}),
    ],
)
def test_an_argument_alone_is_for_the_default_network(method, assignment, role, arguments) -> None:
    defaults = {"method": {"name": method}, "training": {"epochs": 1}}
    one = read_experiment(None, [assignment], defaults=defaults, places=places)
    assert getattr(one.method, role).model_dump() == arguments


# --- the size that is loaded follows the size that is cut


@pytest.mark.parametrize(
    ("data", "sets", "load"),
    [
        ({}, ["crop_size=128"], (143, 143)),
        ({}, ["data.crop-size=[64, 96]"], (72, 107)),
        ({"crop_size": 64}, [], (72, 72)),
        ({"load_size": 300, "crop_size": 200}, ["crop_size=100"], (150, 150)),
        ({"load_size": 256, "crop_size": 256}, ["crop_size=128"], (128, 128)),
        ({"load_size": 286, "crop_size": 256}, ["crop_size=128", "load_size=200"], (200, 200)),
        ({"load_size": None, "crop_size": 256}, ["crop_size=128"], None),
        ({"load_size": 286, "crop_size": 128}, [], (286, 286)),
        ({"load_size": 286}, ["crop_size=null"], (286, 286)),
    ],
)
def test_load_size_keeps_its_proportion_to_crop_size(data: dict, sets: list[str], load) -> None:
    defaults = {"method": {"name": "pix2pix"}, "data": data, "training": {"epochs": 1}}
    one = read_experiment(None, sets, source=FILES, defaults=defaults)
    assert one.data.load_size == load
    assert (one.data.mismatch(methods[one.method.name].fields_of(one.method)) is not None) == (
        bool(load) and one.data.crop_size is not None and load[0] > 1.3 * one.data.crop_size[0]
    )


def test_several_wrong_assignments_are_several_lines() -> None:
    assert len(problems("epoch=1", "foo=1", "epochs=[")) == 3


def test_data_of_another_kind() -> None:
    (found,) = problems(source={"images": "photos"})
    assert "trained on pairs" in found and "data names single pictures (images)" in found


def test_a_name_that_is_nothing() -> None:
    with pytest.raises(ConfigError, match=r"no such file; .*did you mean 'pix2pix_facades'"):
        find_config("pix2pix_facade")
    with pytest.raises(ConfigError, match=r"a/b\.yaml: there is no such file$"):
        find_config("a/b.yaml")


# --- overriding


def test_keys_may_be_short_or_whole_and_reach_into_what_they_hold() -> None:
    sets = ["steps=1e3", "data.crop_size=[128, 256]", "schedule.kind=cosine", "schedule.cycles=2"]
    sets += ["generator.features=8", "method.discriminator.layers=2", "seed=5", "clip-norm=1.5"]
    one = read_experiment("pix2pix_facades", sets, source=FILES)
    assert one.training.steps == 1000 and one.training.epochs is None  # the new unit replaces the old one
    assert one.data.crop_size == (128, 256)
    assert one.training.schedule.model_dump() == {"kind": "cosine", "cycles": 2, "floor": 0.0, "warmup": 0}
    assert one.method.generator.arguments["features"] == 8
    assert one.method.generator.arguments["downs"] == 8  # the file's
    assert one.method.discriminator.arguments["layers"] == 2
    assert one.seed == 5 and one.training.clip_norm == 1.5
    assert str(one.data.aligned[0]) == "facades"


def test_another_architecture_takes_none_of_the_old_arguments() -> None:
    sets = ["generator.name=resnet", "generator.blocks=6"]
    for order in (sets, sets[::-1]):
        one = read_experiment("pix2pix_facades", order, source=FILES)
        assert one.method.generator.model_dump() == {"name": "resnet", "blocks": 6}


def test_text_is_no_yes_and_no_no() -> None:
    with pytest.raises(ConfigError, match=r"symmetric is 'off'; input should be a valid boolean"):
        read_experiment("edsr_x4", ["generator.symmetric=off"], source={"images": "x"})


def test_a_source_replaces_the_source_of_the_file() -> None:
    one = read_experiment("pix2pix_facades", source={"paired": ["a", "b"]})
    assert one.data.aligned is None and list(map(str, one.data.paired)) == ["a", "b"]


def test_entries_of_lists_can_be_changed() -> None:
    stages = "training={stages: [{name: psnr, steps: 5}, {name: gan, steps: 5}]}"
    sets = [stages, "stages.1.steps=7"]
    one = read_experiment(None, sets, defaults={"method": {"name": "super_resolution"}}, places=places)
    assert [stage.steps for stage in one.training.stages] == [5, 7]
    with pytest.raises(ConfigError, match="stages has the entries 0 to 1, not '2'"):
        read_experiment(None, [stages, "training.stages.2.steps=7"], defaults={"method": {"name": "pix2pix"}})


# --- what ships


def test_every_configuration_that_ships_can_be_read(tmp_path: Path) -> None:
    for name in shipped_configs():
        experiment = read_experiment(name, places=places)
        if name.startswith("smoke_"):  # one of each method
            (tmp_path / "again.yaml").write_text(experiment.dump())
            assert read_experiment(tmp_path / "again.yaml").dump() == experiment.dump()


@pytest.mark.parametrize("name", shipped_configs())
@pytest.mark.sampled(16)
def test_every_configuration_that_ships_has_networks_that_fit(name: str) -> None:
    """They are built without memory; the pictures that are cut have a size that they take."""
    experiment = read_experiment(name, places=places)
    with torch.device("meta"):
        channels = usual_channels(experiment)
        try:
            method = methods[experiment.method.name](experiment.method, channels)
        except FeaturesMissingError as error:
            pytest.skip(str(error))
        method.check(usual_batch(experiment, channels))


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped_configs())
def test_every_configuration_that_ships_takes_a_step(name: str) -> None:
    """One of each stage, with nothing computed."""
    try:
        sentences = list(estimate_memory(read_experiment(name, places=places)))
    except FeaturesMissingError as error:
        pytest.skip(str(error))
    (first,) = [place for place, each in enumerate(sentences) if each.startswith("Parameters: ")]
    assert "Memory" in sentences[first + 1]


def test_the_parts_of_a_building_have_one_order_and_one_name_each() -> None:
    """A class is the number of its colour, in all models and measurements of these data."""
    names = [name for name in shipped_configs() if "facades" in name]
    found = [data for data in (read_experiment(name).data for name in names) if data.palette]
    assert len(found) == 3
    assert len({(data.palette, data.class_names) for data in found}) == 1 and found[0].class_names


def test_parameters_and_memory_of_the_paper() -> None:
    sentences = list(estimate_memory(read_experiment("pix2pix_facades", ["precision=fp32", "device=cpu"])))
    assert sentences[0] == "Parameters: discriminator 2.77 M, generator 54.41 M."
    # measured on a CPU: 1.83 GiB in the steps, 2.15 GiB while the model file is written
    gib = float(sentences[1].split("about ")[1].split(" GiB")[0])
    assert 1.5 < gib < 2.3


def test_sizes_that_do_not_fit_are_found_without_data() -> None:
    with pytest.raises(ConfigError, match=r"multiples of 256.*200x200"):
        list(estimate_memory(read_experiment("pix2pix_facades", ["crop_size=200"])))


def test_without_its_data_the_rest_is_told_first(tmp_path: Path) -> None:
    told = []
    with pytest.raises(Exception, match="nowhere") as caught:
        for sentence in estimate(
            read_experiment("smoke_pix2pix", source={"aligned": str(tmp_path / "nowhere")})
        ):
            told.append(sentence)
    assert type(caught.value).__name__ == "PlanError"
    assert told[0].startswith("Parameters")


# --- the commands


@pytest.mark.parametrize("name", [*methods, "smoke_pix2pix", "pix2pix_facades"])
@pytest.mark.sampled(2)
def test_init_writes_every_key_with_its_meaning_and_it_is_right(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    code, out, err = call("init", name, "-o", path)
    assert code == 0 and out == "", err
    tree = load_yaml(path)
    experiment = read_experiment(path)
    config = type(experiment.method)
    for section, model in (("method", config), ("data", DataConfig), ("training", TrainingSettings)):
        assert set(tree[section]) == set(model.model_fields)
    if name not in methods:
        assert plain(experiment) == plain(read_experiment(name, places=places))
    text = path.read_text()
    assert max(map(len, text.splitlines())) <= 110
    lines = text.splitlines()
    for key in ("ema", "crop_size", "features", *({"gan"} & set(config.model_fields))):
        (place,) = [n for n, line in enumerate(lines) if line.strip().startswith(f"{key}:")][:1]
        assert lines[place - 1].strip().startswith("# ")
    assert call("init", name, "-o", path)[0] == 2
    if "pix2pix" in name and name != "pix2pixhd":  # networks of the others in full size take seconds each
        code, _, err = call("validate", path)
        assert code == 0 and err.splitlines()[-1] == f"{path} is right."


def test_init_prints_and_names_what_there_is(tmp_path: Path) -> None:
    code, out, err = call("init")
    assert code == 0 and "name: pix2pix" in out and err == ""
    code, _, err = call("init", "pixpix")
    assert code == 2 and "did you mean 'pix2pix'" in err


def test_validate_says_everything_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("sed: 1\nmethod: {name: pix2pix, gan: hing}\ndata: {workers: x}\ntraining: {epoch: 4}\n")
    code, _, err = call("validate", path)
    assert code == 2
    for words in (
        "no section 'sed'; did you mean 'seed'",
        "'hinge'",
        "data.workers",
        "training.epoch; did you",
    ):
        assert words in err
    assert err.startswith("Error: ") and "Traceback" not in err


def test_list_names_what_ships() -> None:
    code, out, _ = call("list")
    assert code == 0 and all(name in out for name in shipped_configs())


def test_the_table_has_every_key_with_a_meaning() -> None:
    found = list(rows())
    keys = {row.key for row in found}
    assert {
        "seed",
        "training.ema",
        "data.crop_size",
        "method (pix2pix).gan",
        "generator (unet).downs",
    } <= keys
    assert "training.schedule (cosine).cycles" in keys
    assert all(row.meaning for row in found if not row.key.startswith(("generator", "discriminator")))
    code, out, _ = call("schema", "schedule", "cosine")
    assert code == 0 and "training.schedule (cosine).floor" in out and "downs" not in out


def test_a_word_that_no_key_has() -> None:
    code, out, err = call("schema", "nosuchword")
    assert code == 2 and not out and "no key has nosuchword in it" in err


def test_the_schema_knows_every_method_and_architecture() -> None:
    code, out, _ = call("schema", "--json")
    found = json.loads(out)
    assert code == 0 and found == json.loads(json.dumps(schema()))
    assert {ref["$ref"].split("/")[-1] for ref in found["properties"]["method"]["oneOf"]} == {
        methods[name].Config.__name__ for name in methods
    }
    for definition, registry in (("GeneratorConfig", generators), ("DiscriminatorConfig", discriminators)):
        names = {each["properties"]["name"]["const"] for each in found["$defs"][definition]["oneOf"]}
        assert names == set(registry)
    assert found["$defs"]["TrainingSettings"]["properties"]["ema"]["default"] == 0.0


def test_every_key_says_what_it_means() -> None:
    models: list[type[BaseModel]] = [
        *(methods[name].Config for name in methods),
        DataConfig,
        TrainingSettings,
    ]
    for model in models:
        for name, field in model.model_fields.items():
            assert field.description and field.description[-1] in ".:)", f"{model.__name__}.{name}"


def test_a_documented_run_is_the_same_run(tmp_path: Path) -> None:
    experiment = read_experiment("smoke_esrgan", ["augment.photometric=[{RandomGamma: {p: 0.5}}]"])
    (tmp_path / "c.yaml").write_text(documented(experiment))
    assert plain(read_experiment(tmp_path / "c.yaml")) == plain(experiment)


# --- starting from checkpoints of others


@pytest.mark.parametrize(
    ("file", "kind", "expected"),
    [
        ("pix2pix_unet256_bn/latest_net_G.pth", "aligned", {"name": "unet", "downs": 8, "norm": "batch"}),
        ("rrdb_x4_new/model.pth", "images", {"name": "rrdbnet", "scale": 4}),
        ("rrdb_x1_old/model.pth", "images", {"name": "rrdbnet", "scale": 1}),
        ("compact_x4/model.pth", "images", {"name": "compact", "scale": 4}),
    ],
)
@pytest.mark.sampled(2)
def test_the_architecture_comes_with_the_weights(
    test_data: Path, file: str, kind: str, expected: dict[str, object]
) -> None:
    path = test_data / "fixtures" / file
    network, _ = open_checkpoint(path)
    initial = f"training.initial={{generator: {path}}}"
    spoilt = ["degradation=denoise"] if expected.get("scale") == 1 else []
    sets = [initial, *spoilt]
    experiment = read_experiment(None, sets, source={kind: "x"}, defaults=start(METHODS[kind]))
    generator = experiment.method.generator
    assert generator.name == network.spec.name
    of_pictures = {
        "in_channels",
        "out_channels",
    }  # the data say these, and the weights are compared with them
    assert {*generator.arguments.items()} == {
        (key, value) for key, value in network.spec.arguments.items() if key not in of_pictures
    }
    assert expected.items() <= {"name": generator.name, **generator.arguments}.items()
    assert getattr(experiment.method, "scale", 1) == network.scale
    built = methods[experiment.method.name](experiment.method, {"source": 3, "target": 3}).generators()[
        "generator"
    ]
    load_initial(built, path)
    for name, value in network.state_dict().items():
        assert torch.equal(built.state_dict()[name], value)
