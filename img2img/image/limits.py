"""How large an input may be, checked against its header before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass

from img2img.errors import ImageLimitError, ImageReadError


@dataclass(frozen=True)
class Limits:
    """What is refused without decoding it.

    Attributes:
        max_pixels: Width times height of one picture. The default lets 200-megapixel cameras pass.
        max_file_size: Bytes of the file.
        max_channels: Channels of one picture. Above four, a picture counts as so many pictures more.
        max_frames: Pictures in one file. Only the first is read, so this guards against absurd files.
    """

    max_pixels: int = 210_000_000
    max_file_size: int = 2 * 1024**3
    max_channels: int = 64
    max_frames: int = 100_000

    def check(self, width: int, height: int, channels: int = 1, frames: int = 1) -> None:
        """Compares the numbers of a header with the limits.

        Raises:
            ImageReadError: A side is empty.
            ImageLimitError: The picture is too large.
        """
        if width < 1 or height < 1:
            raise ImageReadError(f"the picture is {width} x {height} pixels: it has no content")
        if width * height * max(channels, 4) > 4 * self.max_pixels:
            many = f" in {channels} channels" if channels > 4 else ""
            raise ImageLimitError(
                f"the picture is {width} x {height} = {width * height:,} pixels{many}; at most "
                f"{self.max_pixels:,} are read, raise --max-pixels if you trust the file"
            )
        if channels > self.max_channels:
            raise ImageLimitError(
                f"the picture has {channels} channels; at most {self.max_channels} are read"
            )
        if frames > self.max_frames:
            raise ImageLimitError(f"the file holds {frames} pictures; at most {self.max_frames} are accepted")
