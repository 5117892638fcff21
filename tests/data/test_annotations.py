"""What files about many pictures say of copies: encodings, ids and lists as programs write them."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from img2img.data.annotations import of_copy, with_copies


def copies(name: str) -> list[str]:
    """One copy of each picture but for those that are gone."""
    stem, dot, suffix = name.partition(".")
    known = "gone" not in name and suffix.lower() in ("jpg", "png", "")
    return [f"{stem}_winter{dot}{suffix}"] if known and stem in ("a", "b", "cat", "images/a") else []


@pytest.mark.parametrize(
    ("ids", "new"),
    [
        ((1, 7), [8, 9]),
        (("0001", "0007"), ["0008", "0009"]),
        (("x", "0007"), ["a_winter.jpg", "b_winter.jpg"]),
    ],
)
def test_new_ids_are_like_those_that_there_are(ids: tuple[object, ...], new: list[object]) -> None:
    images = [{"id": one, "file_name": name} for one, name in zip(ids, ("a.jpg", "b.jpg"), strict=True)]
    notes = [{"id": one, "image_id": one, "bbox": [1, 2, 3, 4]} for one in ids]
    written = json.dumps({"images": images, "annotations": notes}).encode()
    found = json.loads(with_copies(written, "coco.json", copies) or b"")
    assert [image["id"] for image in found["images"]] == [*ids, *new]
    assert [(note["id"], note["image_id"]) for note in found["annotations"][2:]] == list(
        zip(new, new, strict=True)
    )


def test_a_table_in_another_encoding_gets_its_lines_byte_for_byte() -> None:
    table = 'file,class\na.jpg,Käfer\nb.jpg,"two\u0085parts"\n'
    for encoding in ("latin-1", "utf-8", "utf-8-sig"):
        data = table.encode(encoding)
        lines = [data.split(b"\n")[n].replace(b".jpg", b"_winter.jpg").replace(b'"', b"") for n in (1, 2)]
        assert with_copies(data, "t.csv", copies) == data + b"\n".join(lines) + b"\n"


@pytest.mark.parametrize(
    ("encoding", "mark", "head"),
    [
        ("utf-16-le", "\ufeff", '<?xml version="1.0" encoding="utf-16"?>'),
        ("utf-16-be", "\ufeff", ""),
        ("utf-16-le", "", '<?xml version="1.0" encoding="UTF-16"?>'),
        ("utf-8-sig", "", ""),
        ("utf-8", "", '<?xml version="1.0"?>'),
        ("latin-1", "", '<?xml version="1.0" encoding="iso-8859-1"?>'),
    ],
)
def test_xml_names_the_copy_in_whatever_encoding(encoding: str, mark: str, head: str) -> None:
    body = "<annotation><filename>a.jpg</filename><path>C:\\käfer\\a.jpg</path><n>Käfer</n></annotation>"
    data = (mark + head + body).encode(encoding)
    found = of_copy(data, ".xml", "a_größe.jpg")
    root = ElementTree.fromstring(found)
    assert [root.findtext(name) for name in ("filename", "path", "n")] == [
        "a_größe.jpg",
        "C:\\käfer\\a_größe.jpg",
        "Käfer",
    ]
    assert of_copy(data + b"<" * 3, ".xml", "x") is not None, (
        "half a character at the end is no reason to stop"
    )


@pytest.mark.parametrize(
    ("content", "more"),
    [
        ("a.jpg\ngone.jpg\n", "a_winter.jpg\n"),
        ("images/a.JPG 3\ngone.png 4\n", "images/a_winter.JPG 3\n"),
        ("cat\ngone\n", None),  # names of classes
        ("a.jpg shows a cat\n\nThese are not all\n", None),
    ],
)
def test_lists_may_name_what_is_not_there(content: str, more: str | None) -> None:
    found = with_copies(content.encode(), "files.txt", copies)
    assert found == (None if more is None else (content + more).encode())
