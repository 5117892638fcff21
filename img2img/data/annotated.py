"""Data sets of others: which files are pictures, and which say something about them."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from img2img.errors import PlanError, display_path
from img2img.image import READABLE
from img2img.image.discovery import natural_key
from img2img.tables import listed_files

# what folders are called that hold one part of a data set, beside that of another part
PICTURES = {"images", "image", "imgs", "img", "jpegimages", "photos", "pictures", "rgb", "leftimg8bit"}
NOTES = {
    "labels", "label", "annotations", "annotation", "annot", "ann", "anns", "mask", "masks", "segmentation",
    "segmentations", "segmentationclass", "segmentationobject", "segmentationclassraw", "panoptic",
    "semantic", "instance", "instances", "trimaps", "stuffthingmaps", "xml", "xmls", "json", "gt", "gtfine",
    "gtcoarse",
}  # fmt: skip
_ENDS = tuple(f"{dash}{word}" for dash in "_-." for word in ("mask", "masks", "gt", "label", "labels", "seg"))
_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")
_LISTS = (*_TABLES, ".txt")


@dataclass(frozen=True)
class AnnotatedSet:
    """The files of a data set, by their places below its root, written with "/".

    Attributes:
        root: The folder.
        pictures: What a model may make copies of.
        own: The files that belong to one picture alone: its labels, its mask.
        shared: All other files: lists, tables, COCO's JSON, names of classes.
        listed: The list that named the pictures, if one did.
        unmatched: Those of `shared` that seem to say something about one picture, and have the name of none.
    """

    root: Path
    pictures: tuple[str, ...]
    own: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    shared: tuple[str, ...] = ()
    listed: str | None = None
    unmatched: tuple[str, ...] = ()

    @property
    def files(self) -> Iterator[str]:
        """Every file."""
        yield from self.pictures
        yield from dict.fromkeys(file for files in self.own.values() for file in files)
        yield from self.shared

    def picture(self, name: str, place: str) -> str | None:
        """Returns the picture that an annotation names.

        Args:
            name: Its path below the root or below the folder of the annotation, its name, or either without
                extension; a path of this machine, too.
            place: The file of the annotation. Where several pictures have one name, its words decide: of
                instances_train2017.json those in the folder train2017.
        """
        name = name.strip().replace("\\", "/")
        if not name:
            return None
        if os.path.isabs(name):  # noqa: PTH117
            name = os.path.relpath(name, self.root).replace(os.sep, "/")
        folder = PurePosixPath(place).parent
        for path in (os.path.normpath(folder / name), os.path.normpath(name)):
            path = path.replace(os.sep, "/")
            if path in self._paths:
                return self._paths[path]
        found = self._by_name.get(PurePosixPath(name).name.lower(), [])  # 1.JPG is 1.jpg on Windows
        tail = os.path.normpath(name).replace(os.sep, "/").lstrip("./")
        found = [one for one in found if _ends_with(one, tail)] or found
        if len(found) > 1:
            words = {place, *PurePosixPath(place).with_suffix("").parts}
            words |= {word for part in list(words) for word in part.replace("-", "_").split("_")}
            found = [one for one in found if words & set(PurePosixPath(one).parent.parts)]
        return found[0] if len(found) == 1 else None

    @cached_property
    def _paths(self) -> dict[str, str]:
        stems: dict[str, str | None] = {}
        for path in self.pictures:
            stem = str(PurePosixPath(path).with_suffix(""))
            stems[stem] = None if stem in stems else path
        return {stem: path for stem, path in stems.items() if path is not None} | {
            p: p for p in self.pictures
        }

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for path in self.pictures:
            for name in {PurePosixPath(path).name.lower(), PurePosixPath(path).stem.lower()}:
                found[name].append(path)
        return found


def survey(source: Path, masks: Sequence[str] = (), hidden: bool = False) -> AnnotatedSet:
    """Returns what a folder holds, or what a list names.

    A file belongs to a picture if it has its name, beside it or in a folder that differs only in what it is
    called after: images/train/1.jpg and labels/train/1.txt, JPEGImages/1.jpg and Annotations/1.xml. A picture
    in such a folder is a mask, and so is 1_mask.png beside 1.jpg.

    Args:
        source: The folder; or a list: a text file with a path on each line, or a table (CSV, JSON lines).
        masks: Folders below it that hold masks, whatever they are called.
        hidden: Whether to take files and folders whose names begin with a dot.

    Raises:
        PlanError: There is no picture, a name that a list has is not there, or it is no list.
    """
    named: set[str] = set()
    beside: set[str] = set()
    listed: str | None = None
    if source.is_dir():
        root = source
        files = sorted(_walk(root, hidden), key=natural_key)
    else:
        root, listed, named, beside, files = _named(source)

    def leads(path: str) -> bool:
        return listed is None or path in named

    held = {str(PurePosixPath(place)).strip("/") for place in masks}
    if strange := [place for place in held if not (root / place).is_dir()]:
        raise PlanError(f"there is no folder {display_path(strange[0])} in {display_path(root)} with masks.")
    readable = {path for path in files if PurePosixPath(path).suffix.lower() in READABLE}
    found = [path for path in files if path in readable and leads(path) and not _is_among(path, held)]
    noted = {path for path in found if _in_notes(path)}
    by_key: dict[tuple[str, ...], list[str]] = defaultdict(list)
    above: set[PurePosixPath] = set()  # what holds a folder that is called images
    for path in found:
        if path not in noted:
            by_key[_key(path, PICTURES)].append(path)
            above |= _above(path, PICTURES)
    marked = {path for paths in by_key.values() for path in paths if _marked(path, by_key)}
    by_place: dict[PurePosixPath, list[str]] = defaultdict(list)
    by_stem: dict[str, list[str]] = defaultdict(list)

    def add(picture: str) -> None:
        by_place[PurePosixPath(picture).with_suffix("")].append(picture)
        by_stem[PurePosixPath(picture).stem].append(picture)

    def owners(path: str) -> list[str]:
        """Returns the one picture that a file belongs to, or two of one name and place: 1.jpg and 1.png."""
        if path in beside or PurePosixPath(path).suffix.lower() in _TABLES:
            return []
        place = PurePosixPath(path).with_suffix("")
        found = by_place.get(place, []) if path not in readable else []
        found = found or by_key.get(_marked(path, by_key) or _key(path, NOTES), [])
        found = [one for one in found if one not in marked]
        if not found and (_is_among(path, held) or _above(path, NOTES) & above):
            found = by_stem[place.name]
        return found if len({PurePosixPath(one).with_suffix("") for one in found}) == 1 else []

    pictures = [path for paths in by_key.values() for path in paths if path not in marked]
    for picture in pictures:
        add(picture)
    of_masks = {PurePosixPath(path).parent for path in readable.difference(pictures) if owners(path)}
    for path in found:  # a class may be called labels
        is_mask = PurePosixPath(path).parent in of_masks or bool(_above(path, NOTES) & above)
        if path in noted and not is_mask:
            pictures.append(path)
            add(path)
    known = set(pictures)
    own: dict[str, list[str]] = defaultdict(list)
    others = []
    for path in files:
        if path in known:
            continue
        belongs = owners(path)
        for one in belongs:
            own[one].append(path)
        if not belongs and (listed is None or path == listed or path in beside):
            others.append(path)
    if not pictures:
        raise PlanError(f"{display_path(source)} holds no picture to make copies of.")
    return AnnotatedSet(
        root,
        tuple(sorted(pictures, key=natural_key)),
        {path: tuple(found) for path, found in own.items()},
        tuple(others),
        listed,
        tuple(path for path in others if path not in beside and (path in readable or path.endswith(".xml"))),
    )


def _walk(root: Path, hidden: bool) -> Iterator[str]:
    """Yields the files below a folder; caches of other programs are made anew by them."""
    for folder, folders, files in os.walk(root):
        kept = [name for name in folders if name != "__MACOSX" and (hidden or not name.startswith("."))]
        folders[:] = sorted(kept)
        place = PurePosixPath(*Path(folder).relative_to(root).parts)
        for name in files:
            wanted = (hidden or not name.startswith(".")) and not name.endswith((".cache", ".part"))
            if wanted and (Path(folder) / name).is_file():
                yield str(place / name)


def _named(path: Path) -> tuple[Path, str, set[str], set[str], list[str]]:
    """Returns the root of what a list names, the list, its pictures, its other files, and all about them."""
    if path.suffix.lower() not in _LISTS:
        kinds = ", ".join(_LISTS)
        raise PlanError(f"{display_path(path)} is neither a folder nor a list ({kinds}).")
    base = Path(os.path.abspath(path.parent))  # noqa: PTH100  links keep their names
    leading, others = ([os.path.normpath(base / cell) for cell in cells] for cells in listed_files(path))
    missing = [name for name in leading if not Path(name).is_file()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise PlanError(
            f"{display_path(path)} names {display_path(missing[0])}{more}, and there is no such file; "
            "paths are relative to the list."
        )
    pictures = [name for name in leading if Path(name).suffix.lower() in READABLE]
    beside = [name for name in others if Path(name).suffix and Path(name).is_file()]
    root = Path(os.path.commonpath([base, *(Path(name).parent for name in (*pictures, *beside))]))
    files = {*pictures, *beside, str(base / path.name)}
    for folder in _about({Path(name).parent for name in pictures}):
        files |= {str(one) for one in folder.iterdir() if one.is_file()}

    def inside(name: str) -> str:
        return os.path.relpath(name, root).replace(os.sep, "/")

    every = [name for name in map(inside, files) if not name.startswith("../")]
    listed = inside(str(base / path.name))
    return root, listed, set(map(inside, pictures)), set(map(inside, beside)), sorted(every, key=natural_key)


def _about(folders: set[Path]) -> Iterator[Path]:
    """Yields folders of pictures and those that may say something about them: labels/a beside images/a."""
    for folder in folders:
        yield folder
        for place, part in enumerate(folder.parts):
            if part.lower() in PICTURES:
                above = Path(*folder.parts[:place])
                for other in above.iterdir():
                    whole = other.joinpath(*folder.parts[place + 1 :])
                    if other.name.lower() in NOTES and whole.is_dir():
                        yield whole


def _key(path: str, words: Collection[str]) -> tuple[str, ...]:
    """Returns what a picture and the files about it have in common: images/1.jpg, train_labels/1.png."""
    place = PurePosixPath(path)
    rest = ("_".join(w for w in _words(part) if w.lower() not in words) for part in place.parent.parts)
    return (*filter(None, rest), place.stem)


def _words(folder: str) -> list[str]:
    """Returns "image" and "2" of image_2; of a name that is known as a whole, that."""
    whole = folder.lower() in PICTURES | NOTES
    return [folder] if whole else re.split(r"[ _.-]+|(?<=[a-z])(?=annot$)", folder)


def _is_called(folder: str, words: Collection[str]) -> bool:
    return any(word.lower() in words for word in _words(folder))


def _in_notes(path: str) -> bool:
    """Returns whether a file lies in a folder of annotations; segmentation_set/images is one of pictures."""
    parts = PurePosixPath(path).parent.parts
    if any(part.lower() in NOTES for part in parts):
        return True
    last = next((part for part in reversed(parts) if _is_called(part, PICTURES | NOTES)), "")
    return _is_called(last, NOTES)


def _above(path: str, words: Collection[str]) -> set[PurePosixPath]:
    """Returns what folders of a file that are called after `words` lie in."""
    return {folder.parent for folder in PurePosixPath(path).parents if _is_called(folder.name, words)}


def _is_among(path: str, folders: Iterable[str]) -> bool:
    return any(path.startswith(folder + "/") for folder in folders)


def _marked(path: str, by_key: Mapping[tuple[str, ...], Sequence[str]]) -> tuple[str, ...] | None:
    """Returns the key of the picture that 1_mask.png is the mask of; None for other files."""
    *folder, stem = _key(path, NOTES)
    for end in (*_ENDS, "_l") if _in_notes(path) else _ENDS:  # of CamVid
        key = (*folder, stem[: -len(end)])
        if stem.lower().endswith(end) and by_key.get(key):
            return key
    return None


def _ends_with(path: str, tail: str) -> bool:
    stem = str(PurePosixPath(path).with_suffix(""))
    return any(one == tail or one.endswith(f"/{tail}") for one in (path, stem))
