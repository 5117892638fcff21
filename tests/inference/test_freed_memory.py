"""What a network frees on a CPU stays with the process for its next call, in training and in use."""

from __future__ import annotations

import platform

import pytest
import torch

from img2img.checkpoint import ModelInfo
from img2img.inference import Translator, memory, runner
from img2img.models import ArchSpec, build, generators
from img2img.training import runtime


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
def test_large_blocks_are_not_fetched_from_the_system_again() -> None:
    import resource

    memory.keep_freed_memory()
    faults = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(2**24)  # 64 MiB, 16,384 pages
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert min(faults[1:]) < 2000, faults


def test_training_and_translating_on_a_cpu_keep_it(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    for module in (runner, runtime):
        monkeypatch.setattr(module, "keep_freed_memory", lambda module=module: told.append(module))
    Translator(build(ArchSpec("compact", dict(generators["compact"].tiny))), ModelInfo(), "cpu", "fp32")
    runtime.Runtime("cpu", precision="fp32")
    assert told == [runner, runtime]
