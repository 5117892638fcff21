"""Runs that go on differently than they began: what is said of it, and what is not written too early."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import CliRunner
from test_runs import SPARSE, Notes, go, lines, newest, same

from img2img.cli.main import cli
from img2img.errors import Img2ImgError
from img2img.training import read_experiment, train
from img2img.training.loop import Trainer

PAPER = "schedule={kind: linear, constant_epochs: 1, decay_epochs: 1}"


def test_a_run_beyond_its_schedule_is_told_that_it_idles(pairs: Path, tmp_path: Path) -> None:
    notes = Notes()
    go(pairs, tmp_path, "steps=null", "batch_size=4", "epochs=2", PAPER, watch=notes)
    assert not notes.warned
    before = newest(tmp_path)["trainer"]["method"]
    go(pairs, tmp_path, "steps=null", "batch_size=4", "epochs=4", PAPER, resume=True, watch=notes)
    (warning,) = notes.warned
    assert "the last 2 of its 4 epochs" in warning and "schedule.decay_epochs=" in warning
    weights = [key for key, value in before.items() if key.endswith("weight") and value.ndim == 4]
    assert all(torch.equal(before[key], newest(tmp_path)["trainer"]["method"][key]) for key in weights)


def test_a_schedule_that_follows_the_length_goes_on_learning(pairs: Path, tmp_path: Path) -> None:
    notes = Notes()
    free = ("steps=null", "batch_size=4", "schedule={kind: linear}")
    go(pairs, tmp_path, "epochs=2", *free, watch=notes)
    go(pairs, tmp_path, "epochs=6", *free, resume=True, watch=notes)
    assert not notes.warned
    assert any(re.match(r"The learning rate from step \d+ on: .* instead of", text) for text in notes.said)
    rates = [line["rates"]["generator"] for line in lines(tmp_path) if line["kind"] == "training"]
    assert min(rates) > 0


def test_what_has_changed_is_listed(pairs: Path, tmp_path: Path) -> None:
    go(pairs, tmp_path, "steps=2", "validate_every=1")
    notes = Notes()
    changed = ["seed=3", "learning_rate=1e-3", "flip=false", "pixel_weight=5"]
    go(pairs, tmp_path, "steps=4", *changed, "validate_every=1", resume=True, watch=notes)
    (line,) = (text for text in notes.said if text.startswith("Changed since"))
    for key in (
        "seed 0 is now 3",
        "training.learning_rate",
        "data.flip",
        "method.pixel_weight",
        "training.steps",
    ):
        assert key in line


def test_scores_of_other_sizes_are_not_compared(pairs: Path, tmp_path: Path) -> None:
    go(pairs, tmp_path, "steps=2", "validate_every=1")
    notes = Notes()
    summary = go(
        pairs,
        tmp_path,
        "steps=3",
        "load_size=40",
        "crop_size=32",
        "validate_every=1",
        resume=True,
        watch=notes,
    )
    assert any("looked for anew" in text for text in notes.warned)
    assert summary.best["step"] == 3


def test_nothing_changed_says_nothing(pairs: Path, tmp_path: Path) -> None:
    go(pairs, tmp_path, "steps=4", stop_at=2)
    notes = Notes()
    go(pairs, tmp_path, "steps=4", resume=True, watch=notes)
    assert not notes.warned and not any(text.startswith("Changed") for text in notes.said)


def test_a_run_of_a_version_without_some_keys_keeps_its_best(pairs: Path, tmp_path: Path) -> None:
    go(pairs, tmp_path, "steps=2", "validate_every=1")
    tree = yaml.safe_load((tmp_path / "config.yaml").read_text())
    for key in ("fields", "masks", "fit", "attributes"):
        del tree["data"][key]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
    notes = Notes()
    go(pairs, tmp_path, "steps=3", "validate_every=1", resume=True, watch=notes)
    assert not any("looked for anew" in text for text in notes.warned)


@pytest.mark.parametrize("wrong", ["crop_size=48", "generator.features=9"])
def test_a_refused_resume_leaves_the_run_as_it_was(pairs: Path, tmp_path: Path, wrong: str) -> None:
    go(pairs, tmp_path, "steps=2")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(Img2ImgError):
        go(pairs, tmp_path, "steps=4", "load_size=36", wrong, resume=True)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert go(pairs, tmp_path, "steps=3", resume=True).step == 3


@pytest.mark.parametrize(
    "wrong",
    [
        ["load_size=36", "crop_size=48"],
        ["load_size=40", "crop_size=33"],  # not a multiple that the networks take
        ["load_size=null", "crop_size=null", "generator.downs=5"],
    ],
)
def test_a_refused_start_does_not_block_the_corrected_one(pairs: Path, tmp_path: Path, wrong) -> None:
    with pytest.raises(Img2ImgError):
        go(pairs, tmp_path / "run", *wrong)
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".yaml", ".jsonl")]
    assert go(pairs, tmp_path / "run", "steps=1").step == 1


def test_a_first_step_that_fails_does_not_block_the_next_try(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("no room")

    with monkeypatch.context() as patch, pytest.raises(Img2ImgError, match="is not enough"):
        patch.setattr(Trainer, "step", full)
        go(pairs, tmp_path / "run", "steps=1")
    assert go(pairs, tmp_path / "run", "steps=1").step == 1
    with pytest.raises(Img2ImgError, match="continues a run"):
        go(pairs, tmp_path / "run", "steps=1")


def test_stop_is_asked_before_the_first_step_and_after_every_one(pairs: Path, tmp_path: Path) -> None:
    asked: list[int] = []
    experiment = read_experiment("smoke_pix2pix", [*SPARSE, "steps=3"], source={"aligned": str(pairs)})
    train(experiment, tmp_path, stop=lambda: bool(asked.append(0)))
    assert len(asked) == 1 + 3


def test_fine_tuning_is_measured_against_its_start(pairs: Path, tmp_path: Path) -> None:
    go(pairs, tmp_path / "first", "steps=2")
    weights = tmp_path / "first" / "last.safetensors"
    summary = go(
        pairs, tmp_path / "second", f"initial={{generator: {weights}}}", "steps=2", "validate_every=2"
    )
    assert summary.start["step"] == 0 and summary.start["psnr"] > 0
    assert summary.best["psnr"] >= summary.start["psnr"]
    assert (tmp_path / "second" / "best.safetensors").is_file()


def test_measuring_the_start_does_not_change_the_run(pairs: Path, tmp_path: Path) -> None:
    go(pairs, tmp_path / "first", "steps=1")
    initial = f"initial={{generator: {tmp_path / 'first' / 'last.safetensors'}}}"
    go(pairs, tmp_path / "blind", initial, "steps=2")
    go(pairs, tmp_path / "seen", initial, "steps=2", "validate_every=2")
    assert same(newest(tmp_path / "blind")["trainer"], newest(tmp_path / "seen")["trainer"])


def test_fine_tuning_without_a_configuration_is_gentle(pairs: Path, tmp_path: Path) -> None:
    go(pairs, tmp_path / "first", "steps=1")
    weights = tmp_path / "first" / "last.safetensors"
    command = ["train", "--aligned", str(pairs), "--init", str(weights), "--dry-run", "--set", "crop_size=32"]
    command += ["--set", "discriminator.features=4"]
    gentle = CliRunner().invoke(cli, [*command, "--set", "load_size=36"])
    assert "learning_rate: 4.0e-05" in gentle.stdout and "Fine-tuning" in gentle.stderr
    chosen = CliRunner().invoke(cli, [*command, "--set", "load_size=36", "--set", "learning_rate=1e-4"])
    assert "learning_rate: 0.0001" in chosen.stdout and "Fine-tuning" not in chosen.stderr


def test_another_number_that_decides_looks_for_the_best_anew(pairs: Path, tmp_path: Path) -> None:
    go(pairs, tmp_path, "steps=2", "validate_every=1")
    notes = Notes()
    summary = go(pairs, tmp_path, "steps=3", "validate_every=1", "validate_by=l1", resume=True, watch=notes)
    assert summary.by == "l1" and summary.best["step"] == 3
    assert any("were judged by psnr, not l1; the best is looked for anew" in said for said in notes.warned)
