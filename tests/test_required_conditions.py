"""What a model takes beside a picture is asked for in one wording, in Python and on the command line."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from img2img.conditions import require_conditions
from img2img.errors import ConfigError
from img2img.fields import Fields, Mask, Vector

FIELDS: Fields = {"mask": Mask(), "look": Vector(size=2, names=("hat", "age"))}
BOTH = "this takes more than a picture: mask (a mask), look (2 numbers); not given: "


@pytest.mark.parametrize(
    ("taken", "given", "option", "said"),
    [
        ((), ["mask"], "", "this takes a picture alone, and no mask."),
        (FIELDS, ["maks", "look"], "", "there is no condition 'maks'; did you mean 'mask'?"),
        (FIELDS, ["look"], "", f"{BOTH}mask."),
        (FIELDS, ["look"], "--with", f"{BOTH}mask. Give --with mask=DIR."),
        (
            FIELDS,
            [],
            "--with",
            f"{BOTH}mask, look. Give --with mask=DIR --with look=NUMBERS. look is 2 numbers: hat, age; or a "
            "table with a column for each (CSV, JSON lines).",
        ),
        (("mask",), [], "", "this takes more than a picture: mask; not given: mask."),
    ],
)
def test_what_is_missing_or_unknown_is_a_sentence(
    taken: Fields | Collection[str], given: list[str], option: str, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        require_conditions(taken, given, option)
    assert str(caught.value) == said
    require_conditions(taken, list(taken), option)
