"""training.compile: the same steps from compiled networks, and a sentence where nothing can be compiled."""

from __future__ import annotations

import pytest
import torch

from img2img.methods import Method, methods
from img2img.training import compiling
from img2img.training.loop import Trainer
from img2img.training.memory_format import prepare_networks
from img2img.training.runtime import Runtime
from img2img.training.settings import TrainingSettings
from img2img.types import Batch

PATCHGAN = {"name": "patchgan", "features": 4, "layers": 1}


def make(**changes: object) -> Method:
    torch.manual_seed(0)
    section = {
        "name": "pix2pix",
        "generator": {"name": "unet", "features": 4, "downs": 3, "dropout": False},
        "discriminator": PATCHGAN,
        **changes,
    }
    return methods["pix2pix"](methods["pix2pix"].Config.model_validate(section), {"source": 3, "target": 3})


def compiled(method: Method) -> list[str]:
    return [name for name, module in method.named_modules() if module._compiled_call_impl is not None]


def trainer(method: Method, compile: bool) -> Trainer:
    settings = TrainingSettings(steps=1, compile=compile, ema=0.9)
    runtime = Runtime("cpu", precision="fp32")
    prepare_networks(method, settings, runtime)
    return Trainer(method, settings, runtime, lambda step, group: 1e-3)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the compiler
def test_compiled_networks_learn_the_same_under_the_same_names():
    plain, quick = trainer(make(), False), trainer(make(), True)
    assert compiled(quick.method) == ["generator", "adversary.discriminator"]
    assert plain.method.state_dict().keys() == quick.method.state_dict().keys()
    random = torch.Generator().manual_seed(1)
    for _ in range(3):
        batch = Batch(
            {name: torch.rand(2, 3, 16, 16, generator=random) * 2 - 1 for name in ("source", "target")}
        )
        plain.step(batch)
        quick.step(batch)
    assert quick.means() == pytest.approx(plain.means(), rel=1e-3)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 2


def test_without_a_compiler_nothing_changes(monkeypatch, caplog):
    def broken(function):
        def call(x):
            raise RuntimeError("No working C++ compiler found in\ng++")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    each = trainer(make(), True)
    assert compiled(each.method) == []
    assert (
        "torch.compile does not work here (No working C++ compiler found in); it needs a C++" in caplog.text
    )
    each.step(Batch({"source": torch.zeros(1, 3, 16, 16), "target": torch.zeros(1, 3, 16, 16)}))
    assert each.step_count == 1


def test_what_is_differentiated_twice_is_not_compiled(monkeypatch):
    def compile(network: torch.nn.Module) -> None:  # as torch's, without its compiler
        network._compiled_call_impl = network._call_impl

    monkeypatch.setattr(torch.nn.Module, "compile", compile)
    monkeypatch.setattr(compiling, "_obstacle", lambda device: None)
    for penalty in ({"gradient_penalty": 10.0}, {"r1": 1.0}):
        method = make(**penalty)
        compiling.compile_networks(method, torch.device("cpu"))
        assert compiled(method) == ["generator"]
