"""Work to do: the rules by which inputs become outputs, single files, and the plan of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from img2img.batch.companions import Companion
from img2img.batch.outputs import output_name, place_key
from img2img.batch.shard import Shard
from img2img.errors import PlanError
from img2img.image import WRITABLE
from img2img.remote import real_path
from img2img.video import ANIMATIONS, AS_USUAL, CONTAINERS, VideoOptions, clip_name, is_video
from img2img.video.animation import is_animated

FORMATS = ", ".join(sorted(WRITABLE))
_MOVE = frozenset(ANIMATIONS) - WRITABLE  # names of animations and of no picture that is written


@dataclass(frozen=True)
class Rules:
    """How inputs become outputs.

    Attributes:
        suffix: Goes before the extension: "_x4" makes `a.jpg` into `a_x4.jpg`.
        extension: The format of all outputs, with or without its dot ("png"); None keeps that of each input.
            One of videos ("mkv") is that of videos alone, and one of pictures that of pictures.
        include: Patterns of which a file must match one (see `img2img.batch.inputs`); empty takes all.
        exclude: Patterns of files and folders to leave out; they win over `include`.
        recursive: Look into folders below the input folders.
        follow_symlinks: Look into folders that symbolic links inside input folders lead to. A link to a file
            is always followed, and so is one that is itself an input.
        hidden: Take files and folders whose names begin with a dot.
        shard: Do only this part of the files; the others are another machine's.
        video: How videos are read and stored; None passes them over. Which files are animations, where these
            are taken, is told by their first bytes.

    Raises:
        PlanError: The suffix or the extension cannot be part of a file name, or that format is not written.
    """

    suffix: str = ""
    extension: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    recursive: bool = True
    follow_symlinks: bool = False
    hidden: bool = False
    shard: Shard | None = None
    video: VideoOptions | None = AS_USUAL

    def __post_init__(self) -> None:
        if any(c in self.suffix for c in "/\\\0"):
            raise PlanError(f"the suffix {self.suffix!r} must be part of a name, without / or \\.")
        if self.extension is not None:
            extension = "." + self.extension.removeprefix(".").lower()
            if extension in _MOVE and not (self.video and self.video.animated):
                raise PlanError(f"{extension} files are animations; `animated` allows them.")
            if extension not in WRITABLE and extension not in CONTAINERS and extension not in _MOVE:
                raise PlanError(f"{extension} is not a format that img2img writes; these are: {FORMATS}.")
            object.__setattr__(self, "extension", extension)

    def takes_clip(self, path: Path) -> bool:
        """Returns whether a file is taken for a video: by its name, of an animation by its content."""
        if self.video is None:
            return False
        return is_video(path.name) or (self.video.animated and is_animated(path))

    def extension_of(self, name: str, clip: bool) -> str | None:
        """Returns the chosen format of the result of the file called `name`; None keeps its own.

        Args:
            name: A bare file name.
            clip: Whether it is a video or an animation.
        """
        of_clips = self.extension in CONTAINERS or self.extension in _MOVE
        both = self.extension in ANIMATIONS and not is_video(name)  # an animation, or a picture
        return self.extension if of_clips == clip or (both and clip) else None

    def output_name(self, name: str, suffix: str, clip: bool) -> str:
        """Returns what the result of the file called `name` is called; arguments as of `extension_of`."""
        return (clip_name if clip else output_name)(name, suffix, self.extension_of(name, clip))


DEFAULT_RULES = Rules()


@dataclass(frozen=True, slots=True)
class Item:
    """One file to do.

    Attributes:
        source: The file to read.
        output: Where its result goes, unless only the result shows that this format cannot hold it.
        relative: The place of the source in the tree under the output, before renaming, written with "/".
        companions: What it is processed with beside itself, by name.
        is_video: Whether it is one, or an animation that is taken for one.
    """

    source: Path
    output: Path
    relative: str
    companions: Mapping[str, Companion] = field(default_factory=dict)
    is_video: bool = False


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something among the inputs that cannot be done; `run` reports it as failed."""

    source: Path
    reason: str


@dataclass(frozen=True)
class Plan:
    """What `run` will do.

    Attributes:
        items: The files of this shard, in natural order.
        root: The output folder, or None when the output is a single file.
        unreadable: Folders that could not be looked into, names that are too long, files without a companion.
        reason: Why nothing matched, or None when something did (an empty shard of a full plan is no reason).
        total: Number of files of all shards together.
        shard: The part of the work that this is, or None for the whole.
        taken: Comparison keys of all names in the output folder that this plan knows, of all shards: outputs,
            their folders, and sources that lie there.
        notes: Sentences about what was passed over and may have been meant.
        conditions: The names of the companions that every item has.
        shared: Companions that all items have in common: they are worth keeping.
        video: How videos are read and stored.
    """

    items: tuple[Item, ...]
    root: Path | None
    unreadable: tuple[Unreadable, ...] = ()
    reason: str | None = None
    total: int = 0
    shard: Shard | None = None
    taken: frozenset[str] = field(default=frozenset(), repr=False)
    notes: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    shared: frozenset[Path] = frozenset()
    video: VideoOptions = AS_USUAL

    def is_free(self, path: Path) -> bool:
        """Returns whether `path`, in the output folder, is neither output, folder nor source in any shard."""
        return self.key(path) not in self.taken

    @staticmethod
    def key(path: Path) -> str:
        """Returns what stands for `path` in `taken`."""
        return place_key(real_path(path.parent), path.name)
