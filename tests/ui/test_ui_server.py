"""The page as a program: its ports and its end, and what it answers to programs that send it anything."""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from served import SECONDS, Page

from img2img.cli.main import cli
from img2img.errors import UsageError
from img2img.image import read_image
from img2img.ui.server import bind, serve


def test_a_port_that_is_taken_is_a_sentence() -> None:
    with bind(0) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(cli, ["ui", "--port", str(port), "--no-open"])
        assert result.exit_code == 2
        assert f"port {port} cannot be used" in result.stderr
        assert "--port" in result.stderr


def test_without_a_port_the_next_that_is_free_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with bind(0) as taken:
        monkeypatch.setattr("img2img.ui.server.PORT", taken.getsockname()[1])
        with bind(None) as found:
            assert found.getsockname()[0] == "127.0.0.1"
            assert found.getsockname()[1] != taken.getsockname()[1]


def test_without_gradio_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(UsageError, match=r"img2img\[ui\]"):
        serve([tmp_path], 0)


def test_a_root_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["ui", "--root", str(tmp_path / "none"), "--no-open"])
    assert result.exit_code == 2
    assert "no folder" in result.stderr and "--root" in result.stderr


@pytest.fixture(scope="module")
def client(page: Page, tmp_path_factory: pytest.TempPathFactory) -> Any:
    module = pytest.importorskip("gradio_client")
    return module.Client(page.address, verbose=False, download_files=tmp_path_factory.mktemp("got"))


@pytest.fixture
def alive(page: Page) -> Iterator[None]:
    """Makes sure that whatever was sent has not ended the page."""
    yield
    assert page.process.poll() is None
    assert page.get("/") == 200


def handle(path: Path) -> Any:
    from gradio_client import handle_file

    return handle_file(path)


@pytest.mark.slow
def test_a_picture_goes_in_and_comes_out_at_full_depth(page: Page, client: Any) -> None:
    shown, file, told = client.predict(
        handle(page.root / "photos" / "a.png"), "big.safetensors", 2, api_name="/convert"
    )
    result = read_image(file)
    assert Path(file).name == "a.png"
    assert (result.pixels.shape, result.pixels.dtype) == ((18, 24, 3), np.uint16)
    assert told == "24 x 18 pixels, RGB, 16 bits."
    assert [read_image(each).pixels.shape for each in shown] == [(18, 24, 3)] * 2


def deep_bomb() -> bytes:
    """A whole PNG file of 30000 x 30000 pixels, which is small."""
    head = (30000).to_bytes(4, "big") * 2 + b"\x01\x00\x00\x00\x00"
    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(3751 * 1000)) for _ in range(30)) + packer.flush()
    chunks = [(b"IHDR", head), (b"IDAT", rows), (b"IEND", b"")]
    parts = [
        len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
        for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.slow
@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("text.png", b"some text\n" * 99, "not an image"),
        ("empty.png", b"", "empty"),
        ("bomb.png", deep_bomb(), "900,000,000.*decided where it was started"),
    ],
)
@pytest.mark.parametrize("part", ["picture", "mask"])
def test_what_is_no_picture_gets_a_sentence(
    page: Page, client: Any, tmp_path: Path, name: str, content: bytes, told: str, part: str
) -> None:
    (tmp_path / name).write_bytes(content)
    files = {part: handle(tmp_path / name)}
    files.setdefault("picture", handle(page.root / "photos" / "a.png"))
    with pytest.raises(Exception, match=told):
        client.predict(model="telea", **files, api_name="/convert")


@pytest.mark.slow
@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize("model", ["../../etc/passwd", "/etc/passwd", "no.pth", "x9", "", "photos"])
def test_models_outside_get_a_sentence(page: Page, client: Any, model: str) -> None:
    with pytest.raises(Exception, match=r"outside|no model|Choose|no such|is a folder"):
        client.predict(handle(page.root / "photos" / "a.png"), model, api_name="/convert")


@pytest.mark.slow
@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize(
    "file",
    ["/etc/passwd", "{root}/photos/a.png", "../a.png", "http://127.0.0.1:1/a.png", "https://example.org/a.png",
     "file:///etc/passwd"],
)  # fmt: skip
def test_files_that_nobody_uploaded_are_not_opened(page: Page, file: str) -> None:
    given = {"path": file.format(root=page.root), "meta": {"_type": "gradio.FileData"}}
    usual = [4, 1, [], [], False, 0, 0, None, False, None, None, "", None, None]
    kind, told = page.call("convert", given, "telea", *usual)
    assert kind == "error"
    assert "uploaded" in json.dumps(told)


@pytest.mark.slow
@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize(
    "data",
    [
        [],
        [None, "telea"],
        [7, ["x"]],
        [{"path": None}],
        [None, {"a": 1}, "much"],
        ["text", "telea", 4, "NaN", 3, 3, 3, "x", "y"],
    ],
)
def test_calls_that_make_no_sense_are_survived(page: Page, data: list[Any]) -> None:
    assert page.call("convert", *data)[0] == "error"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/gradio_api/file=/etc/passwd", 403),
        ("/gradio_api/file={root}/photos/a.png", 403),
        ("/gradio_api/file=http://127.0.0.1:1/x", 403),
        ("/gradio_api/proxy=https://example.org/x", 403),
        ("/file=/etc/passwd", 404),
    ],
)
def test_files_of_the_machine_are_not_served(page: Page, path: str, status: int) -> None:
    assert page.get(path.format(root=page.root)) in {status, 403}


@pytest.mark.slow
def test_other_names_of_the_host_are_not_answered(page: Page) -> None:
    assert page.get("/", "evil.example") == 400
    assert page.get("/", "localhost") == 200


@pytest.mark.slow
@pytest.mark.usefixtures("alive")
def test_a_folder_with_progress_and_its_report(page: Page, client: Any) -> None:
    job = client.submit("photos", "out", "big.safetensors", 2, api_name="/convert_folder")
    _, summary, report = job.result(timeout=SECONDS)
    assert {key: summary[key] for key in ("state", "done", "failed")} == {
        "state": "done",
        "done": 2,
        "failed": 0,
    }
    lines = [json.loads(line) for line in Path(report).read_text().splitlines()]
    assert [line["status"] for line in lines] == ["done", "done"]
    assert read_image(page.root / "out" / "b.png").pixels.shape == (18, 24, 3)
    with pytest.raises(Exception, match="outside"):
        client.predict("/etc", "out", api_name="/convert_folder")


@pytest.mark.slow
def test_the_last_one_ctrl_c_ends_it_cleanly(page: Page) -> None:
    assert list(page.scratch.glob("img2img-ui-*"))
    said = page.end()
    assert page.process.returncode == 0
    assert "Ended." in said
    assert "Traceback" not in said
    assert not list(page.scratch.glob("img2img-ui-*"))
