from __future__ import annotations

from pathlib import Path

import pytest
from drawings import draw_pairs


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of ten side-by-side pictures of 80x40 pixels."""
    folder = tmp_path_factory.mktemp("pairs")
    draw_pairs(folder, 10)
    return folder
