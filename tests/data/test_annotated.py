"""Which files of data sets are pictures, and which belong to them, in layouts of well-known sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from img2img.data.annotated import AnnotatedSet, survey


def placed(root: Path, *names: str) -> AnnotatedSet:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return survey(root)


@pytest.mark.parametrize(
    ("picture", "files"),
    [
        ("images/cat_1.jpg", ("annotations/trimaps/cat_1.png", "annotations/xmls/cat_1.xml")),  # Oxford pets
        ("train2017/1.jpg", ("annotations/panoptic_train2017/1.png",)),
        ("train2017/1.jpg", ("stuffthingmaps/train2017/1.png",)),
        ("train/1.png", ("train_labels/1_L.png",)),  # CamVid
        ("train/1.png", ("trainannot/1.png",)),
        ("training/image_2/0.png", ("training/label_2/0.txt", "training/semantic/0.png")),  # KITTI
        ("img_dir/train/1.jpg", ("ann_dir/train/1.png",)),  # MMSegmentation
        ("segmentation_set/images/1.jpg", ("segmentation_set/masks/1.png",)),
        ("Images/1.JPG", ("Annotations/1.XML", "Labels/1.TXT")),
    ],
)
def test_masks_and_labels_belong_to_the_picture(picture: str, files: tuple[str, ...], tmp_path: Path) -> None:
    found = placed(tmp_path, picture, *files)
    assert found.pictures == (picture,)
    assert found.own == {picture: files} and not found.shared


def test_label_maps_of_other_names_are_no_pictures(tmp_path: Path) -> None:
    picture = "leftImg8bit/train/aachen/aachen_0_leftImg8bit.png"
    maps = [f"gtFine/train/aachen/aachen_0_gtFine_{kind}.png" for kind in ("color", "labelIds")]
    found = placed(tmp_path, picture, *maps)
    assert found.pictures == (picture,) and found.shared == tuple(maps)


@pytest.mark.parametrize(
    "names",
    [
        ("train/mask/1.jpg", "train/mask/2.jpg", "train/no_mask/1.jpg"),
        ("with_mask/1.jpg", "without_mask/1.jpg"),
        ("train/cats/1.jpg", "train/labels/1.jpg", "train/no labels/1.jpg"),
    ],
)
def test_classes_may_be_called_like_annotations(names: tuple[str, ...], tmp_path: Path) -> None:
    found = placed(tmp_path, *names)
    assert found.pictures == names and not found.own


def test_labels_in_a_folder_that_is_called_after_annotations(tmp_path: Path) -> None:
    found = placed(tmp_path, "segmentation_set/train/1.jpg", "segmentation_set/train/1.txt")
    assert found.own == {"segmentation_set/train/1.jpg": ("segmentation_set/train/1.txt",)}


def test_two_pictures_of_one_name_have_their_labels_in_common(tmp_path: Path) -> None:
    found = placed(tmp_path, "a/1.jpg", "a/1.png", "a/1.txt")
    assert found.own == {"a/1.jpg": ("a/1.txt",), "a/1.png": ("a/1.txt",)}
    assert list(found.files) == ["a/1.jpg", "a/1.png", "a/1.txt"]


def test_names_of_windows_find_their_pictures(tmp_path: Path) -> None:
    found = placed(tmp_path, "train/a.jpg", "train/b.jpg", "val/A.jpg")
    assert found.picture("B.JPG", "instances.json") == "train/b.jpg"
    assert found.picture("A.jpg", "instances_train.json") == "val/A.jpg", "as it is written"
    assert found.picture("A.JPG", "instances_val.json") == "val/A.jpg"
