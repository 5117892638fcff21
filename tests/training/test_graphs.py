"""Recorded steps: the bookkeeping with recorders that work on a CPU, the real thing on a GPU."""

from __future__ import annotations

import copy
import logging

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from img2img.methods import Method, methods
from img2img.training.graphs import GraphedStep, graphed
from img2img.training.loop import Trainer
from img2img.training.runtime import Runtime
from img2img.training.settings import TrainingSettings
from img2img.types import Batch

PATCHGAN = {"name": "patchgan", "features": 4, "layers": 1}
METHODS = {
    "pix2pix": {"generator": {"name": "unet", "features": 4, "downs": 3}, "discriminator": PATCHGAN},
    "pix2pix with everything": {
        "generator": {"name": "unet", "features": 4, "downs": 3},
        "discriminator": {"name": "patchgan", "features": 4, "layers": 1, "norm": "none", "spectral": True},
        "gan": "wgan",
        "gradient_penalty": 10.0,
        "feature_matching": 10.0,
        "ssim_weight": 1.0,
        "diffaugment": ["color", "translation", "cutout"],
    },
    "cyclegan": {
        "generator": {"name": "resnet", "features": 4, "blocks": 1},
        "discriminator": {**PATCHGAN, "norm": "instance"},
        "pool": 3,
    },
    "cut": {
        "generator": {"name": "cut_resnet", "features": 4, "blocks": 1},
        "discriminator": {**PATCHGAN, "blur": True},
        "nce_layers": [0, 8, 12],
        "patches": 9,
        "projection": 4,
        "flip_equivariance": True,
    },
    "super_resolution": {
        "scale": 2,
        "objective": "gan",
        "gan": "ragan",
        "generator": {"name": "compact", "features": 4, "convs": 1},
        "discriminator": PATCHGAN,
    },
}


def make(name: str) -> Method:
    torch.manual_seed(0)
    kind = name.split()[0]
    return methods[kind](
        methods[kind].Config.model_validate({"name": kind, **METHODS[name]}), {"source": 3, "target": 3}
    )


def trainer(method: Method, device: str = "cpu", **settings: object) -> Trainer:
    made = TrainingSettings.model_validate(
        {"steps": 1, "ema": 0.9, "clip_norm": 5.0, "device": device, **settings}
    )
    runtime = Runtime(device, precision="fp32" if device == "cpu" else "bf16")
    return Trainer(method, made, runtime, lambda step, group: 1e-3 / (1 + step))


def batch(number: int, scale: int = 1, side: int = 16, device: str = "cpu", bad: bool = False) -> Batch:
    random = torch.Generator().manual_seed(number)
    source, target = (torch.rand(2, 3, s, s, generator=random) for s in (side, side * scale))
    if bad:
        target[0, 0, 0, 0] = torch.nan
    return Batch({"source": source.to(device), "target": target.to(device)}, (str(number),))


class Repeating:
    """Does recorded work anew at each replay."""

    def __init__(self) -> None:
        self.eager = self.recorded = self.replayed = 0

    def run(self, work):
        self.eager += 1
        return work()

    def record(self, work):
        self.recorded += 1
        result = torch.empty(2)

        def replay() -> None:
            self.replayed += 1
            result.copy_(work())

        return result, replay


class Writing(TorchDispatchMode):
    """Writes down the operations within it; `repeat` does those alone, on the same tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.done = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert function is not torch.ops.aten._local_scalar_dense.default, "the host looked at a value"
        found = function(*args, **(kwargs or {}))
        self.done.append((function, args, kwargs or {}, tree_leaves(found)))
        return found

    @torch.no_grad()
    def repeat(self) -> None:
        for function, args, kwargs, results in self.done:
            for old, new in zip(results, tree_leaves(function(*args, **kwargs)), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():  # no view
                    old.copy_(new)


class Tracing(Repeating):
    """Writes down the operations of a step and repeats those alone, without Python, as a CUDA graph does."""

    def record(self, work):
        self.recorded += 1
        result, written = torch.empty(2), Writing()

        def replay() -> None:
            self.replayed += 1
            if written.done:
                written.repeat()
            else:
                with written:  # does the work, too
                    result.copy_(work())

        return result, replay


class Refusing(Repeating):
    def record(self, work):
        self.recorded += 1
        raise RuntimeError("operation not permitted when stream is capturing\nmore")


def compare(one: Trainer, other: Trainer) -> None:
    """Fails unless both know the same, bit for bit."""
    states = one.method.state_dict(), other.method.state_dict()
    assert states[0].keys() == states[1].keys()
    for key, value in states[0].items():
        assert torch.equal(value.nan_to_num(7), states[1][key].nan_to_num(7)), key
    for name, average in one.averages.items():
        for value, theirs in zip(
            average.state_dict().values(), other.averages[name].state_dict().values(), strict=True
        ):
            assert torch.equal(value, theirs)


@pytest.mark.parametrize("recorder", [Repeating, Tracing])
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.sampled(2)
def test_recorded_steps_equal_eager_ones(name, recorder):
    method = make(name)
    one, other = trainer(copy.deepcopy(method)), trainer(method)
    found, scale = recorder(), method.scale
    other._graphed = GraphedStep(other._update, found)
    means, flags = [], []
    for each in (one, other):
        for optimizer in each._optimizers.values():  # as on a GPU with cuda_graphs
            optimizer.param_groups[0]["lr"] = torch.tensor(0.0)
        torch.manual_seed(1)
        seen = []
        for number in range(10):
            each.step(batch(number, scale, bad=number == 7))
            if number in (2, 5):
                seen.append(each.means())
        means.append([*seen, each.means()])
        flags.append(list(each.bad_keys()))
    compare(one, other)
    assert means[0] == means[1] and len(means[0]) == 3
    assert flags[0] == flags[1] == [(7, ("7",))]
    assert (found.eager, found.recorded, found.replayed) == (3, 1, 7)


@pytest.mark.parametrize("name", METHODS)
def test_no_step_waits_for_the_device(name):
    class NoLook(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function is torch.ops.aten._local_scalar_dense.default:
                raise AssertionError("the host looked at a value")
            return function(*args, **(kwargs or {}))

    each = trainer(make(name))
    with NoLook():
        for number in range(2):
            each.step(batch(number, each.method.scale))
        with pytest.raises(AssertionError, match="looked"):
            float(each._bad)


def test_rare_shapes_stay_eager_and_recordings_have_a_limit(monkeypatch):
    found = Repeating()
    seen = []
    step = GraphedStep(lambda b: seen.append(b) or torch.zeros(2), found)
    for number in range(6):
        step(batch(number))
        if number < 3:
            step(batch(number, side=8))  # never often enough
    assert (found.eager, found.recorded, found.replayed) == (6, 1, 3)
    assert seen[-1].keys == () and torch.equal(seen[-1].source, batch(5).source)
    monkeypatch.setattr("img2img.training.graphs._MOST", 1)
    for number in range(6):
        step(batch(number, side=12))
    assert (found.recorded, found.eager) == (1, 12)


def test_what_is_replaced_is_recorded_anew():
    each = trainer(make("pix2pix"))
    found = Repeating()
    each._graphed = GraphedStep(each._update, found)
    for number in range(5):
        each.step(batch(number))
    assert found.recorded == 1
    state = copy.deepcopy(each.state())
    each.load_state(state)
    for number in range(5):
        each.step(batch(number))
    assert found.recorded == 2 and found.eager == 6
    each.freeze(())
    each.step(batch(0))
    assert found.eager == 7


def test_conditions_are_copied():
    def with_mask(value: float) -> Batch:
        image = torch.zeros(1, 3, 4, 4)
        return Batch({"source": image, "target": image, "mask": torch.full((1, 1, 4, 4), value)})

    step = GraphedStep(lambda b: b.mask.mean().expand(2).clone(), Repeating())
    assert [float(step(with_mask(value))[0]) for value in (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)] == [
        0,
        1,
        2,
        3,
        4,
        5,
    ]


def test_what_cannot_be_recorded_goes_on_eagerly(caplog):
    one, other = trainer(make("pix2pix")), trainer(make("pix2pix"))
    found = Refusing()
    other._graphed = GraphedStep(other._update, found)
    with caplog.at_level(logging.WARNING):
        for each in (one, other):
            torch.manual_seed(1)
            for number in range(6):
                each.step(batch(number))
    compare(one, other)
    assert (found.eager, found.recorded) == (6, 1)
    (record,) = caplog.records
    assert "cannot be recorded (operation not permitted when stream is capturing)" in record.getMessage()


def test_a_cpu_has_no_graphs(caplog):
    wanted = TrainingSettings.model_validate({"steps": 1, "cuda_graphs": True})
    runtime = Runtime("cpu", precision="fp32")
    assert (
        graphed(lambda b: torch.zeros(2), TrainingSettings(steps=1), runtime) is None and not caplog.records
    )
    assert graphed(lambda b: torch.zeros(2), wanted, runtime) is None
    assert "this run computes on cpu" in caplog.text


@pytest.mark.gpu
@pytest.mark.parametrize("name", METHODS)
def test_twenty_graphed_steps_equal_eager_ones_on_a_gpu(name, monkeypatch, caplog):
    if not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device")
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    method = make(name)
    eager = trainer(copy.deepcopy(method), "cuda", cuda_graphs=True)
    eager._graphed = None
    replayed = trainer(method, "cuda", cuda_graphs=True)
    for each in (eager, replayed):
        torch.manual_seed(1)
        for number in range(20):
            each.step(batch(number, method.scale, device="cuda", bad=number == 12))
    torch.cuda.synchronize()
    assert replayed._graphed is not None and len(replayed._graphed._recordings) == 1, caplog.text
    compare(eager, replayed)
    assert eager.means() == replayed.means()
    assert [number for number, _ in replayed.bad_keys()] == [12]
