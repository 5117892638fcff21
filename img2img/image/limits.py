"""How large an input may be, checked against its header before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass

from img2img.errors import ImageLimitError, ImageReadError

DEFAULT_MAX_PIXELS = 210_000_000
FREE_BYTES = 128 * 2**20


@dataclass(frozen=True)
class Limits:
    """What is refused without decoding it.

    Attributes:
        max_pixels: Width times height of one picture. The default lets 200-megapixel cameras pass.
        max_file_size: Bytes of the file.
        max_channels: Channels of one picture. Above four, a picture counts as so many pictures more.
        max_frames: Pictures in one file. Only the first is read, so this guards against absurd files.
        max_expansion: Bytes of decoded picture per byte of the file, above 128 MiB that every file may have;
            None sets no bound.
        advice: What to do about a picture that is too large, for messages; empty names `max_pixels`.
    """

    max_pixels: int = DEFAULT_MAX_PIXELS
    max_file_size: int = 2 * 1024**3
    max_channels: int = 64
    max_frames: int = 100_000
    max_expansion: int | None = 256
    advice: str = ""

    def check(
        self,
        width: int,
        height: int,
        channels: int = 1,
        frames: int = 1,
        sample_bytes: int = 1,
        file_size: int | None = None,
    ) -> None:
        """Compares the numbers of a header with the limits.

        Args:
            width: Of the picture.
            height: Of the picture.
            channels: Colour channels and alpha.
            frames: Pictures in the file.
            sample_bytes: Bytes of one decoded number.
            file_size: Bytes of the file, where there is one.

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
                f"{self.max_pixels:,} are read, {self.advice or 'raise `max_pixels` if you trust the file'}"
            )
        if channels > self.max_channels:
            raise ImageLimitError(
                f"the picture has {channels} channels; at most {self.max_channels} are read"
            )
        if frames > self.max_frames:
            raise ImageLimitError(f"the file holds {frames} pictures; at most {self.max_frames} are accepted")
        size = width * height * channels * sample_bytes
        if file_size is None or self.max_expansion is None:
            return
        if size > FREE_BYTES + self.max_expansion * file_size:
            advice = self.advice or f"raise `max_pixels` above {DEFAULT_MAX_PIXELS:,} if you trust it"
            raise ImageLimitError(
                f"the file has {file_size:,} bytes and would unpack to {size:,}, as files do that are made "
                f"to fill the memory; {advice}"
            )

    def seconds(self, file_size: int) -> float:
        """Returns how much processor time decoding a file of so many bytes may take, in seconds."""
        return 4.0 + 4.0 * file_size / 2**20

    def bytes(self, width: int, height: int, channels: int, sample_bytes: int, file_size: int) -> int:
        """Returns how much memory decoding a picture may take in all."""
        return FREE_BYTES + 6 * width * height * max(channels, 4) * sample_bytes + 8 * file_size
