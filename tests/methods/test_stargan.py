"""StarGAN: order of its updates, two data sets, labels of both kinds, the identity term, exact resuming."""

from __future__ import annotations

import io
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from samples import SIDE, batch, made
from torch import Tensor, nn

from img2img import load_model
from img2img.data import DataConfig, open_data
from img2img.data.check import check
from img2img.errors import ConfigError, PlanError
from img2img.fields import Vector, placed
from img2img.image import Image, write_image
from img2img.losses.identity import IdentityLoss, feature_networks
from img2img.methods import methods
from img2img.training import Runtime, Trainer, read_experiment, train
from img2img.training.document import documented
from img2img.training.estimate import estimate_memory
from img2img.training.graphs import graphed
from img2img.training.settings import TrainingSettings
from img2img.types import SYMMETRIC

DATA = {"load_size": None, "crop_size": 16, "fit": "keep", "workers": 0, "cache": "none"}
JOINT = ["data.images=null", "data.unpaired=[a, b]", "data.fields.second_attributes=classes"]
NETWORKS = {
    "generator": {"name": "stargan", "features": 4, "blocks": 0},
    "discriminator": {"name": "stargan", "features": 4, "layers": 2},
}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def trainer(method: Any) -> Trainer:
    settings = TrainingSettings.model_validate({"steps": 9, "ema": 0.9})
    return Trainer(method, settings, Runtime("cpu", precision="fp32"), lambda step, group: 1e-3)


def copied(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.sampled(1)
def test_a_run_goes_on_exactly_from_within_a_turn(joint: bool) -> None:
    """The generator learns in every third step, also of a run that stopped in between."""
    more = {"n_critic": 3, "gradient_penalty": 10, "joint": joint}
    one = trainer(made("stargan", **more))
    fields = type(one.method).fields_of(one.method.config)
    samples = [batch(one.method, fields, seed=seed) for seed in range(7)]
    learned = []
    for number, each in enumerate(samples):
        if number == 4:
            state = copied(one.state())
        weights = one.method.generator.last.conv.weight.clone()
        one.step(each)
        learned.append(not torch.equal(weights, one.method.generator.last.conv.weight))
    assert learned == [False, False, True, False, False, True, False]
    torch.manual_seed(7)
    other = trainer(made("stargan", **more))
    assert not other.load_state(state)
    other.run(samples[4:])
    for name, value in one.method.state_dict().items():
        assert torch.equal(value, other.method.state_dict()[name]), name
    assert int(other.method.turn) == 7 and one.means() == other.means()


def test_steps_that_differ_are_not_recorded(caplog: pytest.LogCaptureFixture) -> None:
    settings = TrainingSettings(steps=1, cuda_graphs=True)
    runtime = SimpleNamespace(device=torch.device("cuda"), world=1)
    assert made("stargan", n_critic=4).cycle == 4
    assert graphed(lambda each: torch.zeros(2), settings, runtime, 4) is None
    assert "n_critic" in caplog.text


def test_both_data_sets_share_all_weights_and_each_is_asked_for_its_labels() -> None:
    method = made("stargan", joint=True)
    first, second = method.generators().values()
    assert {id(p) for p in first.parameters()} == {id(p) for p in second.parameters()}
    assert not any(key.startswith(("second", "_sets")) for key in method.state_dict())
    assert method.exports()["second"].reads == "second" and list(second.conditions) == ["second_attributes"]
    x, labels = torch.rand(2, 3, SIDE, SIDE), torch.rand(2, 5)
    assert (first(x, attributes=labels) != second(x, second_attributes=labels)).any()


def test_what_takes_no_labels_is_refused() -> None:
    with pytest.raises(ConfigError, match="resnet takes no labels"):
        made("stargan", generator={"name": "resnet"})
    with pytest.raises(ConfigError, match="patchgan tells no attributes"):
        made("stargan", discriminator={"name": "patchgan"})
    cls = methods["stargan"].Config
    with pytest.raises(ValueError, match="squares of one size"):
        cls.model_validate({"name": "stargan"}).fitted((128, 157))


def test_what_the_data_decide_is_in_no_file_that_config_init_writes() -> None:
    text = documented(read_experiment("smoke_stargan", ["method.joint=true", *JOINT]))
    assert not re.search(r"^ *(others|second|attributes): ([0-9]|true|false)", text, re.MULTILINE)


@pytest.mark.usefixtures("_networks")
def test_a_dry_run_counts_a_step_in_which_the_generator_learns() -> None:
    one = read_experiment("smoke_stargan", ["method.identity={network: mean}"])
    parameters, memory = estimate_memory(one)
    assert "generator 0.0" in parameters and "Memory of a process: about" in memory


# --- labels


def pictures(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (20, 24, 3), np.uint8)
        write_image(Image(pixels), folder / name)
    return folder


def opened(labels: str | None, root: Path, place: object) -> Any:
    given = {**DATA, "images": root / "faces", "fields": {"attributes": place}, "validation_fraction": 0}
    config = DataConfig.model_validate(given)
    cls = methods["stargan"]
    section = cls.Config.model_validate({"name": "stargan", "labels": labels})
    return open_data(config, cls.fields_of(section.fitted((16, 16))))


@pytest.mark.parametrize(
    ("labels", "rows", "words"),
    [
        ("attributes", "1,0;0,7", r"Hat of b\.png is 7, and attributes are 1 \(yes\) or 0"),
        ("attributes", "1,0;0,-1", r"Hat of b\.png is -1"),
        ("classes", "1,0;1,1", r"attributes of b\.png is Smile and Hat, and each picture is of one class"),
        ("classes", "1,0;0,0", r"attributes of b\.png is nothing"),
        (None, "1,0;0,0.5", None),
        ("attributes", "1,-1;-1,1", None),
    ],
)
def test_labels_that_are_none_name_their_picture(
    labels: str | None, rows: str, words: str | None, tmp_path: Path
) -> None:
    pictures(tmp_path / "faces", "a.png", "b.png")
    lines = [f"{name}.png,{row}" for name, row in zip("ab", rows.split(";"), strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(["file,Smile,Hat", *lines]))
    if words is None:
        sample = opened(labels, tmp_path, tmp_path / "t.csv").train.validation_sample(1)
        assert min(sample["attributes"].pixels) == 0, "-1 is no, as in the CSV of CelebA"
        return
    with pytest.raises(PlanError, match=words):
        opened(labels, tmp_path, tmp_path / "t.csv")
    section = methods["stargan"].Config.model_validate({"name": "stargan", "labels": labels})
    config = DataConfig(images=(tmp_path / "faces",), fields={"attributes": tmp_path / "t.csv"}, **DATA)
    (finding,) = check(config, fields=methods["stargan"].fields_of(section)).findings
    assert finding.level == "error" and re.search(words, finding.text)


def run(root: Path, source: dict[str, Any], *sets: str) -> Any:
    defaults = {
        "method": {"name": "stargan", **NETWORKS, "n_critic": 2, "gradient_penalty": 1.0},
        "data": {**DATA, "validation_fraction": 0},
        "training": {
            "steps": 2,
            "batch_size": 2,
            "threads": 1,
            "device": "cpu",
            "precision": "fp32",
            "sample_every": 2,
            "grid_samples": 1,
        },
    }
    one = read_experiment(None, sets, source=source, defaults=defaults)
    return one, train(one, root / "run")


def test_a_folder_for_each_class_is_learned_by_cross_entropy_and_excludes_the_others(tmp_path: Path) -> None:
    names = [f"{kind}/{number}.png" for kind in ("happy", "sad", "angry") for number in range(2)]
    faces = pictures(tmp_path / "faces", *names)
    one, summary = run(tmp_path, {"images": faces, "fields": {"attributes": "classes"}})
    assert one.method.labels == "classes"
    (model,) = (path for path in summary.models if path.stem == "last")
    info = load_model(model, device="cpu").info
    assert info.attributes == {"attributes": ("angry", "happy", "sad")}
    assert info.exclusive == (("angry", "happy", "sad"),) and info.output == "own"


def test_two_data_sets_make_two_model_files(tmp_path: Path) -> None:
    first = pictures(tmp_path / "celeba", "1.png", "2.png", "3.png")
    second = pictures(tmp_path / "rafd", "happy/1.png", "sad/1.png")
    head, rows = "Black_Hair Blond_Hair Male", ["1.png 1 -1 1", "2.png -1 1 -1", "3.png -1 -1 1"]
    (tmp_path / "list_attr.txt").write_text("\n".join(["3", head, *rows]))
    fields = {"attributes": tmp_path / "list_attr.txt", "second_attributes": "classes"}
    data = {"unpaired": (first, second), "fields": fields, "range": (0, 255)}
    one, summary = run(tmp_path, data, "method.joint=true")
    assert (one.method.labels, one.method.second_labels) == ("attributes", "classes")
    models = {path.stem: load_model(path, device="cpu") for path in summary.models}
    assert set(models) == {"generator_last", "second_last"}
    hair, faces = models["generator_last"].info, models["second_last"].info
    assert hair.attributes == {"attributes": ("Black_Hair", "Blond_Hair", "Male")}
    assert hair.exclusive == (("Black_Hair", "Blond_Hair"),)
    assert faces.attributes == {"second_attributes": ("happy", "sad")}
    assert faces.exclusive == (("happy", "sad"),)
    assert hair.range == hair.target_range == faces.range == faces.target_range == (0, 255)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    assert models["second_last"](pixels, second_attributes=(0, 1)).shape == pixels.shape


# --- the identity term


class Mean(nn.Module):
    """Features of 2x2 parts of a picture."""

    input_size = 8

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1:] == (3, 8, 8) and x.min() >= 0 and x.max() <= 1
        return self.scale * nn.functional.avg_pool2d(x, 4)


@pytest.fixture
def _networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(feature_networks._entries, "mean", Mean)
    monkeypatch.setitem(feature_networks._entries, "flat", nn.Identity)


@pytest.mark.usefixtures("_networks")
def test_what_is_made_keeps_to_the_picture_in_features_that_somebody_brings() -> None:
    method = made("stargan", identity={"network": "mean", "weight": 1000, "distance": "l2"})
    assert not any("scale" in key for key in method.state_dict()), "it learns nothing and is saved nowhere"
    one, found = trainer(method), []
    fields = type(method).fields_of(method.config)
    for _ in range(12):
        one.step(batch(method, fields))
        found.append(one.means()["g_identity"])
    assert found[-1] < 0.8 * found[0]


@pytest.mark.usefixtures("_networks")
def test_identity_is_nought_for_the_same_and_the_network_is_frozen() -> None:
    x = 2 * torch.rand(2, 3, 16, 16) - 1
    for kind in ("cosine", "l2"):
        loss = IdentityLoss("mean", {"scale": 2.0}, SYMMETRIC, kind)
        y = (0.5 * x.flip(3)).requires_grad_()
        value = loss(y, x)
        value.backward()
        assert value > 1e-3 and y.grad is not None and y.grad.any() and loss.network.scale.grad is None
        assert loss(x, x).abs() < 1e-6
        assert loss(x[:, :1], x[:, :1]).abs() < 1e-6, "grey, too"
        half = loss(y.bfloat16(), x.bfloat16())
        assert half.dtype == torch.float32 and half.item() == pytest.approx(value.item(), rel=0.02)


@pytest.mark.usefixtures("_networks")
def test_a_feature_network_that_is_none_is_told_in_a_sentence() -> None:
    with pytest.raises(ConfigError, match="no feature network 'meen'; did you mean 'mean'"):
        made("stargan", identity={"network": "meen"})
    with pytest.raises(ConfigError, match="'mean' cannot be made: TypeError"):
        made("stargan", identity={"network": "mean", "arguments": {"size": 3}})
    strange = IdentityLoss("flat", {}, SYMMETRIC)
    strange.network.forward = lambda x: x.mean()
    with pytest.raises(ConfigError, match=r"a tensor \(N, ...\) of features, and returns \(\)"):
        strange(torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8))


def test_only_vectors_are_drawn_from_others() -> None:
    fields = methods["stargan"].fields
    assert set(fields) - set(placed(fields)) == {"target_attributes"}
    assert fields["target_attributes"] == Vector(of="attributes")
