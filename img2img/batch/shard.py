"""One folder over several machines: which of them does which file."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

from img2img.errors import UsageError


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`, counted from 1: 1/4, 2/4, 3/4 and 4/4 are the whole.

    Raises:
        UsageError: The index is not between 1 and the count.
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise UsageError(
                f"there is no shard {self.index}/{self.count}; shards are counted from 1: "
                f"1/{max(self.count, 1)} is the first."
            )

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Returns the shard that `text` ("2/8") names.

        Raises:
            UsageError: It does not name one.
        """
        match = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text)
        if match is None:
            raise UsageError(f"a shard is written I/N, counted from 1, like 2/8; {text!r} is not.")
        return cls(int(match[1]), int(match[2]))

    def holds(self, relative: str) -> bool:
        """Returns whether the file at `relative` (as in the plan) belongs to this shard.

        It depends on the name alone (not on its Unicode normal form), so all machines agree without talking.
        """
        name = unicodedata.normalize("NFC", relative).encode("utf-8", "surrogatepass")
        number = int.from_bytes(blake2b(name, digest_size=8).digest(), "big")
        return number % self.count == self.index - 1


def without_srun(environ: Mapping[str, str]) -> bool:
    """Returns whether this is a SLURM batch script itself: one process, although SLURM_NTASKS is set."""
    return "SLURM_JOB_ID" in environ and "SLURM_STEP_ID" not in environ


def shard_from_environment(environ: Mapping[str, str] | None = None) -> Shard | None:
    """Returns the shard that torchrun or SLURM gave this process, or None when neither started it.

    torchrun sets RANK and WORLD_SIZE, srun SLURM_PROCID and SLURM_NTASKS. A SLURM batch script that does
    not use srun is one process for the whole job, although SLURM_NTASKS is set: it gets None, so that no
    file is left out silently.

    Raises:
        UsageError: The variables hold no whole numbers, or an impossible pair of them.
    """
    environ = os.environ if environ is None else environ
    if without_srun(environ):
        pairs = [("RANK", "WORLD_SIZE")]
    else:
        pairs = [
            ("RANK", "WORLD_SIZE"),
            ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
            ("SLURM_PROCID", "SLURM_NTASKS"),
        ]
    for rank, size in pairs:
        if rank in environ and size in environ:
            try:
                index, count = int(environ[rank]), int(environ[size])
            except ValueError:
                raise UsageError(
                    f"{rank}={environ[rank]!r} and {size}={environ[size]!r} in the environment must be whole "
                    "numbers."
                ) from None
            return Shard(index + 1, count) if count > 1 else None
    return None
