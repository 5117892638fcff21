"""What is free is the least that any limit leaves."""

from __future__ import annotations

import pytest
import torch

from img2img.inference import memory


def group(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(str(text))


def left(tmp_path, membership):
    (tmp_path / "membership").write_text(membership)
    return list(memory._cgroups(tmp_path / "root", tmp_path / "membership"))


def test_version_2_with_the_limit_of_a_parent(tmp_path):
    group(
        tmp_path / "root" / "a", memory__max=1000, memory__current=600, memory__stat="inactive_file 100\nx 1"
    )
    group(tmp_path / "root" / "a" / "b", memory__max="max", memory__current=500)
    assert left(tmp_path, "0::/a/b\n") == [500]


def test_version_1_and_other_controllers(tmp_path):
    files = {
        "memory__limit_in_bytes": 2000,
        "memory__usage_in_bytes": 700,
        "memory__stat": "total_inactive_file 50",
    }
    group(tmp_path / "root" / "memory" / "job", **files)
    assert set(left(tmp_path, "4:cpu,cpuacct:/x\n3:memory:/job\n0::/\n")) == {1350}


def test_in_a_container_the_group_is_the_root_of_what_is_mounted(tmp_path):
    group(tmp_path / "root", memory__max=1000, memory__current=100)
    assert left(tmp_path, "0::/docker/0123\n") == [900]


def test_no_groups_at_all(tmp_path):
    assert left(tmp_path, "") == []
    assert list(memory._cgroups(tmp_path, tmp_path / "none")) == []


def test_the_limit_of_the_process_counts(monkeypatch):
    resource = pytest.importorskip("resource")
    before = memory.free_memory()
    used = memory.psutil.Process().memory_info().vms
    limits = {resource.RLIMIT_AS: (used + 2**20, -1), resource.RLIMIT_DATA: (resource.RLIM_INFINITY, -1)}
    monkeypatch.setattr(resource, "getrlimit", limits.__getitem__)
    assert memory.free_memory() <= 2**24 < before


def test_the_budget_is_what_the_user_says_or_a_share(monkeypatch):
    cpu = torch.device("cpu")
    assert memory.budget(cpu, 12345) == (12345, 12345)
    monkeypatch.setattr(memory, "free_memory", lambda: 1000)
    assert memory.budget(cpu) == (500, 500)
    monkeypatch.setattr(memory, "free_memory", lambda: 2**40)
    assert memory.budget(cpu) == (memory.CPU_CAP, 2**39)
