"""Model cards: what a model is for and how well it does, in NAME.md beside NAME.safetensors.

A card is Markdown for people. It begins with its key facts in YAML between two lines of `---`, as on model
hubs, and these are what img2img shows. `tools/model_card.py` writes the cards of the models that ship.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from img2img.config import front_matter, validate
from img2img.errors import ConfigError, display_path
from img2img.files import read_regular

_LARGEST = 2**20  # bytes


class CardScore(BaseModel):
    """How a model does on one test set, against the bicubic enlargement; PSNR in dB, both on Y.

    For a model that keeps the size that is its input.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="The set: Set5.")
    images: int = Field(ge=1, description="How many pictures it has.")
    psnr_y: float = Field(description="Mean PSNR of the model.")
    ssim_y: float = Field(description="Mean SSIM of the model.")
    bicubic_psnr_y: float = Field(description="Mean PSNR of the bicubic enlargement.")
    bicubic_ssim_y: float = Field(description="Mean SSIM of the bicubic enlargement.")


class Card(BaseModel):
    """The key facts of a model card; what else its front matter holds is left to other readers."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    purpose: str = Field(description="What it is for, in half a sentence.")
    scale: int = Field(ge=1, description="Output pixels per input pixel along one side.")
    license: str = Field(description="SPDX identifier of the licence of the weights.")
    training_data: str = Field(description="What it was trained on, with the licence of that.")
    results: tuple[CardScore, ...] = Field(default=(), description="Measured, the most usual set first.")

    @property
    def before(self) -> str:
        """What its results are compared with: "bicubic", or the "input" of a model that keeps the size."""
        return "input" if self.scale == 1 else "bicubic"

    def summary(self) -> str:
        """Returns one line for a list of models: "x4, clean photographs, Set5 31.95 dB (bicubic 28.43)"."""
        line = f"x{self.scale}, {self.purpose}"
        if self.results:
            first = self.results[0]
            line += f", {first.name} {first.psnr_y:.2f} dB ({self.before} {first.bicubic_psnr_y:.2f})"
        return line


def read_card(model: Path) -> Card | None:
    """Returns the key facts on the card of a model file, or None if it has no card.

    A Markdown file without front matter is no card.

    Raises:
        ConfigError: The front matter is no YAML, or facts are missing or wrong.
    """
    path = model.with_suffix(".md")
    try:
        text = read_regular(path, _LARGEST).decode("utf-8-sig").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError):
        return None
    where = display_path(path)
    facts, _ = front_matter(text, where)
    if facts is None:
        return None
    card, problems = validate(Card, facts, where)
    if card is None:
        raise ConfigError("\n".join(problems))
    return card
