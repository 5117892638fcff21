"""The README's transcripts, run as written: everything but times and speeds must be as printed."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from img2img.cli.main import cli

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```console\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
MODELS = {
    "realesr-animevideov3.pth": "data/weights/realesrgan/realesr-animevideov3.pth",
    "latest_net_G_A.pth": "fixtures/cyclegan_resnet9_in/latest_net_G.pth",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the transcripts name; they share it, because one continues the other."""
    place = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "datasets" / "sample", place / "photos", ignore=shutil.ignore_patterns("*.md"))
    (place / "downloads").mkdir()
    kitten = (place / "photos" / "kitten-on-lawn.jpg").read_bytes()
    (place / "downloads" / "half.jpg").write_bytes(kitten[: len(kitten) // 2])
    (place / "downloads" / "whole.jpg").write_bytes(kitten)
    shrink = ["process", "photos", "-o", "thumbnails", "--op", "resize=long:48", "--quiet"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert CliRunner().invoke(cli, shrink).exit_code == 0
    shutil.copytree(place / "thumbnails", place / "holiday", ignore=shutil.ignore_patterns(".*"))
    return place


def without_times(text: str) -> str:
    text = re.sub(r"in [\d.]+ s \([\d.]+ images/s, [\d.]+ MP/s\)", "in TIME", text)
    return "\n".join(line.rstrip() for line in text.strip().split("\n"))


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n")[0][2:60])
def test_transcript(
    block: str, place: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    first, _, expected = block.partition("\n")
    assert first.startswith("$ img2img ")
    for model, source in MODELS.items():
        if model in first:
            data: Path = request.getfixturevalue("test_data")
            shutil.copy(data / source, place / model)
    if "which ships" in expected and not (ROOT / "img2img" / "weights" / "x4.safetensors").exists():
        pytest.skip("the models that ship are not in this source tree")
    monkeypatch.chdir(place)
    monkeypatch.setenv("COLUMNS", "120")
    result = CliRunner().invoke(cli, shlex.split(first)[2:])
    assert without_times(result.output) == without_times(expected)
    assert result.exit_code == (1 if "failed  " in expected else 0)


def test_there_are_transcripts_and_two_set_up_commands() -> None:
    assert len(BLOCKS) >= 5
    block = README.split("<!-- set-up -->")[1].split("```")[1]
    assert block.split("\n")[1:3] == ["pip install . && img2img demo", "pip install -e '.[test]' && pytest"]


def test_every_file_that_the_readme_links_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).is_file(), target
