"""Plan and run in one call, for people who write Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from img2img.batch.claim import claim
from img2img.batch.plan import Rules, plan
from img2img.batch.report import Result, Summary
from img2img.batch.run import Processor, run
from img2img.errors import PlanError

DEFAULT_RULES = Rules()


def convert_folder(
    inputs: str | PathLike[str] | Sequence[str | PathLike[str]],
    output: str | PathLike[str],
    process: Processor,
    *,
    rules: Rules = DEFAULT_RULES,
    on_result: Callable[[Result], None] | None = None,
    **options: Any,
) -> Summary:
    """Converts files and folders: the main job in one call.

    Args:
        inputs: One file or folder, or several.
        output: A folder, or a file name for a single input file.
        process: A `Translator`, a chain of operations, or anything that keeps the `Processor` protocol.
        rules: Which files are taken and how outputs are named.
        on_result: Called with each result as it comes.
        options: Those of `run`: settings, limits, options, jobs, batch_size, memory, overwrite, ...
            Pass `settings` that identify the processor, so that a second call knows what is up to date.

    Returns:
        Counts, times and failures. Files that failed are in it; they raise nothing.

    Raises:
        PlanError: Inputs and output do not fit together, nothing matched, the output cannot be written, or
            another run is at work there; nothing was written.
        UsageError: An option makes no sense.
    """
    paths = [inputs] if isinstance(inputs, str | PathLike) else list(inputs)
    work = plan([Path(path) for path in paths], Path(output), rules)
    if work.reason:
        raise PlanError(work.reason)
    summary = Summary()
    with claim(work):
        for result in run(work, process, **options):
            summary.add(result)
            if on_result is not None:
                on_result(result)
    summary.finish()
    return summary
