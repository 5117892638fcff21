"""Builds the Dockerfile without Docker, and tries what came out: `python tools/packaging/image.py`, as root.

buildah builds, without a daemon and a kernel's namespaces; the base is a system that debootstrap makes, for
machines that reach Debian's packages and no registry of images. What was built is run as its own user and as
one that it does not know, each with a folder of photographs at /data.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent.parent
BASE = "localhost/img2img-base"
PACKAGES = "python3-venv,ca-certificates"  # what a python:3-slim image has beside Debian
TRIALS = (
    ["--version"],
    ["demo", "-o", "demo"],
    ["process", "photos", "--op", "clahe", "-o", "out"],
)
UIDS = (1000, 4321)


@click.command()
@click.option("--target", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--base", help="An image instead of a system by debootstrap.")
@click.option("--suite", default="bookworm", show_default=True, help="Debian's release for the base.")
@click.option("--build-arg", "arguments", multiple=True, help="NAME=VALUE of an ARG of the Dockerfile.")
@click.option("--volume", "volumes", multiple=True, help="FROM:TO:ro for all steps: pip's settings, wheels.")
def main(
    target: str, base: str | None, suite: str, arguments: tuple[str, ...], volumes: tuple[str, ...]
) -> None:
    """Build an image and try it."""
    if base is None:
        base = f"{BASE}:{suite}"
        if not _buildah("images", "--quiet", "--filter", f"reference={base}"):
            make_base(base, suite)
    image = f"localhost/img2img:{target}"
    options = [f"--build-arg={each}" for each in (f"BASE={base}", *arguments)]
    options += [f"--volume={each}" for each in volumes]
    command = ["buildah", "bud", "--layers", "--isolation=chroot", f"--target={target}", f"--tag={image}"]
    subprocess.run([*command, *options, str(ROOT)], check=True)
    try_image(image)


def make_base(image: str, suite: str) -> None:
    """Makes a minimal Debian with Python, and an image of it."""
    with tempfile.TemporaryDirectory() as folder:
        system = Path(folder, "system")
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", suite, str(system)]
        subprocess.run(command, check=True)
        container = _buildah("from", "scratch")
        try:
            _buildah("copy", "--quiet", container, str(system), "/")
            _buildah("commit", "--quiet", container, image)
        finally:
            _buildah("rm", container)


def try_image(image: str) -> None:
    """Runs the command of an image as several users.

    Raises:
        click.ClickException: A command failed, or what it wrote is not there or belongs to somebody else.
    """
    config = json.loads(_buildah("inspect", "--type=image", image))["OCIv1"]["config"]
    if config["User"] != f"{UIDS[0]}:{UIDS[0]}":
        raise click.ClickException(f"the image runs as {config['User'] or 'root'}, not as {UIDS[0]}.")
    container = _buildah("from", image)
    try:
        for uid in UIDS:
            with tempfile.TemporaryDirectory() as folder:
                data = Path(folder, "data")
                shutil.copytree(ROOT / "datasets" / "sample", data / "photos")
                Path(folder).chmod(0o755)
                for path in (data, *data.rglob("*")):
                    os.chown(path, uid, uid)
                for words in TRIALS:
                    click.echo(f"+ as {uid}: img2img {' '.join(words)}")
                    options = ["--isolation=chroot", f"--user={uid}:{uid}", f"--volume={data}:/data"]
                    command = [*config["Entrypoint"], *words]
                    done = subprocess.run(["buildah", "run", *options, container, "--", *command])
                    if done.returncode:
                        raise click.ClickException(f"it ended with exit code {done.returncode}.")
                _check(data, uid)
    finally:
        _buildah("rm", container)


def _check(data: Path, uid: int) -> None:
    names = [{path.name for path in (data / folder).glob("*.jpg")} for folder in ("photos", "out")]
    if names[0] != names[1] or not (data / "demo" / "compare.png").is_file():
        raise click.ClickException(f"not everything was written in {data}.")
    for path in data.rglob("*"):
        if path.stat().st_uid != uid:
            raise click.ClickException(
                f"{path.relative_to(data)} belongs to {path.stat().st_uid}, not {uid}."
            )


def _buildah(*arguments: str) -> str:
    return subprocess.run(
        ["buildah", *arguments], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()


if __name__ == "__main__":
    main()
