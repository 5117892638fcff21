"""The picture in docs/ui.md: the page with a photograph that was enlarged, as a browser shows it."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import PIL.Image

ROOT = Path(__file__).resolve().parent.parent
PHOTO = ROOT / "datasets" / "sample" / "kitten-on-lawn.jpg"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@click.command()
@click.option("--output", type=click.Path(path_type=Path), default=ROOT / "docs" / "ui.jpg")
@click.option("--browser", metavar="FILE", help="Chromium. [default: the one in PATH]")
@click.option("--width", default=320, show_default=True, help="Of the photograph before it is enlarged.")
def main(output: Path, browser: str | None, width: int) -> None:
    """Takes it with Playwright for Python."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        photo = Path(folder) / PHOTO.with_suffix(".png").name
        with PIL.Image.open(PHOTO) as whole:
            whole.resize((width, round(whole.height * width / whole.width))).save(photo)
        command = [sys.executable, "-m", "img2img", "ui", "--root", folder, "--port", "0", "--no-open"]
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            assert server.stderr is not None
            found = re.search(r"http://127\.0\.0\.1:\d+", server.stderr.readline())
            if found is None:
                raise click.ClickException(server.stderr.read())
            chromium = playwright.chromium.launch(
                executable_path=browser or shutil.which("chromium"), args=ARGUMENTS
            )
            page = chromium.new_page(viewport={"width": 1280, "height": 860})
            page.set_default_timeout(600_000)
            page.goto(found[0])
            page.set_input_files("#picture_file input[type=file]", photo)
            note = "document.querySelector('#note textarea')?.value.startsWith('{} x ')"
            page.wait_for_function(note.format(width))
            page.click("#convert")
            page.wait_for_function(note.format(4 * width))
            page.wait_for_timeout(3000)  # the slider comes to rest
            page.screenshot(path=output, type="jpeg", quality=85)
            chromium.close()
        finally:
            server.send_signal(signal.SIGINT)
            server.wait()
    click.echo(f"{output}: {output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
