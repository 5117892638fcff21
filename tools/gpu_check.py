"""Tries on a device what only a device can show: `python tools/gpu_check.py`.

Each check runs in a process of its own, since a CUDA error leaves a process useless, with a time of its own.
Whatever fails, hangs or dies, the others run. What this machine cannot do is skipped with the reason: nothing
passes that did not run. Progress goes to stderr and one JSON report to stdout; the exit code is 0 if no check
failed, else 1.

    python tools/gpu_check.py --report gpu.json --markdown docs/gpu.md
    python tools/gpu_check.py --tiny --device cpu
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from img2img.threads import wait_passively

CHECKS = Path(__file__).with_name("device_checks.py")
NETWORKS = (
    *("adain", "autoencoder", "compact", "cut_resnet", "dtn", "edsr", "edsr_paper", "flow_unet", "msrresnet"),
    *("nafnet", "partial_unet", "pix2pixhd", "plksr_tiny", "realplksr", "resnet9", "rrdbnet", "spade_resnet"),
    *("span", "srresnet", "stargan", "style_resnet", "unet256"),
)
BUDGETS = {  # seconds on a GPU, in the order of the run: what compiles comes last
    "machine": 30,
    "tests marked gpu": 90,
    **{f"inference {name}": 40 for name in NETWORKS},
    "out of memory": 40,
    "peak memory": 40,
    "one device named twice": 60,
    "two processes": 60,
    "resume": 60,
    **{f"training {name}, {way}": 40 for name in ("pix2pix", "cyclegan") for way in ("eager", "graphs")},
    "compiled inference": 60,
    **{f"training {name}, compile": 100 for name in ("pix2pix", "cyclegan")},
}
LIMIT = 345  # seconds on a GPU, so that all is done within six minutes
PATIENCE = 10  # how many times as long everything may take on a CPU, which others may use, too


@dataclass(frozen=True)
class Check:
    """One process to run.

    Attributes:
        name: For the report.
        command: Prints one JSON object with `status`, `reason` and `figures` as its last line.
        seconds: After which it has failed.
    """

    name: str
    command: Sequence[str]
    seconds: float


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--tiny", is_flag=True, help="Networks and pictures so small that a CPU can do it.")
@click.option(
    "--check", "names", multiple=True, type=click.Choice(list(BUDGETS)), help="Only this; repeatable."
)
@click.option("--limit", type=float, help="Seconds for everything. [default: 345, on a CPU ten times that]")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write the JSON here, too.")
@click.option("--markdown", type=click.Path(dir_okay=False, path_type=Path), help="Write a page for people.")
def main(
    device: str,
    tiny: bool,
    names: tuple[str, ...],
    limit: float | None,
    report: Path | None,
    markdown: Path | None,
) -> None:
    """Check inference and training on a GPU, and print a report as JSON."""
    wait_passively()  # as the command does
    options = ["--device", device, *(["--tiny"] if tiny else [])]
    patience = PATIENCE if device == "cpu" else 1
    checks = [
        Check(name, [sys.executable, str(CHECKS), name, *options], patience * seconds)
        for name, seconds in BUDGETS.items()
        if name in names or not names or name == "machine"
    ]
    found = run(checks, limit or patience * LIMIT)
    found = {"tool": "gpu_check", "device": device, "tiny": tiny, **found}
    text = json.dumps(found, indent=1)
    if report:
        report.write_text(text + "\n")
    if markdown:
        markdown.write_text(page(found))
    click.echo(text)
    raise SystemExit(1 if found["failed"] else 0)


def run(checks: Sequence[Check], limit: float) -> dict[str, Any]:
    """Runs `checks` one after the other, at most `limit` seconds together, and returns the report."""
    started = time.monotonic()
    results = []
    for number, check in enumerate(checks, 1):
        left = limit - (time.monotonic() - started)
        result = one(check, left) if left > 1 else _result("skipped", f"the {limit:.0f} s for all are over")
        results.append({"name": check.name, **result})
        line = f"[{number}/{len(checks)}] {check.name}: {result['status']} in {result['seconds']:.1f} s"
        click.echo(f"{line}; {result['reason']}" if result["reason"] else line, err=True)
    counts = {s: sum(r["status"] == s for r in results) for s in ("passed", "failed", "skipped")}
    machine = next((r["figures"] for r in results if r["name"] == "machine"), {})
    seconds = round(time.monotonic() - started, 1)
    return {"machine": machine, **counts, "seconds": seconds, "checks": results}


def one(check: Check, left: float) -> dict[str, Any]:
    """Returns what became of one check that may take `left` seconds at most."""
    started = time.monotonic()
    seconds = min(check.seconds, left)
    process = subprocess.Popen(
        check.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        out, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        result = _result("failed", f"it was not done after {seconds:.0f} s")
    else:
        result = _answer(out, process.returncode)
    finally:
        with suppress(ProcessLookupError):  # what it started goes with it
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    return {**result, "seconds": round(time.monotonic() - started, 1)}


def _answer(out: str, code: int) -> dict[str, Any]:
    """Returns what a process has printed as its last line, or how it died."""
    with suppress(ValueError, IndexError, KeyError, TypeError):
        answer = json.loads(out.strip().splitlines()[-1])
        return _result(answer["status"], answer["reason"], answer["figures"])
    if code < 0:
        return _result("failed", f"its process was ended by {signal.Signals(-code).name}")
    return _result("failed", f"its process ended with code {code} and without a result")


def _result(status: str, reason: str = "", figures: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"status": status, "reason": reason, "figures": dict(figures or {}), "seconds": 0.0}


def page(report: Mapping[str, Any]) -> str:
    """Returns the report as Markdown."""
    size = " --tiny" if report["tiny"] else ""
    lines = [
        "# Checked on a device",
        "",
        f"What `python tools/gpu_check.py{size} --device {report['device']}` found "
        f"in {report['seconds']:.0f} s: "
        f"{report['passed']} checks passed, {report['failed']} failed, {report['skipped']} were skipped.",
        "",
        "| machine | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in report["machine"].items()),
        "",
        "| check | | figures | s |",
        "|---|---|---|---:|",
    ]
    for check in report["checks"]:
        if check["name"] != "machine":
            words = [check["reason"]] if check["reason"] else []
            words += [f"{name} {_words(value)}" for name, value in check["figures"].items()]
            told = "; ".join(words).replace("|", "\\|")
            lines.append(f"| {check['name']} | {check['status']} | {told} | {check['seconds']:.1f} |")
    return "\n".join(lines) + "\n"


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(each)}" for name, each in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
