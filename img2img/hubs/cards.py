"""The card of a model in a repository of Hugging Face: README.md, whose head the hub reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from img2img.config import dump_yaml, front_matter
from img2img.errors import ConfigError, display_path, display_text
from img2img.files import read_regular
from img2img.hubs.licences import on_the_hub, told
from img2img.hubs.record import UNSTATED

_LARGEST = 2**20  # bytes
_KEPT = ("purpose", "scale", "training_data", "author", "source", "architecture", "parameters", "sha256")
_SCORES = {"psnr_y": ("psnr", "PSNR on Y, dB"), "ssim_y": ("ssim", "SSIM on Y")}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#)[^)]*\)")
_COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)


@dataclass(frozen=True)
class OwnCard:
    """What the card beside a model file says.

    Attributes:
        facts: Its head.
        text: The rest, Markdown; empty where there is no card.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""

    @property
    def license(self) -> str | None:
        """The licence that it states, or None."""
        return stated_license(self.facts)


def stated_license(facts: Mapping[str, Any]) -> str | None:
    """Returns the licence among facts of a card or a model file; None where none is stated."""
    found = facts.get("license")
    if not isinstance(found, str) or found.strip().lower() in ("", UNSTATED):
        return None
    return " ".join(found.split())


def read_own_card(model: Path) -> OwnCard:
    """Returns the card NAME.md beside a model file.

    Raises:
        ConfigError: It cannot be read, or its head is no YAML.
    """
    path = model.with_suffix(".md")
    try:
        text = read_regular(path, _LARGEST).decode("utf-8-sig").replace("\r\n", "\n")
    except FileNotFoundError:
        return OwnCard()
    except OSError as error:
        raise ConfigError(f"{display_path(path)}: cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{display_path(path)}: is no text in UTF-8.") from error
    facts, text = front_matter(text, display_path(path))
    return OwnCard(facts if isinstance(facts, dict) else {}, text)


def hub_card(
    own: OwnCard,
    licence: str,
    facts: Mapping[str, Any],
    *,
    title: str,
    kinds: Iterable[str],
    reference: str,
    command: str,
) -> str:
    """Returns the card as the hub has it: YAML for its search between two lines of `---`, and Markdown.

    Args:
        own: The card beside the model.
        licence: SPDX identifier, or the name of another licence.
        facts: What is known of the file, for a table, in this order.
        title: The name of the model.
        kinds: Words for what it does, the most telling one first: ("super-resolution", "x4").
        reference: How it is named once it is there: `hf:owner/name`.
        command: How it is used then.
    """
    kept = {name: own.facts[name] for name in _KEPT if own.facts.get(name) not in (None, "", [])}
    tags = [*kinds, str(facts.get("architecture", "")), *_words(own.facts.get("tags"))]
    results = _results(own.facts.get("results"))
    head = {
        **on_the_hub(licence),
        "library_name": "img2img",
        "pipeline_tag": "image-to-image",
        "tags": list(dict.fromkeys(filter(None, map(_tag, ["img2img", *tags])))),
        **({"metrics": [kind for kind, _ in _SCORES.values()]} if results else {}),
        **({"model-index": [{"name": title, "results": results}]} if results else {}),
        **kept,
        **{name: facts[name] for name in ("architecture", "parameters", "sha256") if name in facts},
    }
    text = display_text(_LINK.sub(_without_link, _COMMENT.sub("", own.text))).strip()
    if not text.startswith("# "):
        text = f"# {_plain(title)}\n\n{text}".strip()
    rows = {**facts, "licence": told(licence)}
    table = "\n".join(f"| {_plain(name)} | {_plain(_value(value))} |" for name, value in rows.items())
    return (
        f"---\n{dump_yaml(head)}---\n{text}\n\n"
        f"## Use\n\n```sh\npip install 'img2img[hub]'\n{command}\n```\n\n"
        f'```python\nimport img2img\n\nmodel = img2img.load_model("{reference}")\n```\n\n'
        f"## Facts\n\n| | |\n|---|---|\n{table}\n"
    )


def _results(scores: object) -> list[dict[str, Any]]:
    """Returns the scores of a card in the form of the hub's `model-index`."""
    found = []
    for score in scores if isinstance(scores, list) else []:
        name = score.get("name") if isinstance(score, dict) else None
        if not isinstance(name, str):
            continue
        metrics = [
            {"name": title, "type": kind, "value": score[key]}
            for key, (kind, title) in _SCORES.items()
            if isinstance(score.get(key), int | float)
        ]
        if metrics:
            found.append(
                {
                    "task": {"type": "image-to-image", "name": "Image-to-Image"},
                    "dataset": {"name": name, "type": _tag(name)},
                    "metrics": metrics,
                }
            )
    return found


def _words(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _tag(text: str) -> str:
    return re.sub("[^a-z0-9.]+", "-", text.lower()).strip("-")


def _without_link(found: re.Match[str]) -> str:
    """Returns what stays of a link to a file that is not sent along: its words, of a picture nothing."""
    return "" if found[1] else found[2]


def _plain(text: str) -> str:
    """Returns a text for one cell or heading of Markdown."""
    return re.sub(r"([|<`*_\[\]])", r"\\\1", " ".join(display_path(text).split()))


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_value(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
