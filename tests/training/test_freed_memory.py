"""What a training step on a CPU frees stays with the process for the next one."""

from __future__ import annotations

import platform

import pytest
import torch

from img2img.training.runtime import Runtime


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
def test_large_blocks_are_not_fetched_from_the_system_again() -> None:
    import resource

    Runtime("cpu", precision="fp32")
    faults = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(2**24)  # 64 MiB, 16,384 pages
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert min(faults[1:]) < 2000, faults
