"""pix2pixHD's training: order and weights of its losses, objects and styles, runs from folders on."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import original_pix2pixhd as original
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor
from torch.nn import functional as F

from img2img import load_model
from img2img.cli.main import cli
from img2img.errors import ConfigError, PlanError
from img2img.image import Image, read_image, write_image
from img2img.methods import Pix2PixHDConfig, Pix2PixHDMethod
from img2img.methods.styles import centres, pooled, regions
from img2img.training import read_experiment, train
from img2img.training.log import Watch
from img2img.types import Batch

SMOKE = Path(__file__).resolve().parents[2] / "configs" / "smoke_pix2pixhd.yaml"


def made(channels: Mapping[str, int] | None = None, **keys: Any) -> Pix2PixHDMethod:
    torch.manual_seed(0)
    config = Pix2PixHDConfig.model_validate({**Pix2PixHDMethod.tiny, "labels": True, **keys})
    return Pix2PixHDMethod(config, channels or {"source": 4, "target": 3, "instance": 1})


def samples(classes: int = 4, count: int = 2, side: int = 32, seed: int = 0) -> Batch:
    noise = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (count, side // 8, side // 8), generator=noise)
    labels = labels.repeat_interleave(8, 1).repeat_interleave(8, 2)
    ids = torch.randint(0, 3, (count, 1, 2, 2), generator=noise, dtype=torch.int32)
    return Batch(
        {
            "source": F.one_hot(labels, classes).permute(0, 3, 1, 2).float(),
            "target": torch.rand(count, 3, side, side, generator=noise) * 2 - 1,
            "instance": ids.repeat_interleave(side // 2, 2).repeat_interleave(side // 2, 3),
        },
        tuple(map(str, range(count))),
    )


def losses_of(method: Pix2PixHDMethod, batch: Batch) -> list[tuple[str, dict[str, Tensor]]]:
    seen: list[tuple[str, dict[str, Tensor]]] = []
    method.step(batch, lambda group, losses: seen.append((group, dict(losses))))
    return seen


# --- the losses


def test_order_and_weights_are_the_authors() -> None:
    """The generator first; squares added up over scales; 10 / scales * 4 / (layers + 1) for each layer."""
    layers, scales = 2, 3
    judge = {"name": "multiscale", "features": 4, "layers": layers, "scales": scales, "padding": 2}
    method = made(discriminator=judge).double()
    batch = samples().map(lambda t: t.double() if t.is_floating_point() else t)
    (first, generator), (second, discriminator) = losses_of(method, batch)
    assert (first, second) == ("generator", "discriminator")
    edges = original.edges(batch["instance"])
    classes = batch.source.argmax(1, keepdim=True)
    pairs = batch["instance"] * 4 + classes  # an object is what is of one class and one number
    assert method.encoder is not None
    features = original.pooled(method.encoder(batch.target), pairs)
    fake = method.generator(torch.cat((batch.source, edges, features), 1))
    see = method.adversary.discriminator.features
    of_fake, of_real = (see(torch.cat((batch.source, edges, x), 1)) for x in (fake, batch.target))
    expected = {
        "g_gan": sum((scale[-1] - 1).square().mean() for scale in of_fake),
        "g_features": sum(
            F.l1_loss(a, b) / scales * 4 / (layers + 1) * 10
            for ours, theirs in zip(of_fake, of_real, strict=True)
            for a, b in zip(ours[:-1], theirs[:-1], strict=True)
        ),
        "d_real": 0.5 * sum((scale[-1] - 1).square().mean() for scale in of_real),
        "d_fake": 0.5 * sum(scale[-1].square().mean() for scale in of_fake),
    }
    found = generator | discriminator
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert float(found[name].detach()) == pytest.approx(float(value.detach()), rel=1e-5), name


def test_without_numbers_of_objects_there_are_no_boundaries() -> None:
    method = made({"source": 4, "target": 3})
    assert method.generator.all_channels == 6 and not method.generator.conditions
    assert method.adversary.discriminator.in_channels == 7
    assert len(losses_of(method, Batch({k: v for k, v in samples().fields.items() if k != "instance"}))) == 2


def test_without_its_weights_the_vgg_loss_is_said_to_be_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (note,) = made(vgg_weight=10).notes
    assert note.startswith("It learns without the VGG loss: the weights of VGG19") and "not at hand" in note


def test_another_generator_is_refused() -> None:
    with pytest.raises(ConfigError, match="take the generator pix2pixhd, or the method pix2pix"):
        made({"source": 3, "target": 3}, generator={"name": "resnet", "features": 4}, labels=False)


def test_weights_for_boundaries_need_numbers_of_objects() -> None:
    generator = {**Pix2PixHDMethod.tiny["generator"], "instance": True}
    with pytest.raises(ConfigError, match=r"the data have none: name their place as data\.fields\.instance"):
        made({"source": 4, "target": 3}, generator=generator)


# --- objects and styles


def test_features_are_means_over_objects_of_each_image() -> None:
    batch = samples(seed=3)
    classes, ids = batch.source.argmax(1), batch["instance"]
    features = torch.rand(2, 3, 32, 32).double()
    for numbers, pairs in ((ids, ids * 4 + classes[:, None]), (None, classes[:, None])):
        found = pooled(features, regions(classes, numbers))
        torch.testing.assert_close(found, original.pooled(features, pairs), rtol=0, atol=1e-6)


def test_centres_are_found_and_the_largest_comes_first() -> None:
    noise = torch.Generator().manual_seed(0)
    true = torch.tensor([[0.0, 0], [5, 5], [-5, 5], [5, -5]])
    points = torch.cat([c + 0.1 * torch.randn(10 * (k + 1), 2, generator=noise) for k, c in enumerate(true)])
    found = centres(points[torch.randperm(len(points), generator=noise)], 4)
    torch.testing.assert_close(found.float(), true.flip(0), rtol=0, atol=0.15)
    assert torch.equal(found, centres(points, 4)[:4]) or torch.allclose(found, centres(points, 4))
    assert len(centres(torch.tensor([[1.0, 2], [1, 2], [3, 4]]), 9)) == 2


def test_styles_are_those_of_large_objects() -> None:
    """Of a class with large objects only those count; one of small ones takes all; others have none."""
    method = made(generator={**Pix2PixHDMethod.tiny["generator"], "clusters": 2})
    assert method.encoder is not None
    labels = torch.zeros(1, 32, 32, dtype=torch.int64)
    labels[:, 16:], labels[:, 0, 0] = 1, 2  # 512 pixels less one, 512, and one; class 3 is nowhere
    ids = torch.zeros(1, 1, 32, 32, dtype=torch.int32)
    ids[..., 20:24, :3] = 7  # 12 of 1024 pixels: less than a 64th
    target = torch.rand(1, 3, 32, 32) * 2 - 1
    source = F.one_hot(labels, 4).permute(0, 3, 1, 2).float()
    batch = Batch({"source": source, "target": target, "instance": ids})
    asked: list[int] = []

    def training(count: int) -> Any:
        asked.append(count)
        return iter([batch])

    method.settle([method.generator], training)
    assert asked == [3] and method.generator.style_counts.tolist() == [1, 1, 1, 0]
    with torch.no_grad():
        features = method.encoder(target)[0]
    large = (labels[0] == 1) & (ids[0, 0] == 0)
    for kind, place in ((0, labels[0] == 0), (1, large), (2, labels[0] == 2)):
        expected = features[:, place].mean(1)
        torch.testing.assert_close(method.generator.styles[kind, 0], expected, rtol=0, atol=1e-5)


# --- from folders to pictures


class Notes(Watch):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    warn = say


def draw(folder: Path, count: int = 4, side: int = 36, classes: int = 3) -> None:
    """Label maps of numbers, photographs in whose colours they show, and numbers of objects."""
    rng = np.random.default_rng(0)
    for name in ("labels", "photos", "ids"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        labels = rng.integers(0, classes, (side // 4, side // 4), np.uint8).repeat(4, 0).repeat(4, 1)
        ids = labels.astype(np.uint16) * 1000 + np.uint16(number)
        photo = np.stack([labels * 80, 255 - labels * 60, rng.integers(0, 255, labels.shape, np.uint8)], 2)
        for name, pixels in (("labels", labels[..., None]), ("photos", photo), ("ids", ids[..., None])):
            write_image(Image(pixels), folder / name / f"{number}.png")


def run(folder: Path, out: Path, *sets: str, instance: bool = True, **more: Any) -> Any:
    places: dict[str, Any] = {"paired": [str(folder / "labels"), str(folder / "photos")]}
    if instance:
        places["fields"] = {"instance": str(folder / "ids")}
    sets = ("device=cpu", "precision=fp32", "threads=1", "sample_every=0", *sets)
    return train(read_experiment(SMOKE, sets, source=places), out, **more)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pix2pixhd")
    draw(folder / "data")
    sets = ["training.stages.0.steps=2", "training.stages.1.steps=2", "log_every=1", "save_every=1"]
    run(folder / "data", folder / "run", *sets, "keep_states=9", "ema=0.5")
    return folder


def state(run: Path, step: int) -> dict[str, Any]:
    return torch.load(run / "states" / f"state_{step:08}.pt", weights_only=True)


def test_the_enhancer_learns_first_and_then_all(trained: Path) -> None:
    weights = [state(trained / "run", step)["trainer"] for step in (1, 2, 3, 4)]
    moved = [
        {name for name, value in a["method"].items() if not torch.equal(value, b["method"][name])}
        for a, b in pairwise(weights)
    ]
    inside = [{name for name in some if name.startswith("generator.base.")} for some in moved]
    assert not inside[0] and inside[2], "what is inside stays as it is in the first stage, and no longer"
    for part in ("generator.enhancers.", "encoder."):
        assert any(name.startswith(part) for name in moved[0])
    # averages become the weights where a stage begins, and its optimizers know nothing of what was before
    assert [w["frozen"] for w in weights] == [["generator.base"]] * 2 + [[]] * 2
    counts = [len(w["optimizers"]["generator"]["param_groups"][0]["params"]) for w in weights]
    assert counts[0] == counts[1] < counts[2] == counts[3]
    assert float(next(iter(weights[3]["optimizers"]["generator"]["state"].values()))["step"]) == 2


@pytest.mark.parametrize("stop", [1, 2], ids=["inside", "border"])
@pytest.mark.sampled(1)
def test_a_run_goes_on_exactly_within_stages_and_between_them(
    trained: Path, stop: int, tmp_path: Path
) -> None:
    sets = ["training.stages.0.steps=2", "training.stages.1.steps=2", "log_every=1", "save_every=1"]
    sets += ["keep_states=9", "ema=0.5"]
    asked = iter(range(9))
    run(trained / "data", tmp_path / "run", *sets, stop=lambda: next(asked) == stop)
    notes = Notes()
    run(trained / "data", tmp_path / "run", *sets, resume=True, watch=notes)
    for name in ("last.safetensors", "ema.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (trained / "run" / name).read_bytes()
    ours, theirs = (state(folder / "run", 4)["trainer"] for folder in (tmp_path, trained))
    for name, value in ours["method"].items():
        assert torch.equal(value, theirs["method"][name]), name
    assert not [text for text in notes.said if "without memory" in text]


def test_a_model_takes_label_maps_and_has_styles(trained: Path, tmp_path: Path) -> None:
    model = trained / "run" / "last.safetensors"
    assert load_model(model, device="cpu").info.palette == ((0,), (1,), (2,))
    base = ["translate", str(trained / "data" / "labels"), "-m", str(model), "--device", "cpu"]
    base += ["--precision", "fp32", "--with", f"instance={trained / 'data' / 'ids'}"]
    results = {}
    for style in (None, 0, 1):
        out = tmp_path / str(style)
        more = [] if style is None else ["--style", str(style)]
        result = CliRunner().invoke(cli, [*base, "-o", str(out), *more])
        assert result.exit_code == 0, result.output
        results[style] = read_image(out / "1.png").pixels
    assert results[0].shape == (36, 36, 3)
    assert np.array_equal(results[None], results[0]) and not np.array_equal(results[0], results[1])
    result = CliRunner().invoke(cli, [*base, "-o", str(tmp_path / "no"), "--style", "3"])
    assert result.exit_code == 2 and "no style 3: the model has the styles 0 to" in result.output


def test_without_instance_and_encoder_it_trains_on_numbers_alone(trained: Path, tmp_path: Path) -> None:
    sets = ["training.stages=[]", "steps=1", "generator.style=0", "data.palette=3", "generator.enhancers=0"]
    run(trained / "data", tmp_path / "run", *sets, instance=False)
    translator = load_model(tmp_path / "run" / "last.safetensors", device="cpu")
    assert not translator.conditions and translator.info.palette == ((0,), (1,), (2,))
    with pytest.raises(ConfigError, match="no styles to choose from"):
        load_model(tmp_path / "run" / "last.safetensors", device="cpu", style=0)
    # the enhancer starts from the network inside
    notes = Notes()
    start = f"training.initial={{generator: {tmp_path / 'run' / 'last.safetensors'}}}"
    sets = ["training.stages=[]", "steps=1", "generator.style=0", "data.palette=3", start]
    run(trained / "data", tmp_path / "local", *sets, instance=False, watch=notes)
    said = "all but enhancers.0, base.last, for the file has enhancers 0 (here 1)"
    assert any(said in text for text in notes.said)


def test_classes_beyond_the_palette_are_named_with_their_file(trained: Path, tmp_path: Path) -> None:
    notes = Notes()
    with pytest.raises(Exception, match="the label map holds the class 2, and there are 2, 0 to 1") as caught:
        run(trained / "data", tmp_path / "run", "data.palette=2", watch=notes)
    assert type(caught.value).__name__ in ("ProcessingError", "PlanError", "ImageReadError")


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (
            "training.stages.0.frozen=[generator.bas]",
            "no group or network 'generator.bas'; did you mean",
        ),
        ("training.stages.0.frozen=[generator, discriminator]", "names everything that learns"),
        ("training.stages.0.epochs=2", "give the length of the stage enhancer as steps or as epochs"),
    ],
)
def test_a_wrong_stage_is_a_sentence(trained: Path, sets: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        run(trained / "data", tmp_path / "run", sets)
    assert not (tmp_path / "run" / "states").exists()


def test_a_missing_companion_is_a_sentence(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "ids").mkdir()
    for path in sorted((trained / "data" / "ids").glob("*.png"))[1:]:
        (tmp_path / "ids" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(PlanError, match="samples have no instance of the same name in"):
        run(trained / "data", tmp_path / "run", f"data.fields.instance={tmp_path / 'ids'}")
