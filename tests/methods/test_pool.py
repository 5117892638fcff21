from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from img2img.methods.pool import ImagePool


def numbered(*numbers: float) -> Tensor:
    """Images of 3 x 4 x 5 that hold their number."""
    return torch.tensor(numbers, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 3, 4, 5).clone()


def numbers(images: Tensor) -> list[int]:
    values = images.flatten(1)
    assert torch.equal(values, values[:, :1].expand_as(values))  # no image is a mixture
    return [int(value) for value in values[:, 0]]


def original(size: int, count: int, seed: int) -> list[int]:
    """What the rule of the paper returns for the images 0, 1, 2, ..., with a list and Python's own dice."""
    dice, stored, returned = random.Random(seed), [], []
    for number in range(count):
        if len(stored) < size:
            stored.append(number)
            returned.append(number)
        elif dice.random() > 0.5:
            place = dice.randrange(size)
            returned.append(stored[place])
            stored[place] = number
        else:
            returned.append(number)
    return returned


def test_until_it_is_full_every_image_comes_back() -> None:
    pool = ImagePool(5)
    assert int(pool.count) == 0
    assert numbers(pool(numbered(0, 1, 2))) == [0, 1, 2]
    assert int(pool.count) == 3
    assert numbers(pool(numbered(3, 4))) == [3, 4]
    assert pool.images is not None and numbers(pool.images) == [0, 1, 2, 3, 4]


def test_a_stored_image_comes_back_only_once() -> None:
    torch.manual_seed(0)
    pool = ImagePool(4)
    returned = numbers(pool(numbered(*range(400))))
    assert pool.images is not None
    old = [number for place, number in enumerate(returned) if number != place]
    assert len(old) == len(set(old))
    assert all(number < place for place, number in enumerate(returned) if number != place)
    assert not set(numbers(pool.images)) & set(old)


def test_images_are_as_old_as_those_of_the_original() -> None:
    torch.manual_seed(0)
    count, size = 1000, 10
    pool = ImagePool(size)
    ours = [place - number for place, number in enumerate(numbers(pool(numbered(*range(count)))))]
    theirs = [place - number for place, number in enumerate(original(size, count, 1))]

    def shares(ages: list[int]) -> Tensor:
        counts = torch.histc(torch.tensor(ages[size:], dtype=torch.float32), 8, -0.5, 79.5)
        zero = sum(age == 0 for age in ages[size:])
        return torch.cat((torch.tensor([float(zero)]), counts)) / (count - size)

    assert shares(ours)[0] == pytest.approx(0.5, abs=0.04)
    assert torch.allclose(shares(ours), shares(theirs), atol=0.05)


def test_a_batch_is_taken_image_by_image() -> None:
    one, other = ImagePool(3), ImagePool(3)
    images = numbered(*range(20))
    torch.manual_seed(5)
    together = one(images)
    torch.manual_seed(5)
    singly = torch.cat([other(image[None]) for image in images])
    assert torch.equal(together, singly)


def test_it_goes_on_exactly_from_its_state_and_that_of_the_generator() -> None:
    torch.manual_seed(0)
    pool = ImagePool(3)
    pool(numbered(*range(7)))
    state, dice = {key: value.clone() for key, value in pool.state_dict().items()}, torch.get_rng_state()
    expected = numbers(pool(numbered(*range(7, 30))))
    fresh = ImagePool(3)
    fresh.load_state_dict(state)
    torch.set_rng_state(dice)
    assert numbers(fresh(numbered(*range(7, 30)))) == expected
    # a half full one, and an unused one over a used one
    half = ImagePool(3)
    half(numbered(0, 1))
    fresh.load_state_dict(half.state_dict())
    assert int(fresh.count) == 2
    fresh.load_state_dict(ImagePool(3).state_dict())
    assert fresh.images is None and int(fresh.count) == 0


def test_another_size_of_pool_is_refused() -> None:
    pool = ImagePool(3)
    pool(numbered(0))
    with pytest.raises(RuntimeError, match="size mismatch"):
        ImagePool(4).load_state_dict(pool.state_dict())


def test_what_is_not_finite_is_never_stored() -> None:
    torch.manual_seed(0)
    pool = ImagePool(2)
    for place in range(20):
        bad = numbered(place)
        bad[0, 1, 2, 3] = (torch.nan, torch.inf)[place % 2]
        torch.testing.assert_close(pool(bad), bad, equal_nan=True)
        pool(numbered(place))
    assert pool.images is not None and bool(pool.images.isfinite().all())


def test_other_sizes_pass_and_no_gradient_does() -> None:
    torch.manual_seed(0)
    pool = ImagePool(2)
    pool(numbered(0, 1))
    other = torch.rand(1, 3, 4, 6)
    for _ in range(10):
        assert torch.equal(pool(other), other)
    assert pool.images is not None and numbers(pool.images) == [0, 1]
    assert not pool(numbered(2).requires_grad_()).requires_grad


def test_none_at_all() -> None:
    pool, images = ImagePool(0), numbered(1, 2)
    assert torch.equal(pool(images), images) and pool.images is None and not pool.state_dict()


def test_half_precision_is_kept() -> None:
    torch.manual_seed(0)
    pool = ImagePool(1)
    images = torch.rand(9, 1, 2, 2).bfloat16()
    returned = pool(images)
    assert returned.dtype == torch.bfloat16 and pool.images is not None
    assert pool.images.dtype == torch.float32
    assert all(any(torch.equal(image, new) for new in images) for image in returned)
