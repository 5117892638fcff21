"""`img2img doctor`: what is installed, what the machine can do, and how to repair what is wrong."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import click

PACKAGES = (
    *("torch", "torchvision", "opencv-python", "opencv-python-headless", "albumentations", "numpy"),
    *("Pillow", "safetensors", "pydantic", "click", "rich"),
)
CV2_DISTRIBUTIONS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)


@dataclass(frozen=True)
class Diagnosis:
    """One line of the report: what was looked at, what was found, and the repair when it is not fine."""

    topic: str
    status: Literal["ok", "note", "problem"]
    text: str
    repair: str = ""


def versions() -> Iterator[Diagnosis]:
    """Yields the versions of Python and of the packages that matter."""
    from img2img import __version__

    yield Diagnosis("img2img", "ok", __version__)
    yield Diagnosis("python", "ok", f"{platform.python_version()} on {platform.platform()}")
    for name in PACKAGES:
        try:
            yield Diagnosis(name, "ok", metadata.version(name))
        except metadata.PackageNotFoundError:
            if not name.startswith("opencv"):
                yield Diagnosis(name, "problem", "not installed", f"pip install {name}")


def opencv() -> Iterator[Diagnosis]:
    """Yields which distributions share the `cv2` folder, which one's files lie in it, and whether it imports.

    albumentations requires the headless build, so installing both is normal; what breaks is removing one of
    them, because pip then deletes files that the other needs.
    """
    repair = f"{sys.executable} -m pip install --force-reinstall --no-deps opencv-python-headless"
    installed = [name for name in CV2_DISTRIBUTIONS if _version(name)]
    owner = next((name for name in installed if _owns_cv2(name)), None)
    check = subprocess.run(
        [sys.executable, "-c", "import cv2; print(cv2.__version__)"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if check.returncode:
        reason = (check.stderr.strip().splitlines() or ["no message"])[-1]
        yield Diagnosis("cv2", "problem", f"does not import: {reason}", repair)
        return
    yield Diagnosis("cv2", "ok", f"{check.stdout.strip()} from {owner or 'an unknown distribution'}")
    if len(installed) > 1:
        text = f"{' and '.join(installed)} share one cv2 folder; keep them at one version, remove neither"
        different = len({_version(name) for name in installed}) > 1
        yield Diagnosis("cv2 owners", "problem" if different else "note", text, repair if different else "")


def albumentations() -> Iterator[Diagnosis]:
    """Yields whose `albumentations` is installed: the name is shared by an AGPL package."""
    if _version("albumentationsx"):
        yield Diagnosis(
            "licence",
            "problem",
            "albumentationsx (AGPL-3.0 or commercial) owns the import name albumentations",
            f"{sys.executable} -m pip uninstall -y albumentationsx && "
            f"{sys.executable} -m pip install --force-reinstall --no-deps 'albumentations>=2.0.8,<2.1'",
        )
    elif version := _version("albumentations"):
        yield Diagnosis("licence", "ok", f"albumentations {version} is MIT")


def packages() -> Iterator[Diagnosis]:
    """Yields the methods and generators of other packages that cannot be imported."""
    from img2img.methods import methods
    from img2img.models import generators

    for registry in (methods, generators):
        list(registry)  # imports them
        for name, sentence in registry.broken.items():
            yield Diagnosis(f"{registry.kind} {name}", "problem", sentence)


def machine() -> Iterator[Diagnosis]:
    """Yields processor features, memory, threads and GPUs."""
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Diagnosis(
            "torch", "problem", f"does not import: {error}", "reinstall torch and torchvision together"
        )
        return
    try:
        import torchvision  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        yield Diagnosis(
            "torchvision",
            "problem",
            f"does not import beside torch {torch.__version__}: {error}",
            "reinstall torch and torchvision together: pip install --upgrade torch torchvision",
        )
    from img2img.inference.memory import free_memory

    yield Diagnosis("processor", "ok", f"{os.cpu_count()} cores, {torch.get_num_threads()} torch threads")
    yield Diagnosis("bf16 units", "ok", _bf16_units())
    yield Diagnosis(
        "memory",
        "ok",
        f"{free_memory() / 2**30:.1f} GiB may be used now (limits of the container included)",
    )
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            name = torch.cuda.get_device_name(index)
            yield Diagnosis(
                f"gpu {index}", "ok", f"{name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
            )
    elif torch.backends.mps.is_available():
        yield Diagnosis("gpu", "ok", "Apple MPS")
    else:
        yield Diagnosis("gpu", "note", "none; the CPU is used")


def _bf16_units() -> str:
    from img2img.inference.ceiling import cpu_bf16

    return {
        "amx": "AMX: bf16 is many times faster than fp32",
        "avx512": "AVX-512 BF16: bf16 is a few times faster than fp32",
        "none": "none: fp32 is used on the CPU",
    }[cpu_bf16()]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _owns_cv2(distribution: str) -> bool:
    """Tells whether the compiled cv2 module on disk is the one that `distribution` brought."""
    for file in metadata.files(distribution) or ():
        if file.parts[0] == "cv2" and file.suffix in (".so", ".pyd") and file.hash is not None:
            path = Path(str(file.locate()))
            if not path.exists():
                return False
            digest = hashlib.new(file.hash.mode, path.read_bytes()).digest()
            return base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == file.hash.value
    return False


@click.command()
@click.option("--bench", is_flag=True, help="Measure the machine's matrix-product ceiling (some seconds).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def doctor(bench: bool, as_json: bool) -> int:
    """Check this installation and machine; exit code 1 when something needs a repair."""
    findings = [f for check in (versions, opencv, albumentations, packages, machine) for f in check()]
    ceilings: dict[str, float] = {}
    if bench:
        from img2img.inference.ceiling import matrix_ceilings

        ceilings = matrix_ceilings()
    if as_json:
        click.echo(json.dumps({"findings": [asdict(f) for f in findings], "gflops": ceilings}, indent=1))
    else:
        _show(findings, ceilings)
    return int(any(f.status == "problem" for f in findings))


def _show(findings: list[Diagnosis], ceilings: dict[str, float]) -> None:
    from img2img.cli.render import print_facts

    facts = [(f.topic, f.text if f.status == "ok" else f"{f.status}: {f.text}") for f in findings]
    facts += [(f"ceiling {name}", f"{speed:.0f} GFLOP/s, matrix product") for name, speed in ceilings.items()]
    print_facts(facts)
    for finding in findings:
        if finding.repair:
            click.echo(f"\nTo repair {finding.topic}:\n  {finding.repair}")
