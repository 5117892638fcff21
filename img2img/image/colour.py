"""What the numbers in a picture mean: colour spaces that files name by numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ColourSpace:
    """A colour space as PNG's cICP and AVIF's nclx name it, or PNG's gAMA and cHRM describe it.

    Attributes:
        primaries: ColourPrimaries of ITU-T H.273; 1 is sRGB's, 9 BT.2020's, 12 Display P3's, 2 unspecified.
        transfer: TransferCharacteristics of the same; 13 is sRGB's, 16 PQ, 18 HLG, 2 unspecified.
        gamma: PNG's gAMA as a number (0.45455 for a display of 2.2), where the file has no code points.
        chromaticities: PNG's cHRM: white x, y, red x, y, green x, y, blue x, y.
    """

    primaries: int = 2
    transfer: int = 2
    gamma: float | None = None
    chromaticities: tuple[float, float, float, float, float, float, float, float] | None = None
