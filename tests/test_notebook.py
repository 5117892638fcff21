"""docs/notebooks: no outputs in Git, nothing of one machine; and it runs from the first cell to the last."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from img2img.image import decode

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))


def cells(path: Path, kind: str) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text("utf-8"))["cells"] if cell["cell_type"] == kind]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_kept_of_a_notebook(path: Path) -> None:
    for cell in cells(path, "code"):
        assert cell["outputs"] == [] and cell["execution_count"] is None
    words = ["".join(cell["source"]) for cell in cells(path, "markdown")]
    links = re.findall(r"https?://([^/)\s]+)", "\n".join(words))
    assert set(links) == {"colab.research.google.com"}
    assert "Open in Colab" in words[0]
    first = "".join(cells(path, "code")[0]["source"])
    assert "%pip install" in first and "find_spec" in first  # only where it is not there yet


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_on_the_cpu_and_pictures_come_out(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    place = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=place).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = [each.data["image/png"] for each in outputs if each.output_type == "display_data"]
    pictures = [decode(base64.b64decode(each)).pixels for each in shown]
    assert len(pictures) >= 4
    assert all(min(each.shape[:2]) > 100 and each.std() > 20 for each in pictures)
    text = "".join(each.text for each in outputs if each.output_type == "stream" and each.name == "stdout")
    scores = dict(re.findall(r"(bicubic|x2|coloured): PSNR ([\d.]+) dB", text))
    assert float(scores["x2"]) > float(scores["bicubic"]) + 1 and float(scores["coloured"]) > 15
    assert "broken.jpg" in text and "1 failed" in text
    complaints = [each.text for each in outputs if each.output_type == "stream" and each.name == "stderr"]
    assert not complaints, complaints
