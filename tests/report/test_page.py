"""The page: everything inside, nothing of a file is taken for HTML, and it stays below its size."""

from __future__ import annotations

import html.parser
import json
import re
from pathlib import Path

import numpy as np
import pytest
from run_folders import draw, facts_of, line, make_run

from img2img.errors import UsageError
from img2img.evaluation import evaluate
from img2img.image import Image, write_image
from img2img.report import read_run, write_report
from img2img.report.gallery import Gallery, GalleryRow, from_evaluation, measured, side_by_side

HOSTILE = "<img src=x onerror=alert(1)>"


class Tags(html.parser.HTMLParser):
    """Collects the elements of a page as a browser sees them."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_a_page_of_a_run_has_its_curves_grids_and_configuration(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    notes = write_report(page, [read_run(make_run(tmp_path / "run"))])
    facts = facts_of(page)
    assert notes == [] and [run["name"] for run in facts["runs"]] == ["run"]
    curves = {curve["name"]: curve for curve in facts["curves"]}
    assert curves["losses/g_l1"]["lines"]["0"]["y"][:2] == [10.0, 5.0]
    assert curves["losses/norm_generator"]["group"] == "Gradient norms"
    assert curves["validation/psnr"]["higher"] and facts["runs"][0]["best"]["value"] == 25.0
    assert [grid["step"] for grid in facts["runs"][0]["grids"]] == [5, 10]
    assert facts["runs"][0]["config"]["method.name"] == "pix2pix"


def test_runs_of_different_methods_share_the_curves_that_both_have(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", steps=4, method="cut", shift=1.0)]
    write_report(tmp_path / "report.html", [read_run(run) for run in runs])
    curves = {curve["name"]: curve for curve in facts_of(tmp_path / "report.html")["curves"]}
    assert set(curves["losses/g_l1"]["lines"]) == {"0", "1"}
    assert set(curves["validation/psnr"]["lines"]) == {"0"}


def test_nothing_that_comes_from_files_becomes_html(tmp_path: Path) -> None:
    """Names of folders, files and losses and values of a configuration that try to be elements."""
    run = make_run(tmp_path / f"{HOSTILE[:20]}\u202e")
    (run / "config.yaml").write_text(
        "method: {name: '</script><script>alert(1)</script>', '<b>': '<!--<script>'}\ntraining: {steps: 3}\n"
    )
    with (run / "metrics.jsonl").open("a") as file:
        file.write(line(11, "training", losses={HOSTILE: 1.0, "__proto__": 2.0, "</script>": None}))
    for folder in ("<i>a", "&lt;b"):
        draw(tmp_path / folder / f"{HOSTILE.replace('/', '')}.png", 1)
    gallery = measured(side_by_side([tmp_path / "<i>a", tmp_path / "&lt;b"]), "<i>a")
    page = tmp_path / "report.html"
    write_report(page, [read_run(run)], [gallery], title="</title><script>alert(2)</script>")
    tags = Tags(page).found
    kinds = [tag for tag, _ in tags]
    assert kinds.count("script") == 2 and set(kinds) == {
        *("html", "head", "meta", "link", "title", "style", "body", "noscript", "main", "script")
    }
    assert not any(name.startswith("on") for _, attributes in tags for name in attributes)
    facts = facts_of(page)
    assert facts["galleries"][0]["rows"][0]["name"] == f"{HOSTILE}.png"
    assert facts["runs"][0]["config"]["method.name"].startswith("</script>")
    assert "\u202e" not in json.dumps(facts, ensure_ascii=False)


def test_the_page_asks_for_nothing_and_may_not(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    write_report(page, [read_run(make_run(tmp_path / "run"))])
    tags = Tags(page).found
    policy = next(each["content"] for _, each in tags if each.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'; img-src data:;")
    places = [each[name] for _, each in tags for name in ("src", "href") if name in each]
    assert places == ["data:,"]
    own = page.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")  # the name of a language
    assert not re.search(r"https?://|innerHTML|insertAdjacent|document\.write|eval\(", own)


def test_pictures_become_smaller_until_the_page_fits(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        for number in range(12):
            draw(tmp_path / folder / f"{number:02}.png", number, 200, 300)
    gallery = side_by_side([tmp_path / "a", tmp_path / "b"])
    page = tmp_path / "report.html"
    notes = write_report(page, [], [gallery], most_bytes=900_000)
    assert page.stat().st_size < 900_000
    rows = facts_of(page)["galleries"][0]["rows"]
    assert len(rows) == 12 and 0 < sum("pictures" in row for row in rows) < 12
    assert any("of the 12 rows are in this page" in note for note in notes)
    assert any("reduced in size" in note for note in notes)


def test_of_too_many_pictures_the_best_and_the_worst_are_there(tmp_path: Path) -> None:
    path = draw(tmp_path / "p.png", 0, 100, 100)
    rows = [
        GalleryRow(f"{number:03}", {"a": path}, {"psnr": float((number * 37) % 100)}) for number in range(100)
    ]
    page = tmp_path / "report.html"
    write_report(page, [], [Gallery("t", ["a"], {"psnr": True}, rows)], most_bytes=1_300_000)
    shown = facts_of(page)["galleries"][0]["rows"]
    there = {row["values"][0] for row in shown if "pictures" in row}
    assert {0.0, 1.0, 2.0, 97.0, 98.0, 99.0} <= there and len(there) < 100


def test_every_depth_and_number_of_channels_is_shown(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    folder.mkdir()
    write_image(Image(random.integers(0, 2**16, (9, 7, 1), np.uint16)), folder / "grey16.png")
    alpha = random.integers(0, 256, (1, 1), np.uint8)
    write_image(Image(random.integers(0, 256, (1, 1, 3), np.uint8), alpha), folder / "alpha.png")
    write_image(Image(random.random((8, 8, 3), np.float32)), folder / "float.tif")
    (folder / "text.png").write_text("no picture")
    (folder / "empty.jpg").touch()
    notes = write_report(tmp_path / "report.html", [], [side_by_side([folder])])
    rows = facts_of(tmp_path / "report.html")["galleries"][0]["rows"]
    there = {row["name"] for row in rows if row["pictures"]}
    assert there == {"grey16.png", "alpha.png", "float.tif"}
    assert any("text.png" in note and "empty.jpg" in note for note in notes)


def test_numbers_are_against_the_chosen_folder_and_failures_stay_in_the_table(tmp_path: Path) -> None:
    for name, side in (("same", 20), ("other", 21)):
        draw(tmp_path / "truth" / f"{name}.png", 1, 20, 20)
        draw(tmp_path / "made" / f"{name}.png", 1, side, 20)
    gallery = measured(side_by_side([tmp_path / "truth", tmp_path / "made"]), "truth")
    values = {row.name: row.values for row in gallery.rows}
    assert values["same.png"] == {"made: psnr": np.inf, "made: ssim": 1.0, "made: l1": 0.0}
    assert values["other.png"] == {} and "1 picture could not be measured" in " ".join(gallery.notes)
    write_report(tmp_path / "report.html", [], [gallery])
    assert facts_of(tmp_path / "report.html")["galleries"][0]["rows"][1]["values"][0] == "inf"


def test_means_leave_out_what_is_infinite_as_those_of_evaluate_and_say_so(tmp_path: Path) -> None:
    for name, seed in (("same", 1), ("other", 2)):
        draw(tmp_path / "truth" / f"{name}.png", 1, 20, 20)
        draw(tmp_path / "made" / f"{name}.png", seed, 20, 20)
    gallery = measured(side_by_side([tmp_path / "truth", tmp_path / "made"]), "truth")
    found = evaluate(tmp_path / "truth", pred=tmp_path / "made", protocol="plain").mean()
    assert found["psnr"] < 100 and gallery.means() == {f"made: {name}": found[name] for name in found}
    said = "made: psnr is infinite where 1 picture is equal to its target; its mean is over the other 1."
    assert said in gallery.notes


def test_what_evaluate_has_written_is_shown_and_other_json_is_not(tmp_path: Path) -> None:
    path = draw(tmp_path / "a.png", 1)
    facts = {
        "protocol": "plain",
        "notes": ["n"],
        "scores": [{"name": "a.png", "target": str(path), "psnr": None}],
    }
    (tmp_path / "e.json").write_text(json.dumps(facts))
    gallery = from_evaluation(tmp_path / "e.json")
    assert gallery.columns == {"psnr": True} and gallery.rows[0].values["psnr"] == np.inf
    for text in ("", "{}", "[1]", '{"scores": 1}', "[" * 5000):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(UsageError, match="is not what an evaluation"):
            from_evaluation(tmp_path / "bad.json")


def test_several_models_of_an_evaluation_have_their_columns(tmp_path: Path) -> None:
    path = str(draw(tmp_path / "a.png", 1))
    about = {"odd": {"higher_is_better": False}}
    candidates = [
        {
            "name": name,
            "metrics": about,
            "scores": [{"name": "a", "target": path, "source": path, "odd": value}],
        }
        for name, value in (("one", 1.0), ("two", 10**400))
    ]
    (tmp_path / "e.json").write_text(json.dumps({"candidates": candidates}))
    gallery = from_evaluation(tmp_path / "e.json")
    assert gallery.folders == ["target", "one", "two"] and len(gallery.rows) == 1
    assert gallery.columns == {"one: odd": False, "two: odd": False} and gallery.means()["two: odd"] is None


def test_names_and_notes_of_any_length_leave_a_page(tmp_path: Path) -> None:
    gallery = Gallery("t", ["a"], {}, [GalleryRow("n" * 10**6)], ["note " * 1000] * 10_000)
    write_report(tmp_path / "r.html", [], [gallery])
    assert (tmp_path / "r.html").stat().st_size < 300_000


def test_only_a_report_is_replaced(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "run"))
    page = tmp_path / "page.html"
    write_report(page, [run])
    write_report(page, [run])
    other = tmp_path / "mine.html"
    other.write_text("<p>mine</p>")
    with pytest.raises(UsageError, match="is no report"):
        write_report(other, [run])
    assert other.read_text() == "<p>mine</p>"
    with pytest.raises(UsageError, match="does not exist"):
        write_report(tmp_path / "nowhere" / "x.html", [run])


def test_an_empty_run_is_a_page_with_a_sentence(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "samples").mkdir(parents=True)
    (run / "config.yaml").write_text("method: {name: cut}\n")
    assert any("logged nothing yet" in note for note in write_report(tmp_path / "r.html", [read_run(run)]))


def test_of_several_runs_each_note_names_its_own(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text("no JSON\n")
    runs = [read_run(tmp_path / name) for name in ("first", "second")]
    notes = write_report(tmp_path / "two.html", runs)
    assert "second: There is no config.yaml." in notes and all(
        note.startswith(("first: ", "second: ")) for note in notes
    )
    assert "There is no config.yaml." in write_report(tmp_path / "one.html", runs[:1])
