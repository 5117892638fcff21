"""The tool that lets a model make pairs to learn from."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from img2img import load_model
from img2img.image import Image, read_image, write_image
from img2img.image.resize import resize

PATH = Path(__file__).resolve().parent.parent / "tools" / "taught_pairs.py"
SPEC = importlib.util.spec_from_file_location("taught_pairs", PATH)
assert SPEC is not None and SPEC.loader is not None
taught_pairs = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(taught_pairs)


def test_pairs_are_what_the_model_makes_of_spoiled_patches(sample: Path, tmp_path: Path) -> None:
    options = ["--images", sample, "-o", tmp_path, "--count", "4", "--crop", "64"]
    options += ["--degradation", "none", "--degradation", "second_order"]
    arguments = ["restore_photo_x4_cpu", "x4", *options]
    result = CliRunner().invoke(taught_pairs.main, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0
    names = [f"{number:06d}.png" for number in range(4)]
    again = CliRunner().invoke(taught_pairs.main, list(map(str, arguments)))
    assert again.exit_code == 1 and "is not empty" in again.output
    for folder in "ABC":
        assert sorted(path.name for path in (tmp_path / folder).iterdir()) == names
    model, errors = load_model("x4"), []
    for name in names:
        source, taught, truth = (read_image(tmp_path / folder / name).pixels for folder in "ABC")
        assert source.shape == (16, 16, 3) and taught.shape == truth.shape == (64, 64, 3)
        assert np.array_equal(model(source), taught)
        errors.append(np.abs(resize(truth, 16, 16).astype(float) - source).mean())
    assert max(errors[0::2]) < 1 < min(errors[1::2]), "the first and third are reduced alone"


def test_what_cannot_be_done_is_a_sentence(sample: Path, tmp_path: Path) -> None:
    arguments = ["restore_photo_x4_cpu", "x4", "--images", str(sample), "-o", str(tmp_path / "pairs")]
    for wrong, said in ((["--crop", "66"], "66"), (["--degradation", "rain"], "rain")):
        result = CliRunner().invoke(taught_pairs.main, arguments + wrong)
        assert result.exit_code and said in result.output and "Error: " in result.output
    assert not (tmp_path / "pairs").exists()


def test_what_goes_wrong_later_is_a_sentence_too(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_image(Image(np.zeros((40, 40, 3), np.uint8)), tmp_path / "in" / "small.png")
    arguments = ["smoke_srresnet", "x2", "--images", str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    for wrong, said in (
        (["--crop", "500"], "small.png"),
        (["--crop", "0"], "--crop"),
        (["--count", "0"], "count"),
    ):
        result = CliRunner().invoke(taught_pairs.main, [*arguments, "--degradation", "none", *wrong])
        assert result.exit_code and said in result.output and "Error: " in result.output
        assert isinstance(result.exception, SystemExit)
