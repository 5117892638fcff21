"""What is known of a downloaded model, in a card beside it: NAME.md, which `model list` and `info` show."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

from img2img.config import dump_yaml, front_matter
from img2img.errors import ConfigError, display_path, display_text
from img2img.files import read_regular, write_bytes
from img2img.hubs.openmodeldb import ModelEntry

UNSTATED = "not stated"
_LARGEST = 2**20  # bytes
_LONGEST = 120  # characters in a line that says what a model is for


def recorded(model: Path) -> dict[str, Any]:
    """Returns the facts at the head of the card beside a model file; nothing where there is none."""
    path = model.with_suffix(".md")
    try:
        text = read_regular(path, _LARGEST).decode("utf-8-sig").replace("\r\n", "\n")
        facts, _ = front_matter(text, display_path(path))
    except (OSError, UnicodeDecodeError, ConfigError):
        return {}
    return facts if isinstance(facts, dict) else {}


def record(model: Path, entry: ModelEntry, sha256: str) -> bool:
    """Writes the card of a downloaded model, unless one is there that somebody else wrote.

    Returns:
        Whether it says now what `entry` says.

    Raises:
        OSError: It cannot be written.
    """
    path = model.with_suffix(".md")
    if path.exists() and recorded(model).get("source") != entry.page:
        return False
    facts = {
        "purpose": purpose(entry),
        "scale": entry.scale,
        "license": entry.license or UNSTATED,
        "training_data": _line(entry.dataset) or UNSTATED,
        "name": entry.name,
        "author": list(entry.author),
        "architecture": entry.architecture,
        "tags": list(entry.tags),
        "date": entry.date,
        "source": entry.page,
        "sha256": sha256,
        "downloaded": time.strftime("%Y-%m-%d"),
    }
    text = display_text(entry.description.replace("\r\n", "\n")).strip()
    write_bytes(f"---\n{dump_yaml(facts)}---\n# {display_path(_line(entry.name))}\n\n{text}\n".encode(), path)
    return True


def purpose(entry: ModelEntry) -> str:
    """Returns in one short line what a model is for: its first tags, as descriptions begin with anything."""
    return (
        _line(", ".join(tag.replace("-", " ") for tag in entry.tags))
        or _line(entry.description)
        or entry.name
    )


def _line(text: str) -> str:
    """Returns the beginning of a text as one line without what Markdown makes of it."""
    plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(text.split()))
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 4].rstrip()} ..."
