"""Contact sheets: which picture lies where, details, PDF."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from run_folders import draw

from img2img.errors import ConfigError, UsageError
from img2img.image import Image, read_image, write_image
from img2img.report.contact import Detail, SheetStyle, draw_sheet, require_sheet, write_sheet
from img2img.report.gallery import side_by_side

STYLE = SheetStyle(cell=40, gap=4, font=10, names=False)
TOP = 15 + 4  # the line of the columns, and a gap


def flat(path: Path, colour: tuple[int, ...], height: int = 20, width: int = 20) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(Image(np.full((height, width, len(colour)), colour, np.uint8)), path)


def test_each_picture_lies_in_its_column_and_row(tmp_path: Path) -> None:
    colours = {("a", "x"): (255, 0, 0), ("a", "y"): (0, 255, 0), ("b", "x"): (0, 0, 255)}
    for (folder, name), colour in colours.items():
        flat(tmp_path / folder / f"{name}.png", colour)
    flat(tmp_path / "b" / "z.png", (0, 0, 0))  # without a partner
    gallery = side_by_side([tmp_path / "a", tmp_path / "b"])
    sheet, problems = draw_sheet(gallery, STYLE)
    pixels = np.asarray(sheet)
    assert problems == [] and pixels.shape == (TOP + 2 * 44, 4 + 2 * 44, 3)
    for (folder, name), colour in colours.items():
        top, left = TOP + 44 * "xy".index(name), 4 + 44 * "ab".index(folder)
        assert (pixels[top : top + 40, left : left + 40] == colour).all()
    assert (pixels[TOP + 44 : TOP + 84, 48:88] == 255).all()  # the place of what is not there stays empty


def test_results_of_another_resolution_have_the_size_of_the_first_column(tmp_path: Path) -> None:
    flat(tmp_path / "a" / "x.png", (9, 9, 9), 10, 20)
    flat(tmp_path / "b" / "x.png", (8, 8, 8), 40, 80)
    sheet, _ = draw_sheet(side_by_side([tmp_path / "a", tmp_path / "b"]), STYLE)
    pixels = np.asarray(sheet)
    assert (pixels[TOP : TOP + 20, 4:44] == 9).all() and (pixels[TOP : TOP + 20, 48:88] == 8).all()


def test_a_detail_is_the_same_part_of_every_column(tmp_path: Path) -> None:
    for folder, times in (("a", 1), ("b", 4)):
        pixels = np.zeros((20 * times, 20 * times, 3), np.uint8)
        pixels[5 * times : 10 * times, 10 * times : 15 * times] = (10, 200, 30)
        (tmp_path / folder).mkdir()
        write_image(Image(pixels), tmp_path / folder / "x.png")
    style = SheetStyle(cell=40, gap=4, font=10, names=False, boxes=(Detail(10, 5, 5, 5),))
    sheet, _ = draw_sheet(side_by_side([tmp_path / "a", tmp_path / "b"]), style)
    pixels = np.asarray(sheet)
    for left in (4, 48):
        detail = pixels[TOP + 44 : TOP + 84, left : left + 40]
        assert (detail[4:-4, 4:-4] == (10, 200, 30)).all()
        assert (detail[0] == (220, 40, 40)).all()  # framed, as the part in the picture is
        assert (pixels[TOP + 10, left + 20 : left + 30] == (220, 40, 40)).all()
    far = SheetStyle(cell=40, boxes=(Detail(18, 0, 5, 5),))
    with pytest.raises(ConfigError, match="outside of its 20x20 pixels"):
        draw_sheet(side_by_side([tmp_path / "a"]), far)


def test_deep_grey_and_transparent_pictures_and_what_is_none(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    write_image(Image(np.full((20, 20, 1), 65535, np.uint16)), folder / "deep.png")
    flat(folder / "grey.png", (128,))
    write_image(Image(np.zeros((20, 20, 3), np.uint8), np.zeros((20, 20), np.uint8)), folder / "clear.png")
    (folder / "text.png").write_text("no picture")
    sheet, problems = draw_sheet(side_by_side([folder]), STYLE)
    middles = [tuple(np.asarray(sheet)[TOP + 44 * row + 20, 24]) for row in range(3)]
    assert middles == [(255,) * 3, (255,) * 3, (128,) * 3]  # clear, deep, grey
    assert len(problems) == 1 and "text.png" in problems[0]


def test_a_pdf_is_one_page_of_the_sheets_size(tmp_path: Path) -> None:
    draw(tmp_path / "a" / "x.png", 1)
    sheet, _ = draw_sheet(side_by_side([tmp_path / "a"]), STYLE)
    write_sheet(sheet, tmp_path / "s.pdf", dpi=100)
    data = (tmp_path / "s.pdf").read_bytes()
    assert data.startswith(b"%PDF-") and data.rstrip().endswith(b"%%EOF")
    assert f"/MediaBox [ 0 0 {sheet.width * 0.72}".encode()[:22] in data and data.count(b"/Type /Page\n") == 1
    write_sheet(sheet, tmp_path / "s.png")
    assert (read_image(tmp_path / "s.png").pixels == np.asarray(sheet)).all()


def test_names_of_sheets_and_columns_are_checked_first(tmp_path: Path) -> None:
    draw(tmp_path / "a" / "x.png", 1)
    with pytest.raises(UsageError, match=r"\.png, \.jpg or \.pdf"):
        require_sheet(tmp_path / "s.txt")
    with pytest.raises(UsageError, match="1 folders need 1 different names"):
        side_by_side([tmp_path / "a"], ["a", "b"])
    assert side_by_side([tmp_path / "a", tmp_path / "a"]).folders != ["a", "a"]
