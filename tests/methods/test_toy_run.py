"""A training with a field of every kind, from a list through `kill -9` to a converted folder."""

from __future__ import annotations

import csv
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import programs
import pytest
import torch
from click.testing import CliRunner
from samples import NAMES, SIDE, write
from toy import Toy, ToyGenerator

from img2img import load_model
from img2img.cli.main import cli
from img2img.errors import ConfigError
from img2img.fields import Mask
from img2img.image import read_image
from img2img.methods import methods
from img2img.models import generators
from img2img.training import read_experiment, train
from img2img.training.experiment import Experiment

HERE = Path(__file__).parent
SPATIAL = ("source", "target", "guide", "instance", "mask")


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(methods._entries, "toy", Toy)
    monkeypatch.setitem(generators._entries, "toy", ToyGenerator)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five samples, and lists of them: numbers in one cell, in a column each, as JSON lines."""
    folder = tmp_path_factory.mktemp("world") / "data"
    table = list(csv.DictReader(write(folder, Toy.fields)["attributes"].read_text().splitlines()))
    rows = [
        ({name: f"{name}/{row['file']}" for name in SPATIAL}, [row[name] for name in NAMES]) for row in table
    ]
    heads = ",".join(SPATIAL)
    cells = [",".join(files.values()) for files, _ in rows]
    (folder / "cell.csv").write_text(
        "\n".join(
            [
                f"{heads},attributes",
                *(f"{c},{' '.join(v)}" for c, (_, v) in zip(cells, rows, strict=True)),
            ]
        )
    )
    (folder / "columns.csv").write_text(
        "\n".join(
            [
                f"{heads},{','.join(NAMES)}",
                *(f"{c},{','.join(v)}" for c, (_, v) in zip(cells, rows, strict=True)),
            ]
        )
    )
    (folder / "lines.jsonl").write_text(
        "\n".join(json.dumps({**files, "attributes": list(map(float, values))}) for files, values in rows)
    )
    return folder


SETS = [
    f"crop_size={SIDE}",
    f"load_size={SIDE + 4}",
    "data.validation_fraction=0.4",
    "data.workers=0",
    "generator.features=4",
    "batch_size=2",
    "log_every=1",
    "sample_every=2",
    "validate_every=2",
    "save_every=2",
    "precision=fp32",
    "threads=1",
    "device=cpu",
]


def toy(table: Path, *sets: str) -> Experiment:
    return read_experiment(
        None,
        [*SETS, *sets],
        source={"list": str(table)},
        defaults={"method": {"name": "toy"}, "data": {}, "training": {"steps": 4}},
    )


def weights(run: Path) -> dict[str, torch.Tensor]:
    (newest,) = sorted(run.glob("states/*.pt"))[-1:]
    state = torch.load(newest, weights_only=True)["trainer"]
    assert int(state["method"]["done"]) == state["step"]
    return state["method"]


def test_every_form_of_list_says_the_same(world: Path, tmp_path: Path) -> None:
    named = f"data.attributes={json.dumps(NAMES)}"
    forms = {"cell.csv": [], "lines.jsonl": [], "columns.csv": [named]}
    found = {}
    for form, sets in forms.items():
        train(toy(world / form, "steps=2", *sets), tmp_path / form)
        found[form] = weights(tmp_path / form)
        model = load_model(tmp_path / form / "last.safetensors", device="cpu")
        assert model.info.attributes == ({"attributes": NAMES} if sets else {})
    first = found.pop("cell.csv")
    assert all(torch.equal(other[name], first[name]) for other in found.values() for name in first)


def test_names_that_do_not_fit_the_numbers_of_a_list_are_not_written(world: Path, tmp_path: Path) -> None:
    train(toy(world / "cell.csv", "steps=1", "data.attributes=[hat]"), tmp_path / "run")
    assert load_model(tmp_path / "run" / "last.safetensors", device="cpu").info.attributes == {}


def test_a_generator_that_takes_more_than_the_method_has_is_refused(world: Path, tmp_path: Path) -> None:
    one = read_experiment(
        None,
        SETS,
        source={"list": str(world / "cell.csv")},
        defaults={"method": {"name": "pix2pix", "generator": {"name": "toy"}}, "training": {"steps": 4}},
    )
    with pytest.raises(ConfigError, match="takes the picture 'guide', and the method has source, target"):
        train(one, tmp_path / "run")


def test_a_model_converts_a_folder_with_companions(world: Path, tmp_path: Path) -> None:
    train(toy(world / "columns.csv", f"data.attributes={json.dumps(NAMES)}"), tmp_path / "run")
    model = tmp_path / "run" / "last.safetensors"
    table, row = world / "attributes.csv", "0.5,0,0.25,1,-2"

    def converted(numbers: object, out: str) -> Path:
        places = {
            "guide": world / "guide",
            "instance": world / "instance",
            "mask": world / "mask",
            "attributes": numbers,
        }
        more = [f"--with={name}={place}" for name, place in places.items()]
        words = ["translate", world / "source", "-o", tmp_path / out, "-m", model, "--device=cpu", *more]
        result = CliRunner().invoke(cli, list(map(str, words)))
        assert result.exit_code == 0, result.output
        return tmp_path / out

    translator = load_model(model, device="cpu")
    by_file = {line.split(",")[0]: line.split(",")[1:] for line in table.read_text().splitlines()[1:]}
    for numbers, out in ((table, "a"), (row, "b")):
        results = sorted(converted(numbers, out).glob("*.png"))
        assert [path.name for path in results] == [f"{i}.png" for i in range(5)]
        for path in results:
            values = by_file[path.name] if numbers == table else row.split(",")
            (expected,) = translator(
                [read_image(world / "source" / path.name)],
                guide=[read_image(world / "guide" / path.name)],
                instance=[read_image(world / "instance" / path.name)],
                mask=[read_image(world / "mask" / path.name)],
                attributes=[list(map(float, values))],
            )
            np.testing.assert_array_equal(read_image(path).pixels, expected.pixels)


def test_masks_may_be_drawn_and_ids_come_from_a_folder_beside_a_list(world: Path, tmp_path: Path) -> None:
    """Places of fields and the columns of a list go together."""
    lines = [json.loads(line) for line in (world / "lines.jsonl").read_text().splitlines()]
    rows = [{key: line[key] for key in ("source", "target", "guide", "attributes")} for line in lines]
    (world / "short.jsonl").write_text("\n".join(map(json.dumps, rows)))
    one = read_experiment(
        None,
        SETS,
        source={
            "list": str(world / "short.jsonl"),
            "fields": {"mask": "random", "instance": str(world / "instance")},
        },
        defaults={"method": {"name": "toy"}, "data": {}, "training": {"steps": 2}},
    )
    assert train(one, tmp_path / "run").step == 2
    assert isinstance(
        load_model(tmp_path / "run" / "last.safetensors", device="cpu").conditions["mask"], Mask
    )


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_bit_for_bit(world: Path, tmp_path: Path) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    arguments = ["train", "--method", "toy", "--list", world / "cell.csv", "-o", run]
    options = [f"--set={each}" for each in (*SETS, "ema=0.9")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with log.open("w") as said:
        program = [
            HERE / "toy.py",
            *arguments,
            *options,
            "--set=steps=100000",
            "--set=schedule={kind: constant}",
        ]
        process = programs.start(program, env=environment, stdout=said, stderr=said)
        end = time.monotonic() + 300
        while len(list(run.glob("states/*.pt"))) < 2:
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    steps = max(int(path.stem[6:]) for path in run.glob("states/*.pt")) + 3
    resumed = ["train", "--resume", run, f"--set=steps={steps}"]
    result = programs.run([HERE / "toy.py", *resumed], env=environment, timeout=300)
    assert result.returncode == 0, result.stderr
    config = read_experiment(run / "config.yaml", [f"steps={steps}"])
    assert train(config, tmp_path / "straight").step == steps
    found, expected = weights(run), weights(tmp_path / "straight")
    assert found.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())
    for model in ("last.safetensors", "ema.safetensors"):
        assert (run / model).read_bytes() == (tmp_path / "straight" / model).read_bytes()
