"""Pages that are made from the code say what the code says now."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import click
import pytest

ROOT = Path(__file__).resolve().parent.parent


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{name}_tool", ROOT / "tools" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load("docs")


def test_the_page_of_operations_is_current(tool: ModuleType) -> None:
    written = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert written == tool.operations_page(), "run python tools/docs.py"


def test_the_table_says_what_each_format_holds(tool: ModuleType) -> None:
    written = (ROOT / "docs" / "pictures.md").read_text(encoding="utf-8")
    table = written.partition(tool.TABLE[0])[2].partition(tool.TABLE[1])[0]
    assert table == tool.metadata_table(), "run python tools/docs.py"


@pytest.mark.slow
def test_the_manual_pages_are_current() -> None:
    written = {path.name: path.read_text("utf-8") for path in (ROOT / "docs" / "man").glob("*.1")}
    assert written == load("man").pages(), "run python tools/man.py"


def test_a_manual_page_shows_what_the_help_says() -> None:
    man = load("man")

    @click.command("convert", help="Turn it round.\n\nMore.\n\n\b\n  .so it begins\n  img2img convert -x\n")
    @click.option("--deep-er", metavar="A\\B", help="'Tis a long way down. " * 8)
    def command(deep_er: str) -> None: ...

    page = man.Page()
    command.format_help(click.Context(command, info_name="img2img convert"), page)
    text = page.getvalue()
    assert "\\-\\-deep\\-er A\\eB\n" in text
    lines = text.splitlines()
    assert not [line for line in lines if line.startswith("'") or len(line) > 80], (
        "roff would take it as a request"
    )
    requests = {line.split()[0] for line in lines if line.startswith(".")}
    assert requests <= {".SH", ".PP", ".TP", ".B", ".nf", ".fi"}
    if shutil.which("groff"):
        shown = subprocess.run(
            ["groff", "-man", "-ww", "-Tascii", "-P-c"],
            input=".TH X 1\n" + text,
            capture_output=True,
            text=True,
            check=True,
        )
        assert not shown.stderr
        for words in ("img2img convert -x", "  .so it begins", "--deep-er A\\B", "'Tis a long"):
            assert words in re.sub(".\b", "", shown.stdout)  # bold letters are struck twice


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("mandoc") is None, reason="needs mandoc")
def test_mandoc_finds_no_fault_but_the_missing_date() -> None:
    pages = sorted((ROOT / "docs" / "man").glob("*.1"))
    done = subprocess.run(["mandoc", "-Tlint", *map(str, pages)], capture_output=True, text=True)
    assert not [
        line for line in done.stdout.splitlines() if "missing date" not in line and "STYLE" not in line
    ]
