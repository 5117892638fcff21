"""Threads sleep while they wait, in every program of ours, unless the user wants otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from img2img.threads import wait_passively

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


@pytest.fixture
def untouched(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    yield
    os.environ.pop("OMP_WAIT_POLICY", None)


def test_they_sleep(untouched):
    wait_passively()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"


@pytest.mark.parametrize("name", NAMES)
def test_what_the_user_has_set_stays(untouched, monkeypatch, name):
    monkeypatch.setenv(name, "7")
    wait_passively()
    assert {each: os.environ[each] for each in NAMES if each in os.environ} == {name: "7"}


def test_the_command_settles_it_before_torch_is_there(untouched):
    code = """
import os, sys
from img2img.cli.main import cli, main
cli.main = lambda: print("torch" in sys.modules, os.environ.get("OMP_WAIT_POLICY"))
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "PASSIVE"]
