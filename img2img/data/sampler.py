"""Which sample comes when: a pure function of the seed and of one running number.

Sample position p of a run belongs to epoch p // n and takes place p % n in the order of that epoch. A batch
may straddle two epochs, so nothing is ever dropped, and a run resumes from p alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

# What a stream of random numbers is for: two uses never share one.
ORDER, WINDOW, PARTNER, AUGMENT, MASK, DEGRADE, NUMBERS = range(7)


def random_stream(*numbers: int) -> np.random.Generator:
    """Returns a generator that depends on `numbers` alone, which are at least 0."""
    # With their count: without it, a seed sequence takes (1, 0) and (1, 0, 0) for the same.
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((len(numbers), *numbers))))


def order(seed: int, epoch: int, length: int) -> NDArray[np.int64]:
    """Returns the order of the samples in one epoch: a permutation of 0 to `length` - 1."""
    return random_stream(ORDER, seed, epoch).permutation(length)


class Positions(Sampler[list[tuple[int, int]]]):
    """The endless batches of one rank, as lists of (epoch, index).

    Each global batch is `world * batch_size` positions in a row, of which rank r takes the slots from
    `r * batch_size` on: the ranks never overlap, and together they see what one process with the global
    batch would see.

    Args:
        length: Samples in an epoch.
        seed: Of the order.
        batch_size: Samples in a batch of this rank.
        start: Samples that all ranks together have seen already.
        rank: Of this process, from 0.
        world: Number of processes.
    """

    def __init__(
        self, length: int, seed: int, batch_size: int, start: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        if min(length, batch_size, world) < 1 or start < 0 or not 0 <= rank < world:
            raise ValueError(
                f"there are no batches of {batch_size} from {start} on of {length} samples for rank {rank} "
                f"of {world}"
            )
        self.length, self.seed, self.batch_size = length, seed, batch_size
        self.start, self.rank, self.world = start, rank, world

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, places = -1, np.empty(0, np.int64)
        first = self.start + self.rank * self.batch_size
        while True:
            batch = []
            for position in range(first, first + self.batch_size):
                if position // self.length != epoch:
                    epoch = position // self.length
                    places = order(self.seed, epoch, self.length)
                batch.append((epoch, int(places[position % self.length])))
            yield batch
            first += self.world * self.batch_size
