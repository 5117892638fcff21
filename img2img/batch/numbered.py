"""The frames of a video as numbered pictures: each complete or absent, and a rerun goes on behind them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from img2img.batch.fingerprint import Fingerprint
from img2img.batch.journal import Journal
from img2img.batch.work import Item
from img2img.errors import ImageWriteError, PlanError, display_path
from img2img.files import write_bytes
from img2img.image import EncodeOptions, Image, encode, fit_reason, prepare
from img2img.image.colour import ColourSpace
from img2img.image.image import Pixels
from img2img.video import VideoOptions
from img2img.video.clip import Clip
from img2img.video.sequence import numbered, place

_HDR = (16, 18)  # transfer characteristics of H.273: PQ, HLG
_WIDE = (9, 11, 12)  # its primaries of BT.2020, and of displays for cinemas and computers


@dataclass(frozen=True)
class _Kind:
    """What there is to say of pictures; each has its own size and depth."""

    encoder: str
    width: int = 0
    height: int = 0
    warnings: tuple[str, ...] = ()


class NumberedPictures:
    """Where the frames of one video go; as `img2img.video.segments.SegmentFolder`, without encoded parts.

    Args:
        item: Its output is a pattern.
        source: What the video is.
        journal: Stores, and knows what earlier runs stored.
        options: How pictures are stored.
        state: A file that says, when all are there, how many.
        continues: Whether what earlier runs stored is left out; else only when it is all.

    Attributes:
        frames: How many are there.
        held: Numbers, in the source, of frames that stand for broken ones.
        encoding: What pictures are; None until that is known.
        warnings: Sentences about what could not be kept.
    """

    def __init__(
        self,
        item: Item,
        source: Fingerprint,
        journal: Journal,
        options: EncodeOptions,
        state: Path,
        continues: bool,
    ) -> None:
        self._item, self._source, self._journal, self._options = item, source, journal, options
        self._state = state
        self.held: list[int] = []
        self.encoding: _Kind | None = None
        self.warnings: dict[str, None] = {}
        self.frames = 0
        self._space: ColourSpace | None = None  # where it is not that of pictures which say nothing
        whole = self._whole()
        while (self._is_there(self.frames + 1)) and (continues or whole is not None):
            self.frames += 1
        self.is_whole = whole is not None and self.frames >= whole
        if whole is not None and not self.is_whole and not continues:
            self.frames = 0

    def begin(self, clip: Clip, options: VideoOptions, extension: str, image: Image) -> None:
        """Says what the pictures are like, before the first; see `SegmentFolder.begin`."""
        reason = fit_reason(image, extension)
        if reason is not None:
            raise ImageWriteError(f"{reason}; choose another format for the pictures")
        colours = clip.colours
        if clip.read is None and (colours.transfer in _HDR or colours.primaries in _WIDE):
            self._space = ColourSpace(colours.primaries, colours.transfer)
        self.encoding = _Kind(extension.removeprefix("."), image.width, image.height)

    def add(self, image: Image, pts: int, duration: int, held: int | None) -> None:
        """Stores the next frame; see `SegmentFolder.add`.

        Raises:
            ImageWriteError: It could not be stored, or another file stands in its place.
        """
        path = self._path(self.frames + 1)
        extension = path.suffix.lower()
        if self._space is not None and image.icc is None:
            image = image.replace(space=self._space)
        kept = prepare(image, extension, self._options)
        self.warnings.update(dict.fromkeys(kept.warnings))
        data = encode(kept, extension, self._options)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._journal.store(data, self._of(path), self._source, path, image.made_by)
        self.frames += 1
        if held is not None:
            self.held.append(held)

    def finish(self) -> None:
        """Notes that all frames are there, and removes those of an earlier result that had more."""
        if self.encoding is None:  # an earlier run had stored all, and could not say so
            self.encoding = _Kind(self._item.output.suffix.lower().removeprefix("."))
        self._end_here()
        self._state.parent.mkdir(parents=True, exist_ok=True)
        facts = {"frames": self.frames, "source": self._source.to_json()}
        with suppress(OSError):  # then a rerun decodes once more
            write_bytes(json.dumps(facts).encode(), self._state)

    def _end_here(self) -> None:
        """Removes the pictures behind the last frame that an earlier run made of this video.

        Whoever reads the sequence would take them for frames of this one. What others put there, or changed,
        stays, and a sentence names it. (None of them is an input: the plan refuses that.)
        """
        removed: list[Path] = []
        left: list[Path] = []
        for path in self._behind():
            try:
                own = self._journal.withdraw(self._item.source, path)
            except OSError:
                own = False
            (removed if own else left).append(path)
        if removed:
            self._warn(f"{_named(removed)} of an earlier, longer result {_was(removed)} removed")
        if left:
            self._warn(
                f"{_named(left)} with higher numbers than the last frame {_was(left)} not touched, as this "
                "program did not make them of this video, or somebody changed them; whoever reads the "
                "sequence takes them for its end"
            )

    def _behind(self) -> list[Path]:
        """Returns the files with numbers that are higher than that of the last frame."""
        try:
            return [path for number, path in numbered(self._item.output) if number > self.frames]
        except PlanError:
            return []

    def _warn(self, sentence: str) -> None:
        self.warnings[sentence] = None

    def close(self) -> None:
        """Nothing is left open."""

    def state(self) -> dict[str, Pixels]:
        """Returns nothing: where results depend on those before, all are made anew."""
        return {}

    def keep_state(self, arrays: Mapping[str, Pixels]) -> None:
        """See `state`."""

    def _path(self, number: int) -> Path:
        return place(self._item.output, number)

    def _of(self, path: Path) -> Item:
        return replace(self._item, output=path)

    def _is_there(self, number: int) -> bool:
        path = self._path(number)
        try:
            return self._journal.check(self._of(path), self._source, path) != "go"
        except ImageWriteError:
            return False

    def _whole(self) -> int | None:
        """Returns how many frames the source has, if an earlier run came to its end."""
        try:
            facts = json.loads(self._state.read_bytes())
            same = self._source.matches(Fingerprint.from_json(facts["source"]))
            return int(facts["frames"]) if same else None
        except (OSError, KeyError, TypeError, ValueError):
            return None


def _named(paths: Sequence[Path]) -> str:
    """Returns how many pictures there are, with the first and the last."""
    names = [display_path(path.name) for path in paths]
    if len(names) == 1:
        return f"the picture {names[0]}"
    return f"{len(names)} pictures ({names[0]} to {names[-1]})"


def _was(paths: Sequence[Path]) -> str:
    return "was" if len(paths) == 1 else "were"
