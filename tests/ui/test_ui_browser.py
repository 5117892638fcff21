"""The page in a real browser: a picture in, a picture out, and not a request to anywhere else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import SECONDS, Page

from img2img.image import read_image

pytestmark = pytest.mark.slow
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


class Shown:
    """What a browser shows, what it asked for and what it complained about."""

    def __init__(self, tab: Any) -> None:
        self.tab = tab
        self.requests: list[str] = []
        self.complaints: list[str] = []
        tab.set_default_timeout(SECONDS * 1000)
        tab.on("request", lambda request: self.requests.append(request.url))
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        tab.on("console", lambda said: said.type == "error" and self.complaints.append(said.text))

    def note(self, told: str) -> None:
        """Waits until the page says what a picture is."""
        self.tab.wait_for_function(
            "told => document.querySelector('#note textarea').value.includes(told)", arg=told
        )

    def download(self, place: str) -> Path:
        """Returns the file that a link gives."""
        with self.tab.expect_download() as found:
            self.tab.click(f"{place} a")
        return Path(found.value.path())

    def choose(self, tab: str, model: str) -> None:
        """Writes the name of a model into the choice that a tab has."""
        field = self.tab.locator(f"{tab} input[aria-label=Model]")
        field.click()
        field.fill(model)
        field.press("Enter")


@pytest.fixture(scope="module")
def shown(page: Page) -> Iterator[Shown]:
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        found = Shown(browser.new_page(viewport={"width": 1280, "height": 900}))
        found.tab.goto(page.address)
        found.tab.wait_for_selector("#convert")
        yield found
        browser.close()


def test_a_picture_goes_in_and_comes_out(page: Page, shown: Shown) -> None:
    shown.tab.set_input_files("#picture_file input[type=file]", page.root / "photos" / "a.png")
    shown.note("12 x 9 pixels, RGB, 16 bits")
    shown.choose("#picture", "big.safetensors")
    shown.tab.wait_for_selector("text=enlarges by 2")
    shown.tab.click("#convert")
    shown.note("24 x 18 pixels, RGB, 16 bits")
    assert shown.tab.locator("#slider img").count() == 2
    result = read_image(shown.download("#result"))
    assert (result.pixels.shape, result.pixels.dtype) == ((18, 24, 3), np.uint16)


def test_what_is_painted_is_filled(page: Page, shown: Shown) -> None:
    shown.tab.click("#picture_file button[aria-label='Clear']")
    shown.tab.set_input_files("#picture_file input[type=file]", page.root / "large.png")
    shown.note("120 x 90 pixels")
    shown.choose("#picture", "telea")
    shown.tab.wait_for_selector("#canvas canvas", state="attached")  # it counts as hidden though it shows
    shown.tab.wait_for_timeout(3000)  # the canvas draws its picture when it comes to rest
    box = shown.tab.locator("#canvas canvas").first.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    shown.tab.mouse.move(*middle)
    shown.tab.mouse.down()
    shown.tab.mouse.move(middle[0] + 12, middle[1] + 2, steps=4)
    shown.tab.mouse.up()
    shown.tab.wait_for_timeout(1000)
    shown.tab.click("#convert")
    shown.tab.wait_for_selector("#result a")
    before, after = read_image(page.root / "large.png"), read_image(shown.download("#result"))
    changed = (before.pixels != after.pixels).any(2)
    assert 0 < changed.sum() < changed.size


def test_a_text_file_gets_a_sentence(page: Page, shown: Shown, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("some text")
    shown.tab.click("#picture_file button[aria-label='Clear']")
    shown.tab.set_input_files("#picture_file input[type=file]", tmp_path / "text.png")
    shown.tab.wait_for_selector("text=not an image of a kind that is read")


def test_a_folder_shows_its_progress_and_its_report(page: Page, shown: Shown) -> None:
    shown.tab.get_by_role("tab", name="Folder").click()
    shown.tab.fill("#source textarea, #source input", "photos")
    shown.tab.fill("#output textarea, #output input", "from_browser")
    shown.choose("#folder", "big.safetensors")
    shown.tab.wait_for_selector("#folder >> text=enlarges by 2")
    shown.tab.click("#convert_folder")
    shown.tab.wait_for_selector("#progress >> text=2 done")
    assert read_image(page.root / "from_browser" / "b.png").pixels.shape == (18, 24, 3)
    assert len(shown.download("#report").read_text().splitlines()) == 2


def test_the_last_one_nothing_left_this_machine_and_nothing_went_wrong(page: Page, shown: Shown) -> None:
    elsewhere = [url for url in shown.requests if not url.startswith((page.address, "data:", "blob:"))]
    assert len(shown.requests) > 20
    assert not elsewhere
    assert not shown.complaints
