"""Results that a network made up say so in XMP; others are byte for byte as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from img2img.checkpoint import ModelInfo, save_model
from img2img.cli.main import cli
from img2img.image import Image, read_image, write_image
from img2img.image.image import Metadata
from img2img.image.palette import LabelSet
from img2img.image.xmp import EDITED, GENERATED
from img2img.inference import Translator
from img2img.models import Compact, PartialUNet

OWN = (
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    b'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="5"/></rdf:RDF>'
)


def img2img(*arguments: Any) -> Result:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, and one network as an upscaler and a translator, of a GAN and not."""
    place = tmp_path_factory.mktemp("mark")
    torch.manual_seed(0)
    network = Compact(features=4, convs=1, scale=1)
    for output in ("own", "like_input"):
        for gan in (True, False, None):
            save_model(
                place / f"{output}_{gan}.safetensors",
                network,
                ModelInfo(output, adversarial=gan, synthetic=bool(gan)),
            )
    (place / "in").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    write_image(Image(pixels), place / "in" / "a.png")
    write_image(Image(pixels, metadata=Metadata(xmp=OWN)), place / "in" / "b.jpg")
    write_image(Image(pixels), place / "in" / "c.bmp")
    return place


def made(place: Path, out: Path, command: str, model: str, *options: str) -> dict[str, bytes]:
    img2img(command, place / "in", "-o", out, "-m", place / f"{model}.safetensors", *options)
    return {path.name: path.read_bytes() for path in out.iterdir() if path.name[0] != "."}


@pytest.mark.parametrize(
    ("command", "output", "term"),
    [("translate", "own", GENERATED), ("upscale", "like_input", EDITED), ("restore", "like_input", EDITED)],
)
def test_it_is_in_the_files_unless_one_says_no(
    place: Path, tmp_path: Path, command: str, output: str, term: str
) -> None:
    off = () if command == "translate" else ("--color-fix", "off")
    plain = made(place, tmp_path / "plain", command, f"{output}_None")
    assert made(place, tmp_path / "psnr", command, f"{output}_False") == plain
    gan = f"{output}_True"
    marked = made(place, tmp_path / "gan", command, gan, *off)
    for name, before in (("a.png", None), ("b.jpg", OWN)):
        xmp = read_image(tmp_path / "gan" / name).metadata.xmp
        assert xmp is not None and xmp.count(term.encode()) == 1
        assert before is None or b'xmp:Rating="5"' in xmp
    assert marked["c.bmp"] == plain["c.bmp"]
    assert made(place, tmp_path / "off", command, gan, *off, "--no-mark") == plain


def test_another_word_about_the_mark_is_another_result_and_the_next_run_knows(
    place: Path, tmp_path: Path
) -> None:
    options = ("translate", place / "in", "-o", tmp_path, "-m")
    assert "3 done" in img2img(*options, place / "own_True.safetensors").stderr
    assert "3 skipped" in img2img(*options, place / "own_True.safetensors").stderr
    assert "3 done" in img2img(*options, place / "own_True.safetensors", "--no-mark").stderr
    assert "3 skipped" in img2img(*options, place / "own_None.safetensors").stderr, (
        "as before there were marks"
    )


def test_who_takes_metadata_out_leaves_the_mark(place: Path, tmp_path: Path) -> None:
    """What came with a picture may be personal; that a network made it is not."""
    marked = made(place, tmp_path / "a", "translate", "own_True", "--strip-metadata")
    assert marked["b.jpg"].count(GENERATED.encode()) == 1 and b"Rating" not in marked["b.jpg"]
    for place_, options in (("b", ("--no-mark",)), ("c", ())):
        model = "own_True" if options else "own_None"
        plain = made(place, tmp_path / place_, "translate", model, "--strip-metadata", *options)
        assert all(b"DigitalSourceType" not in data and b"Rating" not in data for data in plain.values())


def test_filled_holes_of_a_gan_are_marked(tmp_path: Path) -> None:
    network = PartialUNet(**PartialUNet.tiny)
    for gan in (True, False):
        info = ModelInfo(adversarial=gan, synthetic=gan)
        save_model(tmp_path / f"{gan}.safetensors", network, info)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    hole = np.zeros((40, 40, 1), np.uint8)
    hole[10:20, 10:20] = 255
    (tmp_path / "in").mkdir()
    write_image(Image(pixels), tmp_path / "in" / "a.png")
    write_image(Image(hole), tmp_path / "hole.png")
    fill = ("inpaint", tmp_path / "in", "--mask", tmp_path / "hole.png", "--device", "cpu", "-o")
    for model, options, mark in (("True", (), True), ("True", ("--no-mark",), False), ("False", (), False)):
        out = tmp_path / f"{model}{len(options)}"
        img2img(*fill, out, "-m", tmp_path / f"{model}.safetensors", *options)
        xmp = read_image(out / "a.png").metadata.xmp
        assert (xmp is not None and EDITED.encode() in xmp) == mark
    again = img2img(*fill, tmp_path / "True1", "-m", tmp_path / "True.safetensors")
    assert "1 done" in again.stderr, "another word about the mark is another result"


def test_a_model_among_operations_marks_too(place: Path, tmp_path: Path) -> None:
    model = f"model={place / 'own_True.safetensors'}"
    img2img("process", place / "in" / "a.png", "-o", tmp_path / "x.png", "--op", model, "--op", "flip")
    xmp = read_image(tmp_path / "x.png").metadata.xmp
    assert xmp is not None and GENERATED.encode() in xmp
    img2img("process", place / "in" / "a.png", "-o", tmp_path / "y.png", "--op", f"{model},mark:false")
    assert read_image(tmp_path / "y.png").metadata.xmp is None


def test_what_is_enlarged_after_it_was_made_stays_made() -> None:
    network, picture = Compact(features=4, convs=1, scale=1), Image(np.zeros((4, 4, 3), np.uint8))
    translator = Translator(network, ModelInfo("own", synthetic=True), "cpu")
    enlarger = Translator(network, ModelInfo("like_input", synthetic=True), "cpu")
    for chain, term in (
        ([translator, enlarger], GENERATED),
        ([enlarger, translator], GENERATED),
        ([enlarger], EDITED),
    ):
        images = [picture]
        for model in chain:
            images = model(images)
        assert images[0].metadata.source_type == term


def test_nothing_of_a_network_in_it_and_label_maps_have_none() -> None:
    network = Compact(features=4, convs=1, scale=1)
    assert Translator(network, ModelInfo(synthetic=True), "cpu", strength=0.0).source_type is None
    classes = LabelSet(((0, 0, 0), (255, 0, 0), (0, 255, 0)))
    labels = Translator(network, ModelInfo("labels", synthetic=True, labels=classes), "cpu")
    assert labels.source_type is None
