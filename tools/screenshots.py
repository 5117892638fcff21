"""Takes the pictures of docs/report.md in a headless Chromium.

    python tools/screenshots.py runs runs/facades runs/shoes
    python tools/screenshots.py pictures pictures.html

`runs` makes the page of two runs itself; `pictures` takes one of folders that `img2img report` wrote.
Playwright and Chromium have to be installed (`pip install playwright`, `apt-get install chromium`).
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import click

from img2img.report import read_run, write_report

DOCS = Path(__file__).resolve().parent.parent / "docs" / "report"
SIZE = {"width": 1280, "height": 860}
MOST_BYTES = 300_000
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
PLACE = click.Path(exists=True, path_type=Path)


@contextmanager
def opened(page: Path, scheme: Literal["light", "dark"]) -> Iterator[Any]:
    """Yields the page in a browser; what it says or asks for ends the program."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise click.ClickException("there is no chromium.")
    with sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=chromium, args=FLAGS)
        tab = browser.new_page(viewport=SIZE, color_scheme=scheme)
        tab.on("console", lambda message: sys.exit(f"the page says: {message.text}"))
        tab.on("pageerror", lambda error: sys.exit(f"the page fails: {error}"))
        tab.set_default_timeout(300_000)  # machines may have other work
        tab.goto(page.resolve().as_uri())
        yield tab
        browser.close()


def shoot(tab: Any, name: str) -> None:
    """Writes what is visible as docs/report/NAME.jpg, as good as its size allows."""
    DOCS.mkdir(parents=True, exist_ok=True)
    path = DOCS / f"{name}.jpg"
    tab.wait_for_timeout(300)
    for quality in range(92, 40, -6):
        tab.screenshot(path=path, type="jpeg", quality=quality)
        if path.stat().st_size < MOST_BYTES:
            break
    click.echo(f"{path}: {path.stat().st_size:,} bytes")


def scroll_to(tab: Any, title: str) -> None:
    """Brings a section to the top, below what stays there."""
    tab.evaluate(
        "title => { const head = [...document.querySelectorAll('h2')].find(h => h.textContent === title);"
        " scrollTo(0, head.getBoundingClientRect().top + scrollY - 60); }",
        title,
    )


@click.group()
def main() -> None:
    """Take the pictures of docs/report.md."""


@main.command()
@click.argument("places", nargs=-1, required=True, type=PLACE)
def runs(places: tuple[Path, ...]) -> None:
    """Curves, samples and configuration of runs."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        title = " and ".join(place.name for place in places)
        write_report(page, [read_run(place, place.name) for place in places], title=title)
        with opened(page, "light") as tab:
            tab.locator("#smooth").fill("0.7")
            shoot(tab, "curves")
            scroll_to(tab, "Samples through time")
            tab.locator("#time").fill("6")
            shoot(tab, "samples")
        with opened(page, "dark") as tab:
            tab.locator("#log").check()
            scroll_to(tab, "Curves")
            shoot(tab, "dark")
            scroll_to(tab, "Configuration")
            tab.get_by_label("Filter").fill("training.")
            shoot(tab, "configuration")


@main.command()
@click.argument("page", type=PLACE)
@click.option("--row", default=0, show_default=True, help="Which picture is opened.")
def pictures(page: Path, row: int) -> None:
    """The before-and-after of folders."""
    with opened(page, "light") as tab:
        tab.locator("tbody tr").nth(row).click()
        tab.evaluate("scrollTo(0, 0)")
        shoot(tab, "pictures")


if __name__ == "__main__":
    main()
