"""Annotations of copies: what a data set says of a picture, said of its copies as well.

Nothing is computed: a copy shows the same things in the same places. Files that belong to one picture are
copied byte for byte, but for the name of the picture in VOC's XML and LabelMe's JSON. Files about many
pictures get further entries, and what they had stays as it is: COCO's JSON new pictures and annotations with
new ids, lists (ImageSets, train.txt) and tables (CSV, JSON lines) further lines.
"""

from __future__ import annotations

import codecs
import copy
import csv
import io
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import Any
from xml.sax.saxutils import escape

from img2img.image import READABLE
from img2img.tables import file_column

Copies = Callable[[str], list[str]]
"""Returns how the copies of a picture are named, in the way in which the picture itself is named."""

_FILENAME = re.compile(r"(<filename>\s*)([^<]*?)(\s*</filename>)")
_PATH = re.compile(r"(<path>\s*(?:[^<]*[/\\])?)([^<]*?)(\s*</path>)")
_DECLARED = re.compile(rb"<\?xml[^>]*?encoding=[\"']([\w.-]+)")
_WIDE = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_LINKS = ("coco_url", "flickr_url")  # where the picture itself is to be had
_PARTS = ("train", "val", "valid", "validation", "test", "trainval", "minival")


def of_copy(data: bytes, extension: str, name: str) -> bytes:
    """Returns a file that belongs to one picture as that of its copy.

    Args:
        data: The file.
        extension: Of the file, ".xml".
        name: The file name of the copy.
    """
    if extension == ".xml":
        return _of_copy_xml(data, escape(name))
    if extension == ".json":
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            return data
        if isinstance(document, dict) and isinstance(document.get("imagePath"), str):
            document["imagePath"] = str(
                PurePosixPath(document["imagePath"].replace("\\", "/")).with_name(name)
            )
            if document.get("imageData"):
                document["imageData"] = None  # the pixels of the original
            return json.dumps(document, indent=2, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return data


def _of_copy_xml(data: bytes, name: str) -> bytes:
    """Returns VOC's XML with the name of the copy, in the encoding that it has; all else byte for byte."""
    encoding = next((wide for mark, wide in _WIDE.items() if data.startswith(mark)), None)
    for plain, wide in ((b"<\0", "utf-16-le"), (b"\0<", "utf-16-be")):
        encoding = encoding or (wide if data.startswith(plain) else None)
    if encoding is None:  # UTF-8, or what shares ASCII with it
        encoding, declared = "utf-8", _DECLARED.match(data)
        if declared and declared[1].lower() not in (b"utf-8", b"utf8"):
            name = name.encode("ascii", "xmlcharrefreplace").decode()
    errors = "surrogateescape" if encoding == "utf-8" else "surrogatepass"
    try:
        text = data.decode(encoding, errors)
    except UnicodeDecodeError:  # half a character at its end
        return data
    for place in (_FILENAME, _PATH):
        text = place.sub(lambda found: found[1] + name + found[3], text, count=1)
    return text.encode(encoding, errors)


def with_copies(data: bytes, place: str, copies: Copies) -> bytes | None:
    """Returns a file about many pictures with further entries; None where it names none that has copies.

    Args:
        data: The file.
        place: Its path, which says of what kind it is.
        copies: Knows the copies.
    """
    extension = PurePosixPath(place).suffix.lower()
    if extension == ".json":
        return _coco(data, copies)
    # in whatever encoding: what is no UTF-8 is written as it was read
    text = data.decode("utf-8-sig", "surrogateescape")
    if extension == ".txt":
        return _list(data, text, place, copies)
    if extension in (".csv", ".tsv"):
        return _table(data, text, copies)
    if extension in (".jsonl", ".ndjson"):
        return _json_lines(data, text, copies)
    return None


def _coco(data: bytes, copies: Copies) -> bytes | None:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    images = document.get("images") if isinstance(document, dict) else None
    if not isinstance(images, list) or not all(isinstance(image, dict) for image in images):
        return None
    annotations = document.get("annotations")
    annotations = annotations if isinstance(annotations, list) else []
    by_image: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for one in annotations:
        if isinstance(one, dict) and isinstance(one.get("image_id"), int | str):
            by_image[one["image_id"]].append(one)
    new_image, new_annotation = (_FreshIds(entries) for entries in (images, annotations))
    more_images, more_annotations = [], []
    for image in images:
        name = image.get("file_name")
        for made in copies(name) if isinstance(name, str) else ():
            number = new_image(made)
            more_images.append(
                {key: value for key, value in image.items() if key not in _LINKS}
                | {"id": number, "file_name": made}
            )
            for one in by_image.get(image.get("id"), ()):
                more = copy.deepcopy(one) | {"image_id": number}
                if "id" in one:
                    more["id"] = new_annotation(made)
                more_annotations.append(more)
    if not more_images:
        return None
    document["images"] = [*images, *more_images]
    if annotations:
        document["annotations"] = [*annotations, *more_annotations]
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")


class _FreshIds:
    """Ids that are not given yet: numbers beyond the largest, 12 or "0012", or words where ids are words."""

    def __init__(self, entries: Iterable[Any]) -> None:
        known = [entry.get("id") for entry in entries if isinstance(entry, dict)]
        self._taken = {str(one) for one in known if one is not None}
        self._numbers = all(one.isdecimal() for one in self._taken)
        self._digits = max((len(one) for one in known if isinstance(one, str)), default=0)
        self._next = max((int(one) for one in self._taken if one.isdecimal()), default=0) + 1

    def __call__(self, name: str) -> int | str:
        if self._numbers or not self._digits:
            last, self._next = self._next, self._next + 1
            return f"{last:0{self._digits}}" if self._digits else last
        number, word = 1, name
        while word in self._taken:
            number, word = number + 1, f"{name}#{number}"
        self._taken.add(word)
        return word


def _list(data: bytes, text: str, place: str, copies: Copies) -> bytes | None:
    """A path on each line, as of YOLO; or a name and more on each line, as of ImageSets."""
    lines = [line for line in text.splitlines() if line.strip()]
    more = []
    found, files = 0, 0
    for line in lines:
        whole = line.strip()
        first = whole.split()[0]
        named = [(whole, made) for made in copies(whole)] or [(first, made) for made in copies(first)]
        found += bool(named)
        files += any(PurePosixPath(name).suffix.lower() in READABLE for name in (whole, first))
        more += [line.replace(name, made, 1) for name, made in named]
    path = PurePosixPath(place)
    words = {
        word for part in (*path.parent.parts, path.stem) for word in part.lower().replace("-", "_").split("_")
    }
    meant = bool(words & {*_PARTS, "imagesets"})
    return _appended(data, more) if more and (meant or len(lines) in (found, files)) else None


def _table(data: bytes, text: str, copies: Copies) -> bytes | None:
    delimiter = max(",;\t", key=text.lstrip("\r\n ").partition("\n")[0].count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True))
    except csv.Error:
        return None
    if len(rows) < 2:
        return None
    head = [cell.strip() for cell in rows[0]]
    column = head.index(file_column(head) or head[0])
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
    for row in rows[1:]:
        if len(row) > column:
            for made in copies(row[column].strip()):
                writer.writerow([*row[:column], made, *row[column + 1 :]])
    more = stream.getvalue().split("\n")[:-1]
    return _appended(data, more) if more else None


def _json_lines(data: bytes, text: str, copies: Copies) -> bytes | None:
    more = []
    for line in text.split("\n"):
        try:
            row = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError):
            return None
        if isinstance(row, dict):
            column = file_column(row)
            name = row.get(column) if column is not None else None
            for made in copies(name) if isinstance(name, str) and column is not None else ():
                more.append(json.dumps({**row, column: made}, ensure_ascii=False))
    return _appended(data, more) if more else None


def _appended(data: bytes, lines: Iterable[str]) -> bytes:
    end = b"\r\n" if b"\r\n" in data else b"\n"
    whole = data if not data or data.endswith(b"\n") else data + end
    return whole + b"".join(line.encode("utf-8", "surrogateescape") + end for line in lines)
