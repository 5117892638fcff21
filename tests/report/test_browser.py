"""The page in a real browser: it draws without an error or a request, and its switches work."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from run_folders import draw, line, make_run

from img2img.report import read_run, write_report
from img2img.report.gallery import measured, side_by_side

pytestmark = pytest.mark.slow
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium of the system, or a skip with the reason."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("there is no chromium")
    with playwright.sync_playwright() as engine:
        opened = engine.chromium.launch(executable_path=chromium, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Any]:
    """Opens a page, and checks in the end that it said nothing and asked for nothing."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(120_000)  # machines may have other work
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("dialog", lambda dialog: troubles.append(f"dialog {dialog.message}"))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    def go(path: Path) -> Any:
        page.goto(path.as_uri())
        return page

    yield go
    assert troubles == []
    assert [url for url in asked if not url.startswith(("data:", "file:"))] == []
    assert sum(url.startswith("file:") for url in asked) == 1
    page.close()


def test_two_runs_are_laid_over_each_other(visit: Any, tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "one"), make_run(tmp_path / "two", steps=60, method="cut", shift=1.0)]
    write_report(tmp_path / "r.html", [read_run(run) for run in runs])
    page = visit(tmp_path / "r.html")
    loss = page.locator(".card", has_text="g_l1").locator("svg.chart")
    assert loss.locator("path").count() == 2
    before = loss.locator("path").first.get_attribute("d")
    page.locator("#log").check()
    assert loss.locator("path").first.get_attribute("d") != before
    page.locator("#smooth").fill("0.8")
    assert loss.locator("path.raw").count() == 1  # few values are not smoothed
    page.locator(".chip", has_text="two").click()  # the chip hides the run
    assert loss.locator("path:not(.raw)").count() == 1
    page.locator(".chip", has_text="two").click()
    loss.hover()
    assert "at" in page.locator(".card", has_text="g_l1").locator(".values").inner_text()


def test_the_slider_goes_through_the_grids(visit: Any, tmp_path: Path) -> None:
    write_report(tmp_path / "r.html", [read_run(make_run(tmp_path / "run"))])
    page = visit(tmp_path / "r.html")
    image = page.locator(".grids img")
    last = image.get_attribute("src")
    page.locator("#time").fill("0")
    assert image.get_attribute("src") != last and "step 5" in page.locator(".grids figcaption").inner_text()
    image.click()
    assert page.locator("dialog .viewer").is_visible()
    page.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Play").click()
    page.locator(".grids figcaption", has_text="step 10").wait_for()  # a function in words needs eval


def test_only_what_differs_between_runs_is_shown_at_first(visit: Any, tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "one"), make_run(tmp_path / "two", method="cut")]
    write_report(tmp_path / "r.html", [read_run(run) for run in runs])
    page = visit(tmp_path / "r.html")
    place = page.locator("section", has_text="Configuration").last
    assert place.locator("tbody tr").count() == 1
    place.locator(".only").uncheck()
    assert place.locator("tbody tr").count() == 4


def test_a_table_is_sorted_by_any_number_and_opens_pictures(visit: Any, tmp_path: Path) -> None:
    for number in range(15):
        draw(tmp_path / "truth" / f"{number:02}.png", number)
        draw(tmp_path / "made" / f"{number:02}.png", number + (number % 4))
    write_report(
        tmp_path / "r.html", [], [measured(side_by_side([tmp_path / "truth", tmp_path / "made"]), "truth")]
    )
    page = visit(tmp_path / "r.html")
    column = page.locator("tbody tr td:nth-child(4)")  # l1
    page.locator("thead button", has_text="l1").click()
    values = [float(text) for text in column.all_inner_texts()]
    assert len(values) == 15 and values == sorted(values)
    assert page.locator("th[aria-sort]").get_attribute("aria-sort") == "ascending"
    page.locator("thead button", has_text="l1").click()
    assert [float(text) for text in column.all_inner_texts()] == sorted(values, reverse=True)
    page.get_by_label("Filter").fill("07")
    assert page.locator("tbody tr").count() == 1
    page.locator("tbody tr").first.click()
    view = page.locator(".viewer").first
    cover = view.locator(".after")
    page.locator(".divider").first.fill("0.2")
    assert view.locator(".handle").bounding_box()["x"] < view.bounding_box()["x"] + 0.25 * 800
    cut = cover.evaluate("element => element.style.clipPath")
    zoom = page.locator(".zoom").first.inner_text()
    view.hover()
    page.mouse.wheel(0, -300)
    page.wait_for_function("([zoom]) => document.querySelector('.zoom').textContent !== zoom", arg=[zoom])
    assert cover.evaluate("element => element.style.clipPath") != cut
    assert page.locator(".strip button").count() == 16


def test_names_that_try_to_be_html_are_text(visit: Any, tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>"
    run = make_run(tmp_path / name)
    (run / "config.yaml").write_text("method: {name: '</script><script>alert(2)</script>'}\n")
    with (run / "metrics.jsonl").open("a") as file:
        file.write(line(11, "training", losses={"<svg onload=alert(3)>": 1.0, "__proto__": 2.0}))
    draw(tmp_path / "a" / f"{name}.png", 1)
    draw(tmp_path / "b" / f"{name}.png", 2)
    pictures = measured(side_by_side([tmp_path / "a", tmp_path / "b"]), "a")
    write_report(tmp_path / "r.html", [read_run(run)], [pictures], title=name)
    page = visit(tmp_path / "r.html")
    assert page.locator("h1").inner_text() == name
    assert page.locator("td.name", has_text=f"{name}.png").count() == 1
    assert page.locator("h4", has_text="<svg onload").count() == 1
    assert page.locator("img[onerror], svg[onload]").count() == 0


@pytest.mark.parametrize("kind", ["empty", "broken", "not a number", "nothing"])
def test_runs_that_are_none_draw_a_page(kind: str, visit: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "samples").mkdir(parents=True)
    (run / "config.yaml").touch()
    text = {
        "empty": "",
        "broken": '{"step": 1, "kin',
        "not a number": line(1, "training", losses={"a": None}) + line(2, "training", losses={"a": None}),
    }
    if kind in text:
        (run / "metrics.jsonl").write_text(text[kind])
    write_report(tmp_path / "r.html", [read_run(run)])
    page = visit(tmp_path / "r.html")
    page.locator("#log").check() if kind == "not a number" else None
    assert page.locator("ul.notes li").count() >= 1
    assert os.fspath(run.name) in page.locator("tbody").first.inner_text()
