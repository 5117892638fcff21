"""What may be named on the page: places in the roots, whatever way they are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from img2img.errors import UsageError
from img2img.ui.places import Roots


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    (tmp_path / "root" / "photos").mkdir(parents=True)
    (tmp_path / "rooted").mkdir()
    (tmp_path / "secret.png").write_bytes(b"x")
    (tmp_path / "root" / "out").symlink_to(tmp_path)
    return Roots([tmp_path / "root"])


@pytest.mark.parametrize(
    "place", ["photos", "./photos", "photos/../photos", " photos ", "new/folder", "{root}/photos", "photos/"]
)
def test_places_inside_are_found(roots: Roots, place: str) -> None:
    (root,) = roots.folders
    found = roots.inside(place.format(root=root), "a folder")
    assert found == (root / "new" / "folder" if "new" in place else root / "photos")


@pytest.mark.parametrize(
    "place", ["..", "../secret.png", "photos/../../secret.png", "/etc/passwd", "out/secret.png", "out", "~",
              "{root}ed", "{root}/../secret.png"]
)  # fmt: skip
def test_places_outside_are_refused_with_what_is_allowed(roots: Roots, place: str) -> None:
    (root,) = roots.folders
    with pytest.raises(UsageError, match="lies outside") as error:
        roots.inside(place.format(root=root), "a folder")
    assert str(root) in str(error.value)


@pytest.mark.parametrize("place", ["", "  ", "a\0b", "\ud800", "~nobody-is-called-this/x"])
def test_what_names_nothing_is_refused(roots: Roots, place: str) -> None:
    with pytest.raises(UsageError):
        roots.inside(place, "a folder")


def test_of_several_roots_the_one_that_has_it_counts(roots: Roots, tmp_path: Path) -> None:
    both = Roots([tmp_path / "rooted", *roots.folders])
    assert both.inside("photos", "a folder") == roots.folders[0] / "photos"
    assert both.inside("new", "a folder") == (tmp_path / "rooted" / "new").resolve()


def test_a_root_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder"):
        Roots([tmp_path / "none"])
