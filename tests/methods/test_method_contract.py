"""What every registered method promises; a new method is tested by being registered."""

from __future__ import annotations

import ast
import io
import json
import os
import socket
import subprocess
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import programs
import pytest
import torch
from click.testing import CliRunner
from samples import NAMES as NAMES_OF_NUMBERS
from samples import SIDE, batch, companions, configured, experiment, made, part, write
from torch import Tensor
from toy import Toy, ToyGenerator

import img2img.methods
from img2img import load_model
from img2img.cli.main import cli
from img2img.fields import Picture, Vector, groups, placed
from img2img.image import read_image
from img2img.methods import Method, methods
from img2img.methods.base import Role
from img2img.models import generators
from img2img.models.norm import batch_norms
from img2img.training import Runtime, Trainer, read_experiment, train
from img2img.training.estimate import estimate
from img2img.training.log import Watch
from img2img.training.settings import TrainingSettings
from img2img.training.starts import choose, places, start
from img2img.types import Batch

NAMES = [*methods, "toy"]
HERE = Path(__file__).parent
FLOATS = (Picture, Vector)  # kinds whose values a file can spoil


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(methods._entries, "toy", Toy)
    monkeypatch.setitem(generators._entries, "toy", ToyGenerator)
    torch.manual_seed(0)


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def fields(name: str) -> Mapping[str, Any]:
    return methods[name].fields_of(configured(name))


@pytest.fixture
def method(name: str) -> Method:
    return made(name)


def trainer(method: Method, **more: Any) -> Trainer:
    settings = TrainingSettings.model_validate({"steps": 9, "ema": 0.9, **more})
    return Trainer(method, settings, Runtime("cpu", precision="fp32"), lambda step, group: 2e-4)


def same(a: Any, b: Any) -> bool:
    """Returns whether two states are equal bit for bit; free places of a pool are NaN."""
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, Tensor):
        return torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0))
    return a == b


def copy(state: dict[str, Any]) -> dict[str, Any]:
    """Returns what a file gives back."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


# --- the declaration


def test_every_file_that_registers_is_imported() -> None:
    folder = Path(img2img.methods.__file__).parent
    registering = {
        path.stem for path in folder.glob("*.py") if "@methods.register(" in path.read_text(encoding="utf-8")
    }
    imported = {
        node.module.rpartition(".")[2]
        for node in ast.walk(ast.parse((folder / "__init__.py").read_text()))
        if isinstance(node, ast.ImportFrom) and node.module
    }
    assert registering, "no file registers anything: this test looks in the wrong place"
    assert registering <= imported


def test_it_declares_what_it_takes_and_has_a_tiny_form(name: str, fields: Mapping[str, Any]) -> None:
    assert methods[name].tiny, "the walk takes the networks of `tiny`, keys of the section method"
    assert groups(fields) and configured(name).name == name
    assert isinstance(next(iter(fields.values())), Picture), "the first field leads: it is a picture"
    small = sum(p.numel() for p in made(name).parameters() if p.requires_grad)
    assert small < 50_000, "it is for tests of seconds on a CPU"


def test_what_is_exported_speaks_of_its_fields(method: Method, fields: Mapping[str, Any]) -> None:
    exports = method.exports()
    assert exports, "nothing is worth keeping after training"
    for export in exports.values():
        assert isinstance(fields[export.reads], Picture) and isinstance(fields[export.makes], Picture)
        assert export.generator.in_channels == export.generator.out_channels == 3
        for name, field in export.generator.conditions.items():
            assert fields[name].kind == field.kind, "its companions are found by the names of the fields"
            assert not isinstance(field, Vector) or field.size == 5
    for name, field in fields.items():
        if isinstance(field, Picture):
            low, high = method.value_range(name)
            assert low < high


# --- steps


def step(method: Method, samples: Batch) -> tuple[dict[str, list[Tensor | None]], dict[str, Tensor]]:
    """Returns the gradients of each group in one step, and the losses."""
    parameters, gradients, found = method.parameter_groups(), {}, {}

    def optimize(group: str, losses: Mapping[str, Tensor]) -> None:
        torch.stack(list(losses.values())).sum().backward(inputs=parameters[group])
        gradients[group] = [None if p.grad is None else p.grad.clone() for p in parameters[group]]
        method.zero_grad()
        assert not found.keys() & losses.keys(), "one name stands for two losses"
        found.update(losses)

    method.train()
    method.begin("")
    method.check(samples)
    method.step(samples, optimize)
    return gradients, found


def test_losses_are_finite_and_every_parameter_gets_a_gradient(
    method: Method, fields: Mapping[str, Any]
) -> None:
    gradients, losses = step(method, batch(method, fields))
    assert losses
    for label, loss in losses.items():
        assert loss.shape == () and loss.dtype == torch.float32 and loss.isfinite(), label
    parameters = method.parameter_groups()
    assert gradients.keys() == parameters.keys(), "a group that never learns"
    names = {parameter: label for label, parameter in method.named_parameters()}
    everyone = [p for group in parameters.values() for p in group]
    assert len(set(everyone)) == len(everyone), "a parameter in two groups learns twice"
    outside = {names[p] for p in names.keys() - set(everyone) if p.requires_grad}
    assert not outside, "they can learn and are in no group"
    for group, found in gradients.items():
        pairs = list(zip(parameters[group], found, strict=True))
        assert not [names[p] for p, g in pairs if g is None or not g.isfinite().all()]
        # biases in front of a normalisation have a true gradient of zero; weights have none
        assert not [names[p] for p, g in pairs if p.ndim > 1 and not g.any()]


@pytest.mark.sampled(6)
def test_every_field_matters(method: Method, fields: Mapping[str, Any]) -> None:
    """A field that no loss depends on is declared for nothing, or was dropped on the way."""
    samples, state = batch(method, fields), deepcopy(method.state_dict())
    other = batch(method, fields, seed=1)

    def losses(name: str | None) -> list[float]:
        method.load_state_dict(state)
        torch.manual_seed(0)
        changed = {} if name is None else {name: other[name]}
        return [loss.item() for loss in step(method, Batch({**samples.fields, **changed}))[1].values()]

    before = losses(None)
    assert losses(None) == before
    assert not [name for name in fields if losses(name) == before]


@pytest.mark.sampled(6)
def test_what_is_not_finite_is_skipped_and_its_sample_named(name: str, fields: Mapping[str, Any]) -> None:
    for field in (field for field, kind in fields.items() if isinstance(kind, FLOATS)):
        one = trainer(made(name))
        samples = batch(one.method, fields)
        sick = Batch(
            {key: tensor.clone() for key, tensor in samples.fields.items()}, ("well of 1", f"{field} of 2")
        )
        sick[field][1].view(-1)[3:] = torch.nan
        before = deepcopy(one.method.state_dict())
        one.step(sick)
        ((number, keys),) = one.bad_keys()
        assert number == 0 and f"{field} of 2" in keys
        after = one.method.state_dict()
        weights = {label for label, _ in one.method.named_parameters()}
        groups = one.method.parameter_groups()
        kept = [all(same(before[label], after[label]) for label in _labels(one.method, g)) for g in groups]
        assert any(kept), "no update was skipped"
        assert all(after[label].isfinite().all() for label in weights)
        one.step(samples)
        assert not list(one.bad_keys()), "what the step left behind spoils the next one"
        assert all(
            value.isfinite().all()
            for value in one.method.state_dict(keep_vars=True).values()
            if value.requires_grad
        )


def _labels(method: Method, group: str) -> set[str]:
    chosen = set(method.parameter_groups()[group])
    return {label for label, parameter in method.named_parameters() if parameter in chosen}


@pytest.mark.sampled(6)
def test_a_state_gives_everything_back(name: str, fields: Mapping[str, Any]) -> None:
    """What a step depends on is in the state: one that takes it over goes on bit for bit."""
    first = trainer(made(name))
    turn = first.method.cycle
    samples = [batch(first.method, fields, seed=seed) for seed in range(2 * turn)]
    first.run(samples[:turn])
    state = copy(first.state())
    torch.manual_seed(99)
    other = trainer(made(name))
    assert not list(other.load_state(state))
    assert same(other.state(), state)
    random = torch.get_rng_state()
    other.run(samples[turn:])
    torch.set_rng_state(random)
    first.run(samples[turn:])
    assert same(other.method.state_dict(), first.method.state_dict())
    assert same(other.means(), first.means())


@pytest.mark.sampled(4)
def test_the_gradient_of_a_batch_is_the_mean_of_those_of_its_parts(
    name: str, fields: Mapping[str, Any]
) -> None:
    """What several processes compute together, in one: see the slow test with two."""
    if any(True for _ in batch_norms(made(name))):
        pytest.skip("batch norm looks at a whole batch: several processes add up its statistics")
    found = []
    for rows in (slice(None), slice(0, 2), slice(2, 4)):
        torch.manual_seed(0)
        method = made(name).double()
        samples = batch(method, fields, count=4)
        real = samples.map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
        torch.manual_seed(0)
        found.append(step(method, part(real, rows))[0])
    whole, *halves = found
    for group, gradients in whole.items():
        for index, gradient in enumerate(gradients):
            mean = sum(half[group][index] for half in halves) / 2
            torch.testing.assert_close(gradient, mean, rtol=1e-7, atol=1e-10)


# --- what people see


def test_columns_have_roles_and_shapes(method: Method, fields: Mapping[str, Any]) -> None:
    samples = batch(method, fields, count=3)
    networks = deepcopy(method.eval().generators())  # as the averages are: others than the method's own
    with torch.no_grad():
        before = method.columns(samples, networks)
        for parameter in (p for network in networks.values() for p in network.parameters()):
            parameter.add_(0.3 * torch.randn_like(parameter))
        after = method.columns(samples, networks)
        pair = method.compare(samples, networks)
    roles = [column.role for column in before.values()]
    assert set(roles) <= set(get_args(Role)) and roles[0] == "input" and "output" in roles
    assert len({column.values.shape[-2:] for column in before.values()}) == 1, "they stand side by side"
    for caption, column in before.items():
        assert column.values.ndim == 4 and len(column.values) == 3 and column.values.isfinite().all()
        assert column.values.shape[1] in (1, 3) and column.value_range.low < column.value_range.high
        changed = not torch.equal(column.values, after[caption].values)
        assert changed == (column.role == "output"), f"{caption} is no {column.role}"
        if column.role != "output":
            low, high = column.value_range
            assert low - 1e-3 <= column.values.min() and column.values.max() <= high + 1e-3, caption
        if column.of is not None:
            assert column.role == "output" and before[column.of].role == "input"
    assert (pair is None) == ("target" not in roles)
    if pair is not None:
        output, target = pair
        assert (output.role, target.role) == ("output", "target")
        assert output.values.shape == target.values.shape and output.value_range == target.value_range


# --- configurations


@pytest.mark.parametrize("paper", [True, False], ids=["defaults", "small"])
def test_what_a_run_without_a_file_takes_is_right(name: str, paper: bool) -> None:
    choice = choose(places(methods[name].fields_of(configured(name))), ["training.device=cpu"], paper, name)
    one = read_experiment(defaults=choice.sections, places=places)
    assert one.method.name == name and bool(choice.basis) <= bool(methods[name].small)


def test_config_init_writes_what_validate_takes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["config", "init", name, "-o", "mine.yaml"])
    assert result.exit_code == 0, result.output
    one = read_experiment("mine.yaml")
    expected = read_experiment(defaults=start(name), places=places)
    assert (one.method.name, one.training) == (name, expected.training)
    if name == "toy":  # it takes seconds to try a step; the dry run below does that for all
        result = CliRunner().invoke(cli, ["config", "validate", "mine.yaml"])
        assert result.exit_code == 0 and "is right" in result.stderr, result.output


# --- on files


class Notes(Watch):
    def __init__(self) -> None:
        self.warned: list[str] = []

    def warn(self, text: str) -> None:
        self.warned.append(text)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns the folder of a run of four steps, with the files that it learned from beside it."""

    @cache
    def run(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        places = write(folder / "data", methods[name].fields_of(configured(name)))
        notes = Notes()
        summary = train(experiment(name, places), folder / "run", watch=notes)
        assert summary.step == 4
        assert not [text for text in notes.warned if "step" in text and "finite" in text]
        return folder

    return run


def files(folder: Path, fields: Mapping[str, Any]) -> dict[str, Path]:
    return {
        name: folder / "data" / (f"{name}.csv" if isinstance(field, Vector) else name)
        for name, field in placed(fields).items()
    }


def losses(run: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: line.get(key) for key in ("step", "samples", "losses", "validation")} for line in found]


@pytest.mark.sampled(2)
def test_a_run_that_stopped_goes_on_as_if_it_had_not(
    name: str, fields: Mapping[str, Any], runs: Callable[[str], Path], tmp_path: Path
) -> None:
    folder, notes = runs(name), Notes()
    one = experiment(name, files(folder, fields))
    asked = iter(range(99))
    assert train(one, tmp_path / "run", stop=lambda: next(asked) == 3).step == 3
    torch.manual_seed(9)
    assert train(one, tmp_path / "run", resume=True, watch=notes).step == 4
    assert not [text for text in notes.warned if "not exactly" in text]
    straight, stopped = (
        torch.load(run / "states" / "state_00000004.pt", weights_only=True)
        for run in (folder / "run", tmp_path / "run")
    )
    assert same(straight, stopped)
    assert losses(folder / "run") == losses(tmp_path / "run")
    models = sorted(path.name for path in (folder / "run").glob("*.safetensors"))
    assert models == sorted(path.name for path in (tmp_path / "run").glob("*.safetensors"))
    for model in models:
        assert (folder / "run" / model).read_bytes() == (tmp_path / "run" / model).read_bytes()


@pytest.mark.sampled(4)
def test_a_run_leaves_a_grid_and_models_that_open(
    name: str, fields: Mapping[str, Any], runs: Callable[[str], Path]
) -> None:
    run, method = runs(name) / "run", made(name)
    grid = read_image(run / "samples" / "step_00000004.png")
    assert grid.height > SIDE // 2 and grid.width > SIDE
    exports = method.exports()
    gan = any("discriminator" in group for group in method.parameter_groups())
    stems = [""] if len(exports) == 1 else [f"{each}_" for each in exports]
    for stem, export in zip(stems, exports.values(), strict=True):
        for kind, (height, width) in (("last", (1, 9)), ("ema", (17, 30))):
            translator = load_model(run / f"{stem}{kind}.safetensors", device="cpu")
            kinds = {each: field.kind for each, field in export.generator.conditions.items()}
            assert {each: field.kind for each, field in translator.conditions.items()} == kinds
            assert translator.info.attributes == {
                each: NAMES_OF_NUMBERS
                for each, kind in translator.conditions.items()
                if kind.kind == "vector"
            }
            assert (translator.size is None) == method.any_size
            made_up = export.output == "own" or (gan and export.output == "like_input")
            assert (translator.info.adversarial, translator.info.synthetic) == (gan, made_up)
            pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
            more = companions(translator.conditions, height, width)
            result = translator(pixels, **more)
            scale = export.generator.scale
            assert result.shape == (height * scale, width * scale, 3) and result.dtype == np.uint8


@pytest.mark.sampled(2)
def test_a_dry_run_knows_data_length_parameters_and_memory(
    name: str, fields: Mapping[str, Any], runs: Callable[[str], Path]
) -> None:
    one = experiment(name, files(runs(name), fields))
    said = list(estimate(one))
    assert said[0].startswith("Data: ") and any(line.startswith("Length: 4 steps") for line in said)
    (parameters,) = (line for line in said if line.startswith("Parameters: "))
    assert all(group in parameters for group in made(name).parameter_groups())
    (memory,) = (line for line in said if line.startswith("Memory of a process: about "))
    assert float(memory.split()[5]) > 0


# --- two processes


@pytest.mark.parametrize(
    "names", ["toy", pytest.param(",".join(methods), marks=pytest.mark.slow)], ids=["toy", "all"]
)
def test_two_processes_learn_what_one_does(names: str, tmp_path: Path) -> None:
    from pair import STEPS, learned

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SLURM_", "TORCHELASTIC_", "MASTER_"))
    } | {"OMP_NUM_THREADS": "1"}
    ranks = [
        programs.start([HERE / "pair.py", rank, port, tmp_path, names], env=env, stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    try:
        errors = [rank.communicate(timeout=300)[1] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
            rank.stderr.close()
    assert [rank.returncode for rank in ranks] == [0, 0], errors
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    runtime = Runtime("cpu", precision="fp32")
    for name in names.split(","):
        assert same(first[name], second[name])
        before, alone = learned(name, runtime, steps=0), learned(name, runtime, steps=STEPS)
        for label, value in alone.items():
            if (value - before[label]).abs().max() > 1e-7:  # biases that a norm takes away only have rounding
                torch.testing.assert_close(
                    first[name][label], value, rtol=0, atol=1e-9, msg=f"{name}: {label}"
                )
