"""The run: decode threads, one processor thread, encode threads; one Result a file."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict
from os import PathLike
from types import MappingProxyType
from typing import Any

from img2img.batch.claim import claim
from img2img.batch.clips import Batches, Clips
from img2img.batch.companions import Place, fields_of
from img2img.batch.flow import Flow
from img2img.batch.journal import UNCHANGED, Journal
from img2img.batch.manifest import Manifest
from img2img.batch.plan import plan
from img2img.batch.report import Result, Summary
from img2img.batch.stages import Inspect, Processor, Stages
from img2img.batch.work import DEFAULT_RULES, Item, Plan, Rules
from img2img.conditions import require_conditions
from img2img.errors import ImageError, PlanError, UsageError
from img2img.files import sweep_parts
from img2img.image import EncodeOptions, Limits
from img2img.image.codec import DEFAULT_LIMITS, DEFAULT_OPTIONS
from img2img.remote import RemotePath, place
from img2img.video.encoding import check as check_codec

_MAX_DEFAULT_JOBS = 16
NO_COMPANIONS: Mapping[str, Place] = MappingProxyType({})


def run(
    plan: Plan,
    process: Processor,
    *,
    settings: Mapping[str, Any] | None = None,
    limits: Limits = DEFAULT_LIMITS,
    options: EncodeOptions = DEFAULT_OPTIONS,
    jobs: int | None = None,
    batch_size: int | None = None,
    memory: int = 512 * 2**20,
    max_failures: int | None = None,
    overwrite: bool = False,
    checksum: bool = False,
    inspect: Inspect | None = None,
    stop: threading.Event | None = None,
    show: Callable[[str], None] = lambda text: None,
    manifest: Manifest | None = None,
) -> Generator[Result, None, None]:
    """Does what `plan` lists, and yields one Result a file as they come, in no particular order.

    Nothing that goes wrong with one file stops the others. What is up to date from an earlier run is skipped:
    the same source, settings and encoding, and the output as it was left. An output that img2img did not
    write, or that somebody has edited, is never replaced without `overwrite`. Threads start with the first
    result asked for, and closing the iterator ends them after what they are doing.

    Args:
        plan: From `img2img.batch.plan`.
        process: Turns pictures into pictures.
        settings: What identifies the model and its options, JSON-able; when it changes, files are done again.
            Where `process` chooses, `choices` in it holds by the `made_by` of its results what concerns these
            alone: when that changes, those of the others stay.
        limits: What is refused before it is decoded.
        options: How results are stored; they count as part of the settings.
        jobs: Threads that decode and encode; None takes one for each CPU that may be used, at most 16,
            and 16 where they wait for a store.
        batch_size: Largest number of images with one group key in a call. None takes up to 8 as long as they
            are small together: large pictures gain nothing from company.
        memory: Bytes of pictures (sources and results) in flight at a time. A picture that is larger still
            passes, alone. What codec and processor need for their work comes on top.
        max_failures: Start nothing new after that many failures; what is in flight is finished.
        overwrite: Also replace outputs that are not ours. What is up to date is skipped nevertheless.
        checksum: Tell whether a source has changed by SHA-256 rather than by size and time.
        inspect: Called with each picture that was decoded, in several threads; what it returns is the
            result's `found`.
        stop: When it is set, nothing new is started. The processor finishes the group it has, the encoders
            what was processed; files that are left over have no result.
        show: Called with how far a video is.
        manifest: What earlier runs left, of a worker that does a part of the work; it is closed in the end.
            None reads it, and removes what killed runs left in the folders of the outputs.

    Yields:
        Results; first those of what the plan calls unreadable, last the failures (`lost`) of files that
        were done and whose results somebody has removed while this ran.

    Raises:
        UsageError: A number makes no sense, `process` needs other companions than the plan has, or there is
            no way to store videos as it is asked for.
    """
    numbers = {"jobs": jobs, "batch_size": batch_size, "memory": memory, "max_failures": max_failures}
    for name, value in numbers.items():
        if value is not None and value < 1:
            raise UsageError(f"{name} must be 1 or more, not {value}.")
    require_conditions(getattr(process, "conditions", ()), plan.conditions, "`companions`")
    if plan.video.codec is not None and any(item.is_video for item in plan.items):
        check_codec(plan.video)
    if jobs is None:
        waits = any(isinstance(path, RemotePath) for path in (plan.root, *(i.source for i in plan.items[:1])))
        jobs = _MAX_DEFAULT_JOBS if waits else min(usable_cpus(), _MAX_DEFAULT_JOBS)
    group_bytes = memory if batch_size else memory // 32
    batch_size = batch_size or 8
    stop = threading.Event() if stop is None else stop
    flow = Flow(
        plan.items,
        memory=memory,
        window=max(2 * jobs, 4 * batch_size),
        batch_size=batch_size,
        group_bytes=group_bytes,
        max_failures=max_failures,
        stop=stop,
    )
    of_videos = _of_videos(settings, plan, options)
    journal = Journal(plan, _identity(settings, options), overwrite, checksum, of_videos, manifest)
    batches = Batches(batch_size, group_bytes, memory)
    clips = Clips(plan, journal, limits, options, batches, flow.is_stopped, show)
    stages = Stages(flow, plan, process, journal, limits, options, inspect, clips)
    return _results(plan, flow, stages, jobs, sweeps=manifest is None)


def foresee(
    plan: Plan,
    *,
    settings: Mapping[str, Any] | None = None,
    options: EncodeOptions = DEFAULT_OPTIONS,
    overwrite: bool = False,
    checksum: bool = False,
) -> Iterator[tuple[Item, str, bool]]:
    """Tells what `run` would do, by what earlier runs left; arguments as there. Nothing is written.

    Yields:
        Each item with the reason why it would be left out, empty where it would be done, and whether it
        would count as failed.
    """
    journal = Journal(
        plan, _identity(settings, options), overwrite, checksum, _of_videos(settings, plan, options)
    )
    for item in plan.items:
        try:
            path = journal.stored(item)
            verdict = journal.check(item, journal.fingerprint(item), path)
        except (ImageError, OSError) as error:
            yield item, error.reason if isinstance(error, ImageError) else str(error.strerror or error), True
        else:
            yield item, "" if verdict == "go" else UNCHANGED, False


def _identity(settings: Mapping[str, Any] | None, options: EncodeOptions) -> dict[str, Any]:
    """Returns everything that results depend on besides the source."""
    return {"settings": dict(settings or {}), "encode": asdict(options)}


def _of_videos(settings: Mapping[str, Any] | None, plan: Plan, options: EncodeOptions) -> dict[str, Any]:
    """Returns everything that those of videos depend on besides the source."""
    left_out = {name: True for name in ("strip_metadata", "strip_gps") if getattr(options, name)}
    return {"settings": dict(settings or {}), "video": plan.video.to_json() | left_out}


def _results(
    plan: Plan, flow: Flow, stages: Stages, jobs: int, sweeps: bool
) -> Generator[Result, None, None]:
    for unreadable in plan.unreadable:
        flow.emit(Result(unreadable.source, None, "failed", unreadable.reason))
    if sweeps:
        sweep_outputs(plan)
    threads = flow.start([*[stages.codec_loop] * jobs, stages.processor_loop])
    try:
        yield from flow.results()
        yield from stages.lost()
    finally:
        flow.cancel()
        for thread in threads:
            thread.join()
        stages.close()


def sweep_outputs(plan: Plan) -> None:
    """Removes what killed runs left in the folders of the outputs."""
    for folder in {item.output.parent for item in plan.items}:
        sweep_parts(folder)


def usable_cpus() -> int:
    """Returns how many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def convert_folder(
    inputs: str | PathLike[str] | Sequence[str | PathLike[str]],
    output: str | PathLike[str],
    process: Processor,
    *,
    rules: Rules = DEFAULT_RULES,
    companions: Mapping[str, Place] = NO_COMPANIONS,
    on_result: Callable[[Result], None] | None = None,
    **options: Any,
) -> Summary:
    """Converts files and folders: the main job in one call.

    Args:
        inputs: One file or folder, or several.
        output: A folder, or a file name for a single input file.
        process: A `Translator`, a chain of operations, or anything that keeps the `Processor` protocol.
        rules: Which files are taken and how outputs are named.
        companions: What each file is processed with beside itself, for a processor with `conditions`: by
            their names a folder with files of the same relative names, one file for all, or numbers for all.
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
    planned = plan(list(map(place, paths)), place(output), rules, companions, fields_of(process))
    if planned.reason:
        raise PlanError(planned.reason)
    summary = Summary()
    with claim(planned):
        for result in run(planned, process, **options):
            summary.add(result)
            if on_result is not None:
                on_result(result)
    summary.finish()
    return summary
