"""The protocol for label maps: what counts, what is left out, and where classes come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from img2img import evaluate
from img2img.errors import ConfigError, UsageError
from img2img.evaluation import LabelsProtocol
from img2img.image import Image, write_image
from img2img.image.palette import LabelSet

COLOURS = np.array([[0, 0, 0], [200, 0, 0], [0, 200, 0], [0, 0, 200]], np.uint8)
LABELS = LabelSet(tuple(map(tuple, COLOURS.tolist())), ("void", "road", "tree", "sky"))


def fill(folder: Path, maps: dict[str, np.ndarray], grey: bool = False) -> Path:
    folder.mkdir()
    for name, numbers in maps.items():
        pixels = numbers[..., None].astype(np.uint8) if grey else COLOURS[numbers]
        write_image(Image(pixels), folder / f"{name}.png")
    return folder


@pytest.fixture
def maps() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Truth and predictions of different sizes; sky is nowhere, tree is in no truth."""
    rng = np.random.default_rng(0)
    truth = {str(n): rng.integers(0, 2, (6 + n, 9)) for n in range(3)}
    made = {name: np.where(rng.random(one.shape) < 0.3, 2, one) for name, one in truth.items()}
    made["0"][:2] = 1
    return truth, made


def reference(pairs, counted) -> dict[str, float]:
    """Counts pixel by pixel, class by class."""
    accuracy, iou, right, total = [], [], 0, 0
    for number in range(4):
        hits = sum(int(((t == number) & (p == number)).sum()) for t, p in pairs)
        real = sum(int((t == number).sum()) for t, p in pairs)
        either = sum(int(((t == number) | ((p == number) & np.isin(t, counted))).sum()) for t, p in pairs)
        if number not in counted:
            continue
        right, total = right + hits, total + real
        accuracy += [hits / real] if real else []
        iou += [hits / either] if either else []
    mean = {"mean_iou": np.mean(iou), "class_accuracy": np.mean(accuracy)}
    return {**mean, "pixel_accuracy": right / total}


@pytest.mark.parametrize(
    ("ignore", "counted"), [((), [0, 1, 2, 3]), (("void",), [1, 2, 3]), (("0 0 0", "sky"), [1, 2])]
)
@pytest.mark.parametrize("grey", [False, True], ids=["colours", "numbers"])
def test_the_scores_are_those_of_a_count(maps, ignore, counted, grey: bool, tmp_path: Path) -> None:
    truth, made = maps
    target, pred = fill(tmp_path / "t", truth), fill(tmp_path / "p", made, grey)
    found = evaluate(target, pred=pred, protocol="labels", palette=LABELS, ignore=ignore)
    pairs = [(truth[name], made[name]) for name in truth]
    assert found.mean() == pytest.approx(reference(pairs, counted)) and not found.problems
    one = found.scores[1]
    assert one.values == pytest.approx(reference([(truth["1"], made["1"])], counted))
    said = " ".join(found.remarks())
    assert "Predicted, but in no target: tree" in said
    assert ("In neither targets nor predictions, and in no mean: sky" in said) == (3 in counted)


def test_a_colour_of_no_class_is_ignored(maps, tmp_path: Path) -> None:
    """255 in maps of numbers, as Cityscapes has it."""
    truth, made = maps
    truth["1"][3:5] = 255
    target, pred = fill(tmp_path / "t", truth, True), fill(tmp_path / "p", made, True)
    grey = LabelSet(((0,), (1,), (2,), (3,)))
    found = evaluate(target, pred=pred, protocol="labels", palette=grey, ignore=["255"])
    pairs = [(truth[name], made[name]) for name in truth]
    assert found.mean() == pytest.approx(reference(pairs, [0, 1, 2, 3])) and not found.notes
    write_image(Image(np.full((6, 9, 1), 4, np.uint8)), pred / "0.png")
    ((problem),) = evaluate(target, pred=pred, protocol="labels", palette=grey, ignore=["255"]).problems
    assert "holds the class 4, and there are 4, 0 to 3" in problem.reason


def test_without_a_palette_the_targets_have_it(maps, tmp_path: Path) -> None:
    truth, made = maps
    target, pred = fill(tmp_path / "t", truth), fill(tmp_path / "p", made)
    found = evaluate(target, pred=pred, protocol="labels")
    assert found.protocol.describe().startswith("labels: 2 classes")
    assert any("none of the palette" in note for note in found.remarks()), "of the third class"


def test_a_table_names_the_classes(maps, tmp_path: Path) -> None:
    truth, made = maps
    target, pred = fill(tmp_path / "t", truth), fill(tmp_path / "p", made)
    rows = {
        "color,name": ["0 0 0,void", "#c80000,road", "0;200;0,tree", '"0, 0, 200",sky'],
        "r,g,b,class": ["0,0,0,void", "200,0,0,road", "0,200,0,tree", "0,0,200,sky"],
    }
    for number, (head, lines) in enumerate(rows.items()):
        table = tmp_path / f"{number}.csv"
        table.write_text("\n".join([head, *lines]) + "\n")
        found = evaluate(target, pred=pred, protocol="labels", palette=table, ignore=["sky"])
        assert isinstance(found.protocol, LabelsProtocol) and found.protocol.labels == LABELS
    table.write_text("color,name\nred,void\n")
    with pytest.raises(ConfigError, match=r"1.csv, line 2: there is no colour.* There is color 'red'"):
        evaluate(target, pred=pred, protocol="labels", palette=table)
    table.write_text("color,name\n1,a\n1,b\n")
    with pytest.raises(ConfigError, match="colours of classes differ from each other"):
        evaluate(target, pred=pred, protocol="labels", palette=table)


def test_what_cannot_be_measured_is_said(maps, tmp_path: Path) -> None:
    truth, made = maps
    made["2"] = made["2"][:5]
    target, pred = fill(tmp_path / "t", truth), fill(tmp_path / "p", made)
    found = evaluate(target, pred=pred, protocol="labels", palette=LABELS)
    ((problem),) = found.problems
    assert problem.path.name == "2.png" and "the sizes differ" in problem.reason and len(found.scores) == 2
    with pytest.raises(ConfigError, match=r"no class 'rode'; did you mean 'road'"):
        evaluate(target, pred=pred, protocol="labels", palette=LABELS, ignore=["rode"])
    with pytest.raises(ConfigError, match="every class is ignored"):
        evaluate(target, pred=pred, protocol="labels", palette=LABELS, ignore=LABELS.names)
    with pytest.raises(UsageError, match="palette belong to the protocol labels"):
        evaluate(target, pred=pred, protocol="plain", palette=LABELS)
    with pytest.raises(ConfigError, match="makes pictures and no label maps"):
        evaluate(target, inputs=target, model="x2", protocol="labels")


def test_photographs_as_targets_have_too_many_colours(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    (tmp_path / "t").mkdir()
    write_image(Image(noise), tmp_path / "t" / "a.png")
    with pytest.raises(ConfigError, match=r"more than 256 colours.*`palette`"):
        evaluate(tmp_path / "t", pred=tmp_path / "t", protocol="labels")
