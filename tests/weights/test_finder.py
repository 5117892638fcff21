"""Models are found by path or name, the first folder first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from img2img.errors import UnknownModelError
from img2img.weights import available, find_model, folders


@pytest.fixture
def places(tmp_path, monkeypatch):
    for name in ("a", "b", "cache/img2img/weights"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setenv("IMG2IMG_WEIGHTS_DIR", os.pathsep.join([str(tmp_path / "a"), str(tmp_path / "b"), ""]))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_folders_in_order(places):
    assert folders()[1:] == [places / "a", places / "b", places / "cache" / "img2img" / "weights"]
    assert folders()[0].name == "weights"


def test_the_first_folder_and_the_safer_format_win(places):
    for name in ("b/x.safetensors", "a/x.pth", "a/y.pth", "a/y.safetensors", "a/notes.txt"):
        (places / name).touch()
    (places / "cache/img2img/weights/z.pth").touch()
    found = available()
    assert find_model("x") == found["x"] == places / "a" / "x.pth"
    assert find_model("y") == find_model("y.safetensors") == places / "a" / "y.safetensors"
    assert find_model("z").parent.name == "weights"
    assert "notes" not in found


def test_a_name_with_an_extension_is_no_other_kind_of_file(places):
    for name in ("a/x.safetensors", "b/x.onnx", "b/y.pth"):
        (places / name).touch()
    assert find_model("x") == places / "a" / "x.safetensors"
    assert find_model("x.onnx") == places / "b" / "x.onnx"
    with pytest.raises(UnknownModelError, match=r"no model 'y\.onnx'.*y"):
        find_model("y.onnx")


def test_a_path_is_a_path(places, monkeypatch):
    (places / "b" / "x.bin").touch()
    assert find_model(places / "b" / "x.bin") == places / "b" / "x.bin"
    monkeypatch.chdir(places / "b")
    assert find_model("x.bin") == Path("x.bin")
    with pytest.raises(UnknownModelError, match="no such model file"):
        find_model(places / "none.pth")


def test_a_folder_is_none_and_says_what_lies_in_it(places, monkeypatch):
    for number in range(7):
        (places / "b" / f"{number}.pth").touch()
    with pytest.raises(
        UnknownModelError, match=r"b: is a folder; name the model in it: 0\.pth, .*, 4\.pth, \.\.\.\."
    ):
        find_model(places / "b")
    (places / "empty").mkdir()
    monkeypatch.chdir(places)
    with pytest.raises(UnknownModelError, match=r"empty: is a folder, and holds no model"):
        find_model("empty")
    (places / "x2").mkdir()
    assert find_model("x2").suffix == ".safetensors"


def test_an_unknown_name_offers_the_nearest_and_says_where_it_looked(places):
    (places / "a" / "animevideo.pth").touch()
    with pytest.raises(UnknownModelError, match=r"did you mean 'animevideo'.*\.safetensors"):
        find_model("animevide")
    with pytest.raises(UnknownModelError, match="there is no model 'q'"):
        find_model("q")


def test_folders_that_are_not_there_do_no_harm(tmp_path, monkeypatch):
    monkeypatch.setenv("IMG2IMG_WEIGHTS_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert isinstance(available(), dict)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_no_model(tmp_path):
    os.mkfifo(tmp_path / "x.pth")
    with pytest.raises(UnknownModelError, match="pipe, socket or device"):
        find_model(tmp_path / "x.pth")
