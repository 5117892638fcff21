"""`img2img data expand`: data sets of every layout with copies, annotated as their originals are."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image as Pillow

from img2img.checkpoint import ModelInfo, save_model
from img2img.cli.main import cli
from img2img.image import Image, read_image, write_image
from img2img.image.palette import LabelSet
from img2img.models import ArchSpec, build

XML = """<annotation>
  <folder>JPEGImages</folder><filename>{0}.jpg</filename>
  <path>/home/me/JPEGImages/{0}.jpg</path>
  <size><width>16</width><height>12</height></size>
  <object><name>cat</name><bndbox><xmin>1</xmin></bndbox></object>
</annotation>
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("winter", "night")):
        torch.manual_seed(seed)
        network = build(ArchSpec("unet", {"features": 4, "downs": 2, "norm": "instance"}))
        save_model(folder / f"{name}.safetensors", network, ModelInfo("own"))
    return folder


def call(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, ["data", "expand", *map(str, arguments), "--device", "cpu"])


def expanded(source: Path, output: Path, *more: Any) -> list[dict[str, str]]:
    result = call(source, "-o", output, *more)
    assert result.exit_code == 0, result.output
    return provenance(output)


def provenance(output: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((output / "provenance.csv").read_text().splitlines()))


def photo(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
    write_image(Image(pixels), path)


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def state(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def yolo(root: Path) -> Path:
    for part, names in (("train", "abc"), ("val", "de")):
        for seed, name in enumerate(names):
            photo(root / "images" / part / f"{name}.jpg", seed)
            text(root / "labels" / part / f"{name}.txt", f"{seed} 0.5 0.5 0.25 0.125\n")
        text(root / f"{part}.txt", "".join(f"./images/{part}/{name}.jpg\n" for name in names))
    text(root / "data.yaml", "train: images/train\nval: images/val\nnames: [cat, dog, cow]\n")
    text(root / "classes.txt", "cat\ndog\ncow\n")
    return root


def coco(root: Path) -> Path:
    ids = iter(range(1, 100))
    for part, names in (("train", ("1", "2")), ("val", ("1",))):
        images = [
            {"id": 10 + n, "file_name": f"{name}.jpg", "width": 16, "height": 12, "coco_url": "x"}
            for n, name in enumerate(names)
        ]
        notes = [
            {"id": next(ids), "image_id": image["id"], "category_id": 3, "bbox": [1.5, 2, 3, 4]}
            for image in images
            for _ in range(2)
        ]  # fmt: skip
        text(
            root / "annotations" / f"instances_{part}2017.json",
            json.dumps(
                {"info": {"year": 2017}, "images": images, "annotations": notes, "categories": [{"id": 3}]}
            ),
        )
        for seed, name in enumerate(names):
            photo(root / f"{part}2017" / f"{name}.jpg", seed)
    return root


def voc(root: Path) -> Path:
    for seed, name in enumerate(("2007_1", "2007_2", "2007_3")):
        photo(root / "JPEGImages" / f"{name}.jpg", seed)
        text(root / "Annotations" / f"{name}.xml", XML.format(name))
        photo(root / "SegmentationClass" / f"{name}.png", seed + 10)
    text(root / "ImageSets" / "Main" / "train.txt", "2007_1\n2007_2\n")
    text(root / "ImageSets" / "Main" / "val.txt", "2007_3\n")
    text(root / "ImageSets" / "Main" / "cat_train.txt", "2007_1  1\n2007_2 -1\n")
    return root


def classes(root: Path) -> Path:
    """One folder a class, called like folders of annotations are."""
    for seed, name in enumerate(("train/labels/1.jpg", "train/no labels/1.jpg", "test/labels/7.png")):
        photo(root / name, seed)
    return root


LAYOUTS = [yolo, coco, voc, classes]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_originals_stay_copies_lie_beside_them_and_a_second_run_does_nothing(
    layout: Any, models: Path, tmp_path: Path
) -> None:
    source, output = layout(tmp_path / "set"), tmp_path / "out"
    before = state(source)
    rows = expanded(source, output, "-m", models / "winter.safetensors")
    assert state(source) == before
    made = state(output)
    shared = {name for name in before if name.endswith((".json", ".txt")) and "labels/" not in name}
    assert all(made[name] == before[name] for name in before.keys() - shared)
    pictures = {name for name in before if name.endswith((".jpg", ".png")) and "Segm" not in name}
    assert {row["original"] for row in rows} == pictures and len(rows) == len(pictures)
    for row in rows:
        copy, original = Path(row["copy"]), Path(row["original"])
        assert copy.parent == original.parent and copy.stem == f"{original.stem}_winter"
        assert row["model"] == "winter" and len(row["model_sha256"]) == 64
        parts = [part for part in original.parts if part.startswith(("train", "val", "test"))]
        assert row["split"] == "".join(parts)
        assert read_image(output / copy).pixels.shape == read_image(source / original).pixels.shape
    again = call(source, "-o", output, "-m", models / "winter.safetensors")
    assert again.exit_code == 0 and f"0 done, {len(rows)} skipped" in again.stderr
    assert state(output) == made


def test_yolo_labels_and_lists_go_with_the_copies(models: Path, tmp_path: Path) -> None:
    source, output = yolo(tmp_path / "set"), tmp_path / "out"
    expanded(source, output, "-m", models / "winter.safetensors")
    for part, names in (("train", "abc"), ("val", "de")):
        for name in names:
            label = (source / "labels" / part / f"{name}.txt").read_bytes()
            assert (output / "labels" / part / f"{name}_winter.txt").read_bytes() == label
        lines = (output / f"{part}.txt").read_text().splitlines()
        assert lines[: len(names)] == (source / f"{part}.txt").read_text().splitlines()
        assert sorted(lines[len(names) :]) == [f"./images/{part}/{name}_winter.jpg" for name in names]
    for name in ("data.yaml", "classes.txt"):
        assert (output / name).read_bytes() == (source / name).read_bytes()
    assert len(list((output / "labels").rglob("*.txt"))) == 10


def test_labels_beside_pictures_and_masks_by_their_ends(models: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        photo(tmp_path / "set" / f"{name}.jpg", 0)
        photo(tmp_path / "set" / f"{name}_mask.png", 1)
        text(tmp_path / "set" / f"{name}.txt", "0 0.5 0.5 1 1\n")
        text(tmp_path / "set" / f"{name}.json", json.dumps({"imagePath": f"{name}.jpg", "imageData": "AA=="}))
    rows = expanded(tmp_path / "set", tmp_path / "out", "-m", models / "winter.safetensors")
    assert [row["copy"] for row in rows] == ["a_winter.jpg", "b_winter.jpg"]
    out, source = tmp_path / "out", tmp_path / "set"
    assert (out / "a_winter_mask.png").read_bytes() == (source / "a_mask.png").read_bytes()
    assert (out / "a_winter.txt").read_bytes() == (source / "a.txt").read_bytes()
    labelme = json.loads((out / "a_winter.json").read_text())
    assert labelme == {"imagePath": "a_winter.jpg", "imageData": None}


def test_coco_gets_new_ids_and_the_annotations_of_each_original(models: Path, tmp_path: Path) -> None:
    source, output = coco(tmp_path / "set"), tmp_path / "out"
    for name in ("winter", "night"):  # one after the other adds up
        expanded(source, output, "-m", models / f"{name}.safetensors")
    for part, count in (("train", 2), ("val", 1)):
        name = f"annotations/instances_{part}2017.json"
        before, after = (json.loads((root / name).read_text()) for root in (source, output))
        assert after["images"][:count] == before["images"]
        assert after["annotations"][: 2 * count] == before["annotations"]
        assert after["categories"] == before["categories"] and after["info"] == before["info"]
        for kind, each in (("images", 3), ("annotations", 6)):
            ids = [one["id"] for one in after[kind]]
            assert len(set(ids)) == len(ids) == each * count
        originals = {image["id"]: image for image in before["images"]}
        by_stem = {Path(image["file_name"]).stem: number for number, image in originals.items()}
        for image in after["images"][count:]:
            stem, model = Path(image["file_name"]).stem.split("_")
            assert model in ("winter", "night") and (output / f"{part}2017" / image["file_name"]).exists()
            assert (image["width"], image["height"]) == (16, 12) and "coco_url" not in image

            def notes(document: dict, number: int) -> list[dict]:
                found = [one for one in document["annotations"] if one["image_id"] == number]
                return [{k: v for k, v in one.items() if k not in ("id", "image_id")} for one in found]

            assert notes(after, image["id"]) == notes(before, by_stem[stem]) != []


def test_voc_files_name_the_copies_and_sets_list_them(models: Path, tmp_path: Path) -> None:
    source, output = voc(tmp_path / "set"), tmp_path / "out"
    expanded(source, output, "-m", models / "winter.safetensors")
    assert (output / "Annotations" / "2007_1_winter.xml").read_text() == XML.format("2007_1_winter")
    mask = (source / "SegmentationClass" / "2007_2.png").read_bytes()
    assert (output / "SegmentationClass" / "2007_2_winter.png").read_bytes() == mask
    sets = output / "ImageSets" / "Main"
    assert (sets / "train.txt").read_text().split() == ["2007_1", "2007_2", "2007_1_winter", "2007_2_winter"]
    assert (sets / "val.txt").read_text().split() == ["2007_3", "2007_3_winter"]
    assert "2007_2_winter -1" in (sets / "cat_train.txt").read_text().splitlines()


def test_a_list_says_which_pictures_and_gets_lines_for_copies(models: Path, tmp_path: Path) -> None:
    for seed, name in enumerate(("a", "b", "c")):
        photo(tmp_path / "photos" / f"{name}.jpg", seed)
        photo(tmp_path / "parts" / f"{name}.png", seed)
    rows = "../photos/a.jpg,cat,../parts/a.png,train\n../photos/b.jpg,dog,../parts/b.png,test\n"
    text(tmp_path / "lists" / "all.csv", "file,label,mask,split\n" + rows)
    out = tmp_path / "out"
    made = expanded(tmp_path / "lists" / "all.csv", out, "-m", models / "winter.safetensors")
    assert [row["copy"] for row in made] == ["photos/a_winter.jpg", "photos/b_winter.jpg"]
    names = {"a.jpg", "a.png", "a_winter.jpg", "b.jpg", "b.png", "b_winter.jpg"}
    assert {path.name for path in out.rglob("*.*g") if path.is_file()} == names
    found = (out / "lists" / "all.csv").read_text()
    assert found == "file,label,mask,split\n" + rows + rows.replace(".jpg", "_winter.jpg")
    text(tmp_path / "lists" / "all.txt", "../photos/a.jpg\n../photos/nowhere.jpg\n")
    result = call(tmp_path / "lists" / "all.txt", "-o", out, "-m", models / "winter.safetensors")
    assert result.exit_code == 2 and "nowhere.jpg" in result.stderr and "no such file" in result.stderr


def test_tables_of_a_folder_get_lines_too(models: Path, tmp_path: Path) -> None:
    for seed, name in enumerate(("a", "b")):
        photo(tmp_path / "set" / "train" / f"{name}.png", seed)
    rows = "filename;class;xmin\na.png;cat;1\na.png;cow;2\nb.png;dog;3"
    text(tmp_path / "set" / "train" / "boxes.csv", rows)
    lines = '{"file_name": "train/a.png", "label": "é"}\n{"file_name": "train/gone.png", "label": "x"}\n'
    text(tmp_path / "set" / "metadata.jsonl", lines)
    text(tmp_path / "set" / "notes.csv", "who,what\nme,this\n")
    expanded(tmp_path / "set", tmp_path / "out", "-m", models / "night.safetensors")
    added = "\na_night.png;cat;1\na_night.png;cow;2\nb_night.png;dog;3\n"
    assert (tmp_path / "out" / "train" / "boxes.csv").read_text() == rows + added
    more = '{"file_name": "train/a_night.png", "label": "é"}\n'
    assert (tmp_path / "out" / "metadata.jsonl").read_text() == lines + more
    assert (tmp_path / "out" / "notes.csv").read_text() == "who,what\nme,this\n"


def test_several_models_share_the_copies_out_and_more_pictures_move_none(
    models: Path, tmp_path: Path
) -> None:
    for number in range(12):
        photo(tmp_path / "set" / f"{number}.png", number)
    both = ["-m", models / "winter.safetensors", "-m", models / "night.safetensors"]
    rows = expanded(tmp_path / "set", tmp_path / "one", *both)
    counts = Counter(row["model"] for row in rows)
    assert sum(counts.values()) == 12 and min(counts["winter"], counts["night"]) >= 2
    photo(tmp_path / "set" / "00.png", 99)
    more = expanded(tmp_path / "set", tmp_path / "one", *both)
    assert {row["copy"] for row in rows} < {row["copy"] for row in more} and len(more) == 13
    every = expanded(tmp_path / "set", tmp_path / "two", *both, "--copies", 2)
    assert Counter(row["model"] for row in every) == {"winter": 13, "night": 13}


def test_more_copies_than_there_are_differences_are_said(models: Path, tmp_path: Path) -> None:
    photo(tmp_path / "set" / "a.png", 0)
    result = call(
        tmp_path / "set", "-o", tmp_path / "out", "-m", models / "winter.safetensors", "--copies", 3
    )
    assert result.exit_code == 0 and "a second one would be the same picture" in " ".join(
        result.stderr.split()
    )
    assert len(provenance(tmp_path / "out")) == 1


def test_dropout_makes_several_copies_by_seed(tmp_path: Path) -> None:
    photo(tmp_path / "set" / "a.png", 0)
    network = build(ArchSpec("unet", {"features": 4, "downs": 6, "norm": "instance"}))
    (tmp_path / "run").mkdir()
    save_model(tmp_path / "run" / "last.safetensors", network, ModelInfo("own"))
    rows = expanded(
        tmp_path / "set", tmp_path / "out", "-m", tmp_path / "run" / "last.safetensors", "--dropout",
        "--copies", 2, "--seed", 5,
    )  # fmt: skip
    assert [(row["copy"], row["seed"]) for row in rows] == [
        ("a_run_last_5.png", "5"),
        ("a_run_last_6.png", "6"),
    ]
    one, other = (read_image(tmp_path / "out" / row["copy"]).pixels for row in rows)
    assert not np.array_equal(one, other)


def test_what_a_model_takes_beside_pictures_is_in_the_table(tmp_path: Path) -> None:
    for number in range(3):
        photo(tmp_path / "set" / f"{number}.png", number)
        photo(tmp_path / "hints" / f"{number}.png", number + 5)
    arguments = {"features": 4, "downs": 2, "norm": "instance", "further": "hint:picture:3 mood:vector:2"}
    save_model(tmp_path / "moody.safetensors", build(ArchSpec("unet", arguments)), ModelInfo("own"))
    (tmp_path / "hints" / "2.png").unlink()
    command = [tmp_path / "set", "-o", tmp_path / "out", "-m", tmp_path / "moody.safetensors"]
    given = ["--with", f"hint={tmp_path / 'hints'}", "--with", "mood=1,0"]
    result = call(*command, *given)
    assert result.exit_code == 1 and "there is no hint for it" in " ".join(result.stderr.split())
    rows = provenance(tmp_path / "out")
    assert [row["original"] for row in rows] == ["0.png", "1.png"]
    assert rows[0]["conditions"] == f"hint={tmp_path / 'hints'} mood=1,0"
    alone = call(*command)
    assert "--set-attribute" not in alone.output, "this command has no such option"
    assert alone.exit_code == 2 and "Give --with hint=DIR --with mood=NUMBERS" in " ".join(
        alone.stderr.split()
    )


def test_models_that_change_geometry_or_make_labels_are_refused(models: Path, tmp_path: Path) -> None:
    photo(tmp_path / "set" / "a.png", 0)
    result = call(tmp_path / "set", "-o", tmp_path / "out", "-m", "x2")
    assert result.exit_code == 2 and "2 times as large, and annotations of the originals" in " ".join(
        result.stderr.split()
    )
    network = build(ArchSpec("unet", {"features": 4, "downs": 2, "out_channels": 2}))
    labels = ModelInfo("labels", labels=LabelSet(((0,), (1,))))
    save_model(tmp_path / "seg.safetensors", network, labels)
    result = call(tmp_path / "set", "-o", tmp_path / "out", "-m", tmp_path / "seg.safetensors")
    assert result.exit_code == 2 and "makes label maps" in result.stderr
    assert not (tmp_path / "out").exists()


def test_one_bad_file_stops_nothing_and_nothing_is_overwritten(models: Path, tmp_path: Path) -> None:
    source, output = yolo(tmp_path / "set"), tmp_path / "out"
    broken = source / "images" / "train" / "b.jpg"
    broken.write_bytes(broken.read_bytes()[:100])
    text(output / "labels" / "train" / "a.txt", "mine")
    text(output / "labels" / "train" / "c_winter.txt", "mine, too")
    result = call(source, "-o", output, "-m", models / "winter.safetensors")
    assert result.exit_code == 1
    said = " ".join(result.stderr.split())
    assert "b.jpg" in said and said.count("is there already and is another file; it is not replaced") == 2
    assert (output / "labels" / "train" / "a.txt").read_text() == "mine"
    assert (output / "labels" / "train" / "c_winter.txt").read_text() == "mine, too"
    assert {row["original"] for row in provenance(output)} == {
        "images/train/a.jpg", "images/train/c.jpg", "images/val/d.jpg", "images/val/e.jpg",
    }  # fmt: skip
    assert "b_winter" not in (output / "train.txt").read_text()
    text(output / "train.txt", "edited")
    again = call(source, "-o", output, "-m", models / "night.safetensors")
    assert again.exit_code == 1 and "train.txt is there already" in " ".join(again.stderr.split())
    assert (output / "train.txt").read_text() == "edited"


def test_places_that_make_no_sense_are_sentences(models: Path, tmp_path: Path) -> None:
    source, model = yolo(tmp_path / "set"), models / "winter.safetensors"
    for output, words in (
        (source, "is the input folder"),
        (source / "inside", "lies inside the input folder"),
        ("-", "needs a folder"),
    ):
        result = call(source, "-o", output, "-m", model)
        assert result.exit_code == 2 and words in " ".join(result.stderr.split())
    assert not (source / "inside").exists()
    expanded(source, tmp_path / "out", "-m", model)
    result = call(tmp_path / "out", "-o", tmp_path / "more", "-m", model)
    assert result.exit_code == 2 and "was expanded already" in " ".join(result.stderr.split())
    (tmp_path / "empty").mkdir()
    result = call(tmp_path / "empty", "-o", tmp_path / "more", "-m", model)
    assert result.exit_code == 2 and "holds no picture" in result.stderr
    result = call(source, "-o", tmp_path / "more", "-m", model, "--masks", "nowhere")
    assert result.exit_code == 2 and "there is no folder nowhere" in " ".join(result.stderr.split())


def test_pictures_that_are_stored_turned_are_named(models: Path, tmp_path: Path) -> None:
    source = tmp_path / "set"
    photo(source / "a.jpg", 0)
    text(source / "a.txt", "0 0.5 0.5 1 1\n")
    exif = Pillow.Exif()
    exif[0x0112] = 6
    with Pillow.open(source / "a.jpg") as image:
        image.save(source / "b.jpg", exif=exif)
    text(source / "b.txt", "0 0.5 0.5 1 1\n")
    result = call(source, "-o", tmp_path / "out", "-m", models / "winter.safetensors")
    said = " ".join(result.stderr.split())
    assert (
        result.exit_code == 0 and "1 picture is stored turned (EXIF orientation)" in said and "b.jpg" in said
    )


LAYOUTS_OF_FILES = {
    "parts above": (["a/images/1.jpg", "a/labels/1.txt", "b/images/1.jpg", "b/labels/1.txt"], "2 2 0"),
    "one name in two folders": (["imgs/a.jpg", "masks/a_mask.png", "masks/a.xml"], "1 2 0"),
    "words in names of folders": (["train_images/a.jpg", "train_masks/a_mask.gif"], "1 1 0"),
    "classes called like notes": (["train/labels/1.jpg", "train/no-mask/1.jpg", "train/mask/1.jpg"], "3 0 0"),
    "names that nobody knows": (["leftImg8bit/a_leftImg8bit.png", "gtFine/a_gtFine_labelIds.png"], "1 0 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS_OF_FILES)
def test_files_find_their_pictures_by_their_places(name: str, tmp_path: Path) -> None:
    from img2img.data.annotated import survey

    files, expected = LAYOUTS_OF_FILES[name]
    for file in files:
        text(tmp_path / file, "x")
    found = survey(tmp_path)
    assert sorted(found.files) == sorted(files)
    own = sum(map(len, found.own.values()))
    assert f"{len(found.pictures)} {own} {len(found.unmatched)}" == expected
