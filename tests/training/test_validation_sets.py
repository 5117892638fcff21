"""Validation by numbers of sets (FID and its kin), with and without pairs, and the best model by them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from drawings import draw_photos
from test_runs import Notes, same
from torch import Tensor

import img2img.training.sets
from img2img.errors import ConfigError
from img2img.fields import PAIRED, UNPAIRED, Fields, Picture
from img2img.methods import Column
from img2img.metrics.backbones import BACKBONES
from img2img.metrics.features import Extractor, PictureFeatures
from img2img.metrics.sets import KNOWN, frechet_distance, kernel_distance, precision_recall
from img2img.report import read_run
from img2img.training import read_experiment, train
from img2img.training.runtime import Runtime
from img2img.training.settings import TrainingSettings
from img2img.training.validation import Scores, Validation
from img2img.types import SYMMETRIC, Batch


class Colours(Extractor):
    """Sees the mean of each channel, and of every second row."""

    def __init__(self) -> None:
        self.name, self.seen = "inception", 0
        self.origin = {"network": "means", "weights": {"none": "0"}, "resize": "none"}

    def _look(self, images: Tensor) -> PictureFeatures:
        self.seen += len(images)
        whole, half = images.mean((2, 3)), images[..., ::2, :].mean((2, 3))
        return PictureFeatures(torch.cat([whole, half], 1), images.mean((2, 3)) * 20)


@pytest.fixture
def colours(monkeypatch: pytest.MonkeyPatch) -> Colours:
    """A network without weights in the place of Inception v3."""
    look = Colours()
    monkeypatch.setattr(img2img.training.sets, "open_extractor", lambda *_: look)
    monkeypatch.setattr(img2img.training.sets, "require_network", lambda network, *_: network)
    return look


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return Runtime("cpu", 1, 1, "fp32")


def darker(x: Tensor) -> Tensor:
    return (x * 0.7 - 0.2).clamp(-1, 1)


class Darkening:
    output_range = SYMMETRIC

    def __call__(self, x: Tensor) -> Tensor:
        return darker(x)


@dataclass
class Export:
    output: str = "own"
    reads: str = "source"
    makes: str = "target"
    generator: Darkening = Darkening()  # noqa: RUF009


class Method:
    """Makes pictures darker; with pairs the truth is the target."""

    def __init__(self, export: Export | None = None, paired: bool = True) -> None:
        self.export, self.paired = export or Export(), paired

    def exports(self) -> Mapping[str, Export]:
        return {"generator": self.export}

    def value_range(self, field: str) -> tuple[float, float]:
        return SYMMETRIC

    def compare(self, batch: Batch, generators: object) -> tuple[Column, Column] | None:
        if not self.paired:
            return None
        return Column(darker(batch.source), SYMMETRIC, "output"), Column(batch.target, SYMMETRIC, "target")


def pictures(count: int, seed: int) -> list[Tensor]:
    noise = torch.Generator().manual_seed(seed)
    sides = [16 + 4 * (n % 2) for n in range(count)]
    return [torch.rand(1, 3, s, s, generator=noise) * 1.6 - 0.8 for s in sides]


def samples(a: list[Tensor], b: list[Tensor]) -> list[Batch]:
    """As without pairs: the smaller set begins anew."""
    count = max(len(a), len(b))
    return [Batch({"source": a[n % len(a)], "target": b[n % len(b)]}) for n in range(count)]


def made(method: Method, fields: Fields, **settings: object) -> Validation:
    return Validation(method, TrainingSettings(steps=1, **settings), fields)  # type: ignore[arg-type]


def seen(some: list[Tensor]) -> Tensor:
    return torch.cat([Colours()(x, SYMMETRIC).vectors for x in some])


@pytest.mark.parametrize("paired", [True, False])
def test_numbers_are_those_of_all_outputs_and_all_true_pictures(
    runtime: Runtime, colours: Colours, paired: bool
) -> None:
    a, b = pictures(9, 1), pictures(9 if paired else 7, 2)
    validation = made(
        Method(paired=paired), PAIRED if paired else UNPAIRED, validate_by="kid", metrics=["fid", "recall"]
    )
    networks = {"generator": Darkening()}
    (warning,) = validation.prepare(networks, samples(a, b), runtime)
    assert f"9 pictures that were made and {len(b)} true ones" in warning and "chance" in warning
    found = validation(networks, samples(a, b), runtime)
    fake, real = seen([darker(x) for x in a]), seen(b)
    assert found["fid"] == pytest.approx(frechet_distance(real, fake))
    assert found["kid"] == pytest.approx(kernel_distance(real, fake)[0])
    assert found["recall"] == pytest.approx(precision_recall(real, fake)[1])
    assert validation.by == "kid" and ("psnr" in found) == paired and not validation.missing
    before = colours.seen
    assert validation(networks, samples(a, b), runtime) == found
    assert colours.seen - before == len(a)  # the true pictures are known
    assert validation.origins()["fid"]["network"] == "means"


@pytest.mark.parametrize("name", KNOWN)
def test_better_is_what_the_number_says(name: str) -> None:
    higher = name.startswith(("is", "precision", "recall"))
    scores = Scores(by=name)
    assert scores.update(1, {name: 0.5})
    assert scores.update(2, {name: 0.6}) == higher and scores.update(3, {name: 0.4}) != higher


@pytest.mark.parametrize(
    ("export", "fields", "settings", "message"),
    [
        (Export(), UNPAIRED, {"validate_by": "psnr"}, "here pictures have no partners"),
        (Export("labels"), PAIRED, {"validate_by": "fid"}, "the method makes label maps"),
        (Export(), PAIRED, {"validate_by": "fdd"}, "there is no metric 'fdd'"),
        (Export(), PAIRED, {"feature_weights": "x.pth"}, "which are not measured"),
        (
            Export(),
            PAIRED,
            {"metrics": ["fd_alex", "kd_vgg"], "feature_weights": "x.pth"},
            "a file for one network",
        ),
        (Export(), UNPAIRED, {"metrics": ["kd_vgg"], "feature_weights": "none.pth"}, "does not exist"),
        (Export(), UNPAIRED, {"metrics": ["fid"]}, "not at hand.*allow_download|not installed"),
        (Export(), PAIRED, {"validate_by": "precision_alex"}, "AlexNet are not at hand"),
    ],
)
def test_what_cannot_be_measured_is_told_before_the_run(
    export: Export,
    fields: Fields,
    settings: dict[str, object],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("IMG2IMG_WEIGHTS_DIR", raising=False)
    with pytest.raises(ConfigError, match=message):
        made(Method(export), fields, **settings)


@pytest.mark.parametrize(
    ("fields", "counts", "name", "message"),
    [
        (UNPAIRED, (9, 3), "recall", "recall needs 4 pictures on each side.*9 to make others of and 3 true"),
        (PAIRED, (9, 9), "is", "is needs 10 pictures"),
        (PAIRED, (1, 1), "fid", "fid needs 2 pictures"),
        (UNPAIRED, (0, 0), "fid", "no held-out picture can be read"),
        ({"source": Picture(), "style": Picture()}, (9, 9), "fid", "it learns from none"),
    ],
)
def test_too_few_pictures_or_none_of_the_kind_are_told_before_the_first_step(
    runtime: Runtime, colours: Colours, fields: Fields, counts: tuple[int, int], name: str, message: str
) -> None:
    export = Export(makes="source") if "style" in fields else Export()
    validation = made(Method(export, paired=fields is PAIRED), fields, validate_by=name)
    held_out = samples(pictures(counts[0], 1), pictures(counts[1], 2)) if all(counts) else []
    with pytest.raises(ConfigError, match=message):
        validation.prepare({"generator": Darkening()}, held_out, runtime)


class Failing(Darkening):
    """Gives no numbers for some of its pictures."""

    def __init__(self, worst: float, first: int) -> None:
        self.worst, self.first, self.calls = worst, first, 0

    def __call__(self, x: Tensor) -> Tensor:
        self.calls += 1
        return darker(x) if self.calls < self.first else torch.full_like(x, self.worst)


@pytest.mark.parametrize("worst", [torch.nan, torch.inf])
@pytest.mark.parametrize("settings", [{"validate_by": "fid"}, {"validate_by": "psnr"}])
def test_outputs_that_are_not_finite_are_a_sentence_and_no_score(
    runtime: Runtime, colours: Colours, settings: dict[str, object], worst: float
) -> None:
    a, b = pictures(9, 1), pictures(9, 2)
    network = Failing(worst, first=7)
    method = Method()
    method.compare = lambda batch, _: (  # type: ignore[method-assign, assignment, misc]
        Column(network(batch.source), SYMMETRIC, "output"),
        Column(batch.target, SYMMETRIC, "target"),
    )
    validation = made(method, PAIRED, **settings)
    held_out = [
        Batch({"source": x, "target": y}, (f"p{n}.png",)) for n, (x, y) in enumerate(zip(a, b, strict=True))
    ]
    validation.prepare({}, held_out, runtime)
    network.calls = 0
    assert validation({}, held_out, runtime) == {}
    (sentence,) = validation.missing
    assert "3 of 9 held-out pictures (p6.png, p7.png, p8.png)" in sentence and "not finite" in sentence
    network.first = 100
    assert validation.by in validation({}, held_out, runtime) and not validation.missing


def test_a_picture_that_the_network_of_a_number_cannot_look_at_costs_that_number_alone(
    runtime: Runtime, colours: Colours, monkeypatch: pytest.MonkeyPatch
) -> None:
    validation = made(Method(), PAIRED, metrics=["fid"])
    held_out = samples(pictures(9, 1), pictures(9, 2))
    validation.prepare({}, held_out, runtime)

    def look(images: Tensor) -> PictureFeatures:
        raise ValueError("it needs at least 31x31 pixels, not 20x20")

    monkeypatch.setattr(colours, "_look", look)
    found = validation({}, held_out, runtime)
    assert "psnr" in found and "fid" not in found
    (sentence,) = validation.missing
    assert sentence == "fid cannot be had: it needs at least 31x31 pixels, not 20x20"


# runs


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    place = tmp_path_factory.mktemp("unpaired")
    draw_photos(place / "a", 8, side=36)
    draw_photos(place / "b", 6, side=36)
    return [str(place / "a"), str(place / "b")]


def go(folders: list[str], folder: Path, *sets: str, resume: bool = False, stop_at: int = -1, watch=None):
    """Runs the smoke configuration of CycleGAN, until its end or until after step `stop_at`."""
    asked: Iterator[int] = iter(range(10**6))
    small = ["steps=3", "log_every=0", "sample_every=0", "save_every=1", "precision=fp32", "threads=1"]
    split = ["validation_fraction=0.4", "validate_every=1"]
    experiment = read_experiment("smoke_cyclegan", [*small, *split, *sets], source={"unpaired": folders})
    stop = lambda: next(asked) == stop_at  # noqa: E731
    return train(experiment, folder, resume=resume, watch=watch, stop=stop)


def validations(folder: Path) -> list[dict]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["kind"] == "validation"]


def learnt(state: dict) -> dict[str, Tensor]:
    """Free places of a pool are NaN."""
    return {name: value.nan_to_num(7.0) for name, value in state["trainer"]["method"].items()}


def test_a_run_without_pairs_keeps_the_best_by_fid_and_resumes_exactly(
    folders: list[str], tmp_path: Path, colours: Colours
) -> None:
    notes = Notes()
    straight = go(folders, tmp_path / "one", "metrics=[fid]", watch=notes)
    found = [row["fid"] for row in validations(tmp_path / "one")]
    assert len(found) == 3 and len(set(found)) > 1
    assert straight.by == "fid" and straight.best["fid"] == pytest.approx(min(found), rel=1e-6)
    assert straight.best["step"] == 1 + found.index(min(found))
    assert {"a2b_best.safetensors", "b2a_best.safetensors"} <= {path.name for path in straight.models}
    assert any("chance decides" in text for text in notes.warned)
    go(folders, tmp_path / "two", "metrics=[fid]", stop_at=1)
    again = go(folders, tmp_path / "two", "metrics=[fid]", resume=True)
    assert validations(tmp_path / "two") == validations(tmp_path / "one")
    assert again.best == straight.best
    states = [torch.load(tmp_path / name / "states/state_00000003.pt") for name in ("one", "two")]
    assert same(*(learnt(state) for state in states))
    run = read_run(tmp_path / "one")
    assert run.best() is not None and (run.best().metric, run.best().step) == ("fid", straight.best["step"])


@pytest.mark.parametrize("score", ["fid", "kid"])
def test_a_network_that_gives_nan_is_told_and_loses_no_state(
    folders: list[str], tmp_path: Path, colours: Colours, monkeypatch: pytest.MonkeyPatch, score: str
) -> None:
    real, notes = Validation._pair, Notes()

    def broken(self: Validation, batch: Batch, generators: Mapping, runtime: Runtime):
        output, truth = real(self, batch, generators, runtime)
        if (tmp_path / "states/state_00000001.pt").exists():
            output.values[0, 0, 0, 0] = torch.nan
        return output, truth

    monkeypatch.setattr(Validation, "_pair", broken)
    summary = go(folders, tmp_path, f"validate_by={score}", watch=notes)
    assert summary.step == 3 and (tmp_path / "states/state_00000003.pt").exists()
    assert summary.best["step"] == 1 and [row["step"] for row in validations(tmp_path)] == [1]
    told = [text for text in notes.warned if "not finite" in text]
    assert [text.partition(":")[0] for text in told] == ["step 2", "step 3"]


@pytest.mark.slow
def test_nothing_of_it_changes_what_is_learnt(folders: list[str], tmp_path: Path, colours: Colours) -> None:
    go(folders, tmp_path / "with", "validate_by=fid", "steps=2")
    go(folders, tmp_path / "without", "validate_every=0", "steps=2")
    states = [torch.load(tmp_path / name / "states/state_00000002.pt") for name in ("with", "without")]
    assert same(*(learnt(state) for state in states))


def test_a_run_with_nothing_held_out_is_told(folders: list[str], tmp_path: Path, colours: Colours) -> None:
    notes = Notes()
    summary = go(folders, tmp_path, "metrics=[fid]", "validation_fraction=0", "steps=1", watch=notes)
    assert not summary.best and any("no pictures are held out: fid cannot" in text for text in notes.warned)


def test_a_run_that_cannot_be_measured_leaves_its_folder_empty(
    folders: list[str], tmp_path: Path, colours: Colours
) -> None:
    with pytest.raises(ConfigError, match="is needs 10 pictures"):
        go(folders, tmp_path, "metrics=[is]")
    assert not (tmp_path / "config.yaml").exists() and not (tmp_path / "metrics.jsonl").exists()


@pytest.mark.slow
def test_weights_of_ones_own_make_numbers_of_another_name(folders: list[str], tmp_path: Path) -> None:
    layers = torch.nn.Sequential(*BACKBONES["squeeze"].layers())
    weights = tmp_path / "mine.pth"
    torch.save({f"features.{key}": value for key, value in layers.state_dict().items()}, weights)
    name, run = "fd_squeeze_", tmp_path / "run"
    summary = go(folders, run, "validate_by=fd_squeeze", f"feature_weights={weights}", "steps=2")
    assert summary.by.startswith(name) and summary.by in validations(run)[0]
    best = read_run(run).best()
    assert best is not None and best.metric == summary.by
    assert best.value == min(row[summary.by] for row in validations(run))
    record = json.loads((run / "run.json").read_text())["starts"][0]["validation"]
    assert record["by"] == summary.by and "mine.pth" in record["metrics"][summary.by]["weights"]
