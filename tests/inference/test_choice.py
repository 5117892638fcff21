"""Each picture goes the way that is chosen for it, with its own companions, and comes back in its place."""

from __future__ import annotations

import numpy as np
import pytest

from img2img.errors import ProcessingError
from img2img.fields import Mask
from img2img.image import Image
from img2img.image.image import UNTOUCHED
from img2img.inference.choice import Chooser


class Adding:
    """A model that adds a number, and what it is given; it keeps how many pictures each call had."""

    def __init__(self, number: int, *names: str) -> None:
        self.number, self.calls = number, []
        self.conditions = {name: Mask() for name in names}

    def group_key(self, image: Image) -> object:
        return None if image.height > 10 else (self.number, image.height)

    def __call__(self, images: list[Image], **conditions: list[int]) -> list[Image]:
        self.calls.append(len(images))
        if any(image.pixels.min() == 99 for image in images):
            raise ProcessingError("99 is too much.")
        more = [sum(values) for values in zip(*conditions.values(), strict=True)] or [0] * len(images)
        return [
            i.replace(pixels=i.pixels + np.uint8(self.number + m)) for i, m in zip(images, more, strict=True)
        ]


def image(value: int, height: int = 4) -> Image:
    return Image(np.full((height, 5, 3), value, np.uint8))


def parity(image: Image) -> str:
    value = int(image.pixels.min())
    return UNTOUCHED if value == 0 else "both" if value % 2 else "one"


def test_ways_models_and_places():
    one, two = Adding(10), Adding(100)
    process = Chooser({"one": [one], "both": [one, two]}, parity)
    images = [image(value) for value in (1, 2, 0, 3, 4)]
    made = process(images)
    assert [int(each.pixels.min()) for each in made] == [111, 12, 0, 113, 14]
    assert [each.made_by for each in made] == ["both", "one", UNTOUCHED, "both", "one"]
    assert (one.calls, two.calls) == ([2, 2], [2])
    assert made[2].pixels is images[2].pixels and not images[2].made_by
    assert process([]) == []


def test_only_what_goes_one_way_shares_a_call():
    process = Chooser({"one": [Adding(10)], "both": [Adding(10), Adding(100)]}, parity)
    keys = [process.group_key(image(value)) for value in (0, 0, 1, 3, 2, 4)]
    assert keys[0] == keys[1] != keys[2] == keys[3] != keys[4] == keys[5]
    assert process.group_key(image(1, 20)) is process.group_key(image(2, 20)) is None
    assert process.group_key(image(1)) != process.group_key(image(1, 5))


def test_companions_go_with_their_pictures_to_the_first_model_that_takes_them():
    process = Chooser({"one": [Adding(10)], "both": [Adding(10, "mask"), Adding(100)]}, parity)
    assert set(process.conditions) == {"mask"}
    made = process([image(1), image(2), image(3)], mask=[1, 2, 3])
    assert [int(each.pixels.min()) for each in made] == [112, 12, 116]


def test_what_a_model_refuses_is_told():
    with pytest.raises(ProcessingError, match="too much"):
        Chooser({"both": [Adding(10)], "one": []}, parity)([image(99)])


def test_no_way_may_pass_for_a_copy():
    with pytest.raises(ValueError, match=UNTOUCHED):
        Chooser({UNTOUCHED: [Adding(10)]}, parity)
