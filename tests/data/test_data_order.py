"""The order of samples: a permutation, a pure function, resumable, without overlap between processes."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from img2img.data.records import held_out_share
from img2img.data.sampler import Positions, order, random_stream


def taken(count: int, **options: int) -> list[list[tuple[int, int]]]:
    return list(islice(Positions(**options), count))


def test_an_epoch_is_a_permutation_and_each_epoch_another() -> None:
    epochs = [order(3, epoch, 50) for epoch in range(4)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert np.array_equal(order(3, 2, 50), epochs[2])
    assert not np.array_equal(order(4, 2, 50), epochs[2])


def test_batches_straddle_epochs_and_drop_nothing() -> None:
    flat = [place for batch in taken(10, length=7, seed=1, batch_size=3) for place in batch]
    for epoch in range(4):
        assert sorted(index for e, index in flat if e == epoch) == list(range(7))
    assert [epoch for epoch, _ in flat] == sorted(epoch for epoch, _ in flat)


@pytest.mark.parametrize("start", [0, 4, 6, 21, 22])
def test_start_continues_where_a_run_stopped(start: int) -> None:
    whole = [place for batch in taken(30, length=7, seed=1, batch_size=2) for place in batch]
    rest = [place for batch in taken(5, length=7, seed=1, batch_size=2, start=start) for place in batch]
    assert rest == whole[start : start + 10]


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_together_are_one_process(world: int) -> None:
    one = taken(8, length=11, seed=2, batch_size=2 * world)
    ranks = [taken(8, length=11, seed=2, batch_size=2, rank=rank, world=world) for rank in range(world)]
    for step in range(8):
        assert [place for rank in ranks for place in rank[step]] == one[step]


def test_more_processes_go_on_where_fewer_stopped() -> None:
    whole = [place for batch in taken(12, length=5, seed=0, batch_size=2) for place in batch]
    ranks = [taken(2, length=5, seed=0, batch_size=2, start=6, rank=rank, world=2) for rank in range(2)]
    assert [p for step in range(2) for rank in ranks for p in rank[step]] == whole[6:14]


def test_streams_of_random_numbers_are_told_apart_by_every_number() -> None:
    draws = {
        int(random_stream(*numbers).integers(2**62)) for numbers in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0))
    }
    assert len(draws) == 4
    assert random_stream(5, 6).random() == random_stream(5, 6).random()


def test_nonsense_is_refused() -> None:
    for wrong in ({"length": 0}, {"batch_size": 0}, {"rank": 2}, {"start": -1}):
        with pytest.raises(ValueError, match="there are no batches"):
            Positions(**{"length": 3, "seed": 0, "batch_size": 1, **wrong})


def test_a_split_does_not_move_when_files_are_added() -> None:
    names = [f"picture {i}" for i in range(400)]
    before = dict(zip(names[:300], held_out_share(names[:300], 0.2, 0), strict=True))
    after = dict(zip(names, held_out_share(names, 0.2, 0), strict=True))
    assert all(after[name] == before[name] for name in before)
    assert 55 < sum(after.values()) < 105
    assert held_out_share(names, 0.2, 1) != held_out_share(names, 0.2, 0)


@pytest.mark.parametrize("fraction", [0.001, 0.5, 0.999])
@pytest.mark.parametrize("count", [2, 3, 10])
def test_a_split_leaves_both_parts_something(count: int, fraction: float) -> None:
    held_out = held_out_share([f"{i}.png" for i in range(count)], fraction, 0)
    assert 1 <= sum(held_out) <= count - 1


def test_nothing_is_held_out_where_nothing_is_asked_for_or_possible() -> None:
    assert held_out_share(["a", "b"], 0.0, 0) == [False, False]
    assert sum(held_out_share(["a"], 0.5, 0)) <= 1
