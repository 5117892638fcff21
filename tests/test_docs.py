"""Pages that are made from the code say what the code says now."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_tool", ROOT / "tools" / "docs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_operations_is_current(tool: ModuleType) -> None:
    written = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert written == tool.operations_page(), "run python tools/docs.py"


def test_the_table_says_what_each_format_holds(tool: ModuleType) -> None:
    written = (ROOT / "docs" / "pictures.md").read_text(encoding="utf-8")
    table = written.partition(tool.TABLE[0])[2].partition(tool.TABLE[1])[0]
    assert table == tool.metadata_table(), "run python tools/docs.py"
