"""Names of outputs, where they really go, and that they meet neither each other nor an input."""

from __future__ import annotations

import os
from collections.abc import Collection, Hashable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from img2img.errors import PlanError, display_path
from img2img.image import WRITABLE
from img2img.image.discovery import collision_key
from img2img.remote import RemotePath, is_remote, place, real_path

FALLBACKS = (".png", ".tif")  # what is appended when a format cannot hold a picture, in this order
_PAIRS_SHOWN = 20

Pair = tuple[Path, Path]  # source, output


def output_name(name: str, suffix: str = "", extension: str | None = None) -> str:
    """Returns the name of the output for a source called `name`.

    The name stays as it is when its format can be written. Otherwise ".png" is appended to the whole name
    (`hopper.gif` becomes `hopper.gif.png`), so that `hopper.gif` and `hopper.png` never meet.

    Args:
        name: A bare file name.
        suffix: Goes before the extension: "_x4" makes `a.jpg` into `a_x4.jpg`.
        extension: With its dot; replaces the extension: ".png" makes `a.jpg` into `a.png`.
    """
    stem, own = os.path.splitext(name)  # noqa: PTH122  a Path for each of 100,000 names is slow
    chosen = own if extension is None else extension
    whole = stem + suffix + chosen
    return whole if chosen.lower() in WRITABLE else whole + FALLBACKS[0]


def place_key(real_folder: str, name: str) -> str:
    """Returns what stands for a file when names are compared; `real_folder` holds no links any more."""
    return _folder_key(real_folder) + os.sep + collision_key(name)


@lru_cache(maxsize=4096)
def _folder_key(real_folder: str) -> str:
    return collision_key(real_folder).rstrip(os.sep)


class OutputFolder:
    """The output folder among the input folders.

    Args:
        root: The output folder; it need not exist.
        folders: The input folders.

    Raises:
        PlanError: The output is one of the input folders or lies inside one.
    """

    def __init__(self, root: Path, folders: Sequence[Path]) -> None:
        self.root = root
        self._real_root = real_path(root)
        self.root_key = _folder_key(self._real_root)
        self._inputs = {_identity(folder): folder for folder in folders}
        self._inside: dict[Path, Path | None] = {}
        self._real: dict[str, str] = {}
        self._exists: dict[str, bool] = {}

        within = self._input_around(self._real_root)
        if within is not None:
            where = "is" if _identity(root) == _identity(within) else "lies inside"
            raise PlanError(
                f"the output {display_path(root)} {where} the input folder {display_path(within)}; the "
                "outputs would be taken for inputs. Choose a folder beside it."
            )

    def key(self, path: Path) -> str:
        """Returns what stands for `path` when names are compared: folder without links, case folded."""
        folder, name = _split(path)
        return place_key(self._real_folder(folder), name)

    def output_key(self, output: Path) -> tuple[str, str, bool]:
        """Returns the key of `output`, that of its folder, and whether this folder exists.

        Raises:
            PlanError: Links lead the folder out of the output folder or into an input folder.
        """
        folder, name = _split(output)
        if folder not in self._exists:
            self._check_folder(output, self._real_folder(folder))
            self._exists[folder] = not is_remote(folder) and output.parent.is_dir()
        key = _folder_key(self._real[folder])
        return key + os.sep + collision_key(name), key, self._exists[folder]

    def _check_folder(self, output: Path, real: str) -> None:
        within = self._input_around(real)
        if within is not None:
            raise PlanError(
                f"the output {display_path(output)} would lie in the input folder {display_path(within)}; "
                "inputs are never written. Choose a folder beside it."
            )
        if not is_inside(real, self._real_root):
            raise PlanError(
                f"the output {display_path(output)} would leave the output folder {display_path(self.root)}: "
                f"a symbolic link on the way leads to {display_path(real)}. Remove the link or choose "
                "another folder."
            )

    def check_sources(self, sources: Iterable[Path]) -> None:
        """Refuses sources that symbolic links lead into the output folder.

        Raises:
            PlanError: They do.
        """
        for folder, example in {_split(source)[0]: source for source in sources}.items():
            if is_inside(self._real_folder(folder), self._real_root):
                raise PlanError(
                    f"the input {display_path(example)} lies in the output folder {display_path(self.root)}, "
                    "where a symbolic link leads; outputs would be taken for inputs. Remove the link or do "
                    "not follow links."
                )

    def _real_folder(self, folder: str) -> str:
        if folder not in self._real:
            self._real[folder] = real_path(folder)
        return self._real[folder]

    def _input_around(self, real: str) -> Path | None:
        """Returns the input folder that the folder `real` is or lies in.

        Folders are compared by what they are and not by name: a second mount or another letter case leads
        to the same one.
        """
        found = None
        passed = []
        start = place(real)
        for folder in (start, *start.parents):
            if folder in self._inside:
                found = self._inside[folder]
                break
            passed.append(folder)
            identity = _identity(folder)
            if identity in self._inputs:
                found = self._inputs[identity]
                break
        self._inside.update(dict.fromkeys(passed, found))
        return found


def _split(path: Path) -> tuple[str, str]:
    """Returns (folder, name); several times as fast as `parent` and `name`, and done for every file."""
    text = os.fspath(path)
    folder, separator, name = text.rpartition(os.sep)
    return folder or separator or os.curdir, name


def is_inside(real: str, root: str) -> bool:
    """Returns whether the path `real` is `root` or lies below it; both are without links."""
    return real == root or real.startswith(root.rstrip(os.sep) + os.sep)


def _identity(folder: Path) -> Hashable:
    if isinstance(folder, RemotePath):
        return str(folder)
    try:
        status = folder.stat()
    except OSError:
        return None  # it does not exist yet
    return status.st_dev, status.st_ino


def check_outputs(
    pairs: Iterable[Pair], places: OutputFolder, links: Collection[Path], companions: Collection[Path] = ()
) -> frozenset[str]:
    """Returns the comparison keys of names in the output folder that are taken: outputs, folders, sources.

    Args:
        pairs: What becomes what.
        places: Where the outputs lie.
        links: The sources that may be symbolic links.
        companions: Single files that are read beside the sources, those of tables among them.

    Raises:
        PlanError: Two sources have one output, an output is another one's folder, an output is an input, or
            links lead it elsewhere. The pairs are in the message.
    """
    pairs = list(pairs)
    sources = _source_keys([*(source for source, _ in pairs), *companions], places, [*links, *companions])
    outputs: dict[str, Pair] = {}
    folders: dict[str, Pair] = {}
    clashes: list[tuple[Pair, Pair]] = []
    for pair in pairs:
        output = pair[1]
        key, folder, exists = places.output_key(output)
        if key in sources:
            raise _is_a_source(output, sources[key])
        # unlike Path.is_symlink this raises nothing: a name may be too long to exist
        if exists and os.path.islink(output):  # noqa: PTH114
            target = places.key(output.resolve())
            if target in sources:
                raise _is_a_source(output, sources[target])
        if key in outputs:
            clashes.append((outputs[key], pair))
        outputs.setdefault(key, pair)
        while folder not in folders and len(folder) > len(places.root_key):
            folders[folder] = pair
            folder = folder.rpartition(os.sep)[0]
    clashes += [(outputs[key], folders[key]) for key in outputs.keys() & folders.keys()]
    if clashes:
        raise PlanError(_text(clashes))
    near = (key for key in sources if key.startswith(places.root_key + os.sep))
    return frozenset(near) | outputs.keys() | folders.keys()


def _source_keys(sources: Iterable[Path], places: OutputFolder, links: Collection[Path]) -> dict[str, Path]:
    keys = {places.key(source): source for source in sources}
    for source in filter(os.path.islink, links):  # what a link leads to is an input as well
        keys.setdefault(places.key(source.resolve()), source)
    return keys


def _is_a_source(output: Path, source: Path) -> PlanError:
    return PlanError(
        f"the output {display_path(output)} would replace the input {display_path(source)}; inputs are never "
        "written. Choose another output folder, or a suffix."
    )


def _text(clashes: list[tuple[Pair, Pair]]) -> str:
    lines = []
    for (one, one_output), (other, other_output) in clashes[:_PAIRS_SHOWN]:
        both = " and ".join(dict.fromkeys((display_path(one_output), display_path(other_output))))
        lines.append(f"  {display_path(one)} and {display_path(other)} -> {both}")
    if len(clashes) > _PAIRS_SHOWN:
        lines.append(f"  ... and {len(clashes) - _PAIRS_SHOWN} more pairs")
    pairs = "1 pair of inputs" if len(clashes) == 1 else f"{len(clashes)} pairs of inputs"
    return (
        f"{pairs} would meet in one output (letter case and Unicode form do not keep names apart on every "
        "file system):\n"
        + "\n".join(lines)
        + "\nNothing was started. Rename one of each, exclude it, or keep "
        "the extensions as they are."
    )
