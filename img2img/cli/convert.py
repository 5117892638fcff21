"""What every folder command does: plan, run, show, report, exit code."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import cache
from inspect import unwrap
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click

from img2img.cli.options import BatchOptions
from img2img.cli.render import (
    ProgressBar,
    give_up,
    quiet_libraries,
    say,
    say_error,
    say_warning,
    show_log,
    with_options,
)
from img2img.cli.signals import stop_on_signal
from img2img.errors import ImageReadError, PlanError, ProcessingError, UsageError, display_path
from img2img.remote import is_remote, place

if TYPE_CHECKING:
    from img2img.batch import Companion, Place, Plan, Processor, Result, Summary
    from img2img.fields import Fields
    from img2img.image import Image

MAX_SHOWN = 20  # of failures and warnings at the end; the report has them all
NO_COMPANIONS: Mapping[str, Any] = MappingProxyType({})
ONCE: Mapping[str, Mapping[str, Any]] = MappingProxyType({"": {}})
Load = Callable[[], "tuple[Processor, dict[str, Any]]"]
Start = Callable[..., "Generator[Result, None, None]"]


def convert(
    inputs: Sequence[Path],
    options: BatchOptions,
    load: Load,
    on_result: Callable[[Result], None] = lambda result: None,
    companions: Mapping[str, Place] = NO_COMPANIONS,
    estimate: bool = False,
    planned: Plan | None = None,
    variants: Mapping[str, Mapping[str, Companion]] = ONCE,
    show_within: Callable[[Callable[[str], None]], None] = lambda show: None,
    videos: bool = True,
) -> int:
    """Runs a processor over `inputs` and tells the user about it.

    Args:
        inputs: Files and folders.
        options: The shared options.
        load: Returns the processor and the settings that identify it; called when there is work to do.
        on_result: Called with each result as it comes.
        companions: What each file is processed with beside itself, by name.
        planned: What is done, where that is more than what `inputs`, `options` and `companions` say.
        variants: What is made of each file, see `img2img.batch.plan`.
        estimate: Whether results hold what `img2img.image.estimates` finds; with a report they always do.
        show_within: Called with what shows, beside the bar, how far the picture at work is.
        videos: Whether videos are taken beside pictures.

    Returns:
        The exit code.
    """
    show_log(options.verbose)
    if not options.output:
        raise UsageError("-o is empty; name a folder or a file for the results, or . for this folder.")
    if options.workers is not None and options.cluster is None:
        raise UsageError("`workers` are those of a cluster; `cluster` ray starts one on this machine.")
    from img2img.batch import check_report, fields_of, plan

    load = cache(load)
    fields = (
        fields_of(load()[0]) if companions and planned is None else {}
    )  # the model knows what these have to be
    if options.output == "-":
        if variants is not ONCE:
            raise UsageError("-o - writes one picture; several of one need a folder for the results.")
        if options.cluster is not None:
            raise UsageError("-o - writes one picture; a cluster shares out many.")
        return _to_stdout(inputs, options, load, companions, fields)
    if options.report is not None:
        check_report(options.report)
    rules = options.rules() if videos else replace(options.rules(), video=None)
    if not videos:
        _refuse_videos(inputs)
    work = planned or plan(inputs, place(options.output), rules, companions, fields, variants)
    for path in work.shared:  # would be the failure of every single file
        _require_picture(path, options)
    if work.reason:
        say_error(work.reason)
        return 4
    if not options.quiet:
        for note in work.notes:
            say(note, "yellow")
    if options.dry_run:
        return _show(work, options, load)
    if options.cluster is not None and work.root is None:
        raise UsageError(
            "-o names one picture; a cluster shares out many, and needs a folder for the results."
        )
    return _run(work, options, load, on_result, estimate, show_within)


def _refuse_videos(inputs: Sequence[Path]) -> None:
    from img2img.video import is_video

    named = [display_path(path) for path in inputs if is_video(path.name) and path.is_file()]
    if named:
        raise UsageError(f"this works on pictures alone, and not on videos: {', '.join(named[:3])}.")


def _require_picture(path: Path, options: BatchOptions) -> None:
    from img2img.image import read_image

    try:
        read_image(path, options.limits())
    except ImageReadError as error:
        raise UsageError(
            f"{error}, and every file is to be processed with it. Tables are called .csv, .tsv or .jsonl."
        ) from None


def _show(work: Plan, options: BatchOptions, load: Load) -> int:
    """Prints what would be done, without what is done already."""
    from img2img.batch import foresee

    settings = None
    if any(
        is_remote(item.output) or os.path.lexists(item.output) for item in work.items
    ):  # else no model needs to be opened
        _, settings = load()
    count = unchanged = 0
    for item, reason, failed in foresee(
        work,
        settings=settings,
        options=options.encoding(),
        overwrite=options.overwrite,
        checksum=options.checksum,
    ):
        if failed:
            say_warning(f"{display_path(item.source)}: {with_options(reason)}.")
        elif reason:
            unchanged += 1
        else:
            count += 1
            click.echo(f"{display_path(item.source)} -> {display_path(item.output)}")
    for each in work.unreadable:
        say_warning(f"{display_path(each.source)}: {each.reason}")
    share = f" of {work.total}, shard {work.shard}" if work.shard else ""
    known = f"{unchanged} more would be up to date; " if unchanged else ""
    say(f"{_files(count)}{share}; {known}nothing was written.")
    return 0


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def _run(
    work: Plan,
    options: BatchOptions,
    load: Load,
    on_result: Callable[[Result], None],
    estimate: bool,
    show_within: Callable[[Callable[[str], None]], None],
) -> int:
    from img2img.batch import Report, Summary, claim, exit_code
    from img2img.image.estimates import estimates

    summary = Summary()
    total = len(work.items) + len(work.unreadable)
    not_read: dict[str, list[Path]] = {}
    with ExitStack() as stack:
        stack.enter_context(claim(work))  # what cannot be written is found before a model is opened
        report = stack.enter_context(Report(options.report)) if options.report else None
        given = {
            "limits": options.limits(),
            "options": options.encoding(),
            "batch_size": options.batch,
            "overwrite": options.overwrite,
            "checksum": options.checksum,
            "inspect": estimates if estimate or report is not None else None,
        }
        if options.jobs is not None:
            given["jobs"] = options.jobs
        start = (_on_this_machine if options.cluster is None else _on_cluster)(work, options, load, stack)
        stop = stack.enter_context(stop_on_signal())
        progress = stack.enter_context(
            ProgressBar(total, "images", "none" if options.quiet else options.progress)
        )
        show_within(progress.within)
        show = progress.within
        results = start(given, max_failures=options.max_failures, stop=stop.event, show=show)
        stack.enter_context(closing(results))  # whatever happens here, its threads end in good order
        for result in map(_with_options, results):
            summary.add(result)
            if report is not None and (problem := report.add(result)):
                say_error(f"{problem} The work goes on without it.")
            on_result(result)
            _note_kind(result, not_read)
            _say_result(result, summary, options)
            if not result.lost:
                progress.advance(failed=result.status == "failed")
    summary.finish()
    _say_summary(summary, options, total, not_read)
    written = not options.as_json or _print_summary(summary)
    if stop.exit_code is not None:
        return stop.exit_code
    code = exit_code(summary, matched=True, max_failures=options.max_failures)
    return code or int(not written or (report is not None and report.problem is not None))


def _on_this_machine(work: Plan, options: BatchOptions, load: Load, stack: ExitStack) -> Start:
    """Opens the model, and returns what starts the work."""
    from img2img.batch import run

    processor, settings = load()
    stack.enter_context(quiet_libraries())
    return lambda given, **more: run(work, processor, settings=settings, **given, **more)


def _on_cluster(work: Plan, options: BatchOptions, load: Load, stack: ExitStack) -> Start:
    """Connects to the cluster, and returns what starts the work there."""
    from img2img.batch.cluster import ClusterJob, share_out
    from img2img.batch.ray_workers import ray_workers

    assert options.cluster is not None
    if not work.items:  # there is nothing to start workers for
        return _on_this_machine(work, options, load, stack)
    stack.enter_context(quiet_libraries())
    crew = stack.enter_context(ray_workers(options.cluster, options.workers))
    if not options.quiet:
        each = "a thread" if crew.threads == 1 else f"{crew.threads} threads"
        several = f"{crew.size} workers of {each} each share out"
        who = f"One worker of {each} does" if crew.size == 1 else several
        say(f"{who} {_files(len(work.items))}.")

    def start(given: Mapping[str, Any], show: object, **more: Any) -> Generator[Result, None, None]:
        job = ClusterJob.of(work, unwrap(load), crew.threads, given)  # a cache cannot be sent
        shown = say if not options.quiet else lambda text: None
        more |= {"say": shown, "waits": crew.waits}
        return share_out(work, lambda number: crew.hire(number, job), crew.size, **more)

    return start


def _with_options(result: Result) -> Result:
    sentences = tuple(map(with_options, result.warnings))
    return replace(result, reason=with_options(result.reason), warnings=sentences)


def _note_kind(result: Result, not_read: dict[str, list[Path]]) -> None:
    """Files the source of `result` under its kind, where it failed because that kind is not read."""
    from img2img.image.kinds import NOT_READ

    kind = NOT_READ.get(result.source.suffix.lower()) if result.status == "failed" else None
    if kind is not None and "not read" in result.reason:
        not_read.setdefault(kind, []).append(result.source)


def _print_summary(summary: Summary) -> bool:
    """Prints the summary as JSON on stdout, and returns whether everybody who wanted it has got it."""
    try:
        click.echo(json.dumps({**summary.to_json(), "peak_memory": _peak_memory()}))
    except BrokenPipeError:  # nobody wants it any more
        give_up(sys.stdout)
    except OSError as error:
        give_up(sys.stdout)
        say_error(f"the summary cannot be written to stdout: {error.strerror or error}.")
        return False
    return True


def _say_result(result: Result, summary: Summary, options: BatchOptions) -> None:
    """Shows failures as they come (the first ones), and with --verbose every file."""
    source = display_path(result.source)
    if result.status == "failed":
        if options.verbose or summary.failed <= MAX_SHOWN:
            say(f"failed  {source}: {result.reason}", "red")
    elif options.verbose:
        target = "" if result.output is None else f" -> {display_path(result.output)}"
        say(f"{result.status:7} {source}{target}{result.made_by and f' ({display_path(result.made_by)})'}")
    if options.verbose:
        for warning in result.warnings:
            say(f"        {warning}", "yellow")


def _say_summary(
    summary: Summary, options: BatchOptions, total: int, not_read: dict[str, list[Path]]
) -> None:
    from img2img.image.discovery import sentences_not_read

    if options.quiet:
        return
    for sentence in sentences_not_read(not_read):
        say(sentence, "yellow")
    hidden = summary.failed - MAX_SHOWN
    if hidden > 0 and not options.verbose:
        say(f"... and {hidden} more failures; --report FILE lists them all.", "red")
    if summary.warnings and not options.verbose:
        files = len({source for source, _ in summary.warnings})
        say(f"{_files(files)} came with a warning; --verbose or --report FILE shows them.", "yellow")
    left = total - summary.done - summary.skipped - summary.failed
    say(summary.to_text() + (f"; {left} not started" if left else "") + ".")
    peak = _peak_memory()
    if options.verbose and peak is not None:
        say(f"Peak memory {peak / 2**30:.2f} GiB.")


def _peak_memory() -> int | None:
    """Returns the most bytes that this process has held at once, or None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _to_stdout(
    inputs: Sequence[Path],
    options: BatchOptions,
    load: Load,
    companions: Mapping[str, Place],
    fields: Fields,
) -> int:
    """Writes one result to stdout, in the format of --ext or of the input."""
    from img2img.batch import Companions
    from img2img.batch.inputs import existing
    from img2img.batch.outputs import FALLBACKS, output_name
    from img2img.conditions import require_conditions
    from img2img.image import decode, encode, fit_reason, is_copy, of_copy, prepare, read_image
    from img2img.image.files import read_bytes
    from img2img.image.image import UNTOUCHED

    inputs = existing(list(inputs))
    if len(inputs) != 1 or inputs[0].is_dir():
        raise UsageError("-o - takes one input file; several, or a folder, need a folder for the results.")
    _require_still(inputs[0], options)
    if options.report is not None or options.as_json:
        raise UsageError("-o - writes the picture alone, without --report and --json.")
    extension = Path(output_name(inputs[0].name, extension=options.ext)).suffix
    if options.dry_run:
        say(f"{display_path(inputs[0])} -> stdout, as {extension}; nothing was written.")
        return 0
    if sys.stdout.isatty():
        raise UsageError("stdout is a terminal; send the picture into a file or a pipe: -o - > OUT.png")
    rules = options.rules()
    company = Companions(companions, rules.follow_symlinks, rules.hidden, fields)
    for note in company.notes:
        say(note, "yellow")
    try:
        found = company.of(inputs[0], inputs[0].name)
        source = read_bytes(inputs[0], options.limits())
        image = decode(source, options.limits(), inputs[0])
        conditions = {
            name: [read_image(each, options.limits()) if isinstance(each, Path) else each]
            for name, each in found.items()
        }
    except ImageReadError as error:
        say_error(str(error))
        return 1
    except PlanError as error:  # the failure of this file, as in a folder
        say_error(f"{display_path(inputs[0])}: {error}.")
        return 1
    processor, _ = load()
    require_conditions(getattr(processor, "conditions", ()), conditions, "`companions`")
    process: Callable[..., list[Image]] = processor
    try:
        (result,) = process([image], **conditions)
    except ProcessingError as error:
        say_error(f"{display_path(inputs[0])}: {error}")
        return 1
    extension = next((e for e in (extension, *FALLBACKS) if fit_reason(result, e) is None), extension)
    if result.made_by == UNTOUCHED and is_copy(source, extension, options.encoding()):
        data, warnings = source, of_copy(result.warnings)
    else:
        result = prepare(result, extension, options.encoding())
        data = encode(result, extension, options.encoding())
        warnings = tuple(dict.fromkeys((*image.warnings, *result.warnings)))
    for warning in warnings:
        say_warning(warning)
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        give_up(sys.stdout)
        return 1
    except OSError as error:
        give_up(sys.stdout)
        say_error(f"the picture cannot be written to stdout: {error.strerror or error}.")
        return 1
    return 0


def _require_still(path: Path, options: BatchOptions) -> None:
    """Refuses what would be more than the one picture that stdout gets.

    An animation without --animated is a picture as everywhere, with a sentence on what is left out.
    """
    from img2img.video import is_video
    from img2img.video.animation import is_animated

    name = display_path(path)
    if is_video(path.name):
        raise UsageError(f"-o - writes one picture, and {name} is a video: name a file for the result.")
    if options.animated and is_animated(path):
        raise UsageError(
            f"-o - writes one picture, and {name} is an animation: name a file for the result, or leave out "
            "--animated to get its first picture."
        )
