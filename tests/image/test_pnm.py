"""Netpbm files with odd, wrong and hostile headers and samples."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from img2img.errors import ImageReadError
from img2img.image import decode, read_image

SAMPLES = bytes(range(0, 240, 20))
HEADER = {"WIDTH": "2", "HEIGHT": "2", "DEPTH": "3", "MAXVAL": "255", "TUPLTYPE": "RGB"}
LONG = "9" * 5000


def pam(changes: dict[str, str | None] | None = None, more: str = "", end: str = "ENDHDR\n") -> bytes:
    fields = HEADER | (changes or {})
    lines = "".join(f"{name} {value}\n" for name, value in fields.items() if value is not None)
    return f"P7\n{lines}{more}{end}".encode() + SAMPLES * 20


@pytest.mark.parametrize("name", ["pam_depth_-1.pam", "pam_depth_0.pam"])
def test_a_depth_that_is_no_number_above_0(test_data: Path, name: str) -> None:
    (path,) = (test_data / "cases").glob(f"*/{name}")
    with pytest.raises(ImageReadError, match="depth"):
        read_image(path)


@pytest.mark.parametrize("field", ["WIDTH", "HEIGHT", "DEPTH", "MAXVAL"])
@pytest.mark.parametrize(
    "value", ["0", "-1", "-5", "+2", "1e3", "0x2", "2.0", "nan", "\u0662", "", LONG, None]
)
@pytest.mark.sampled(16)
def test_numbers_in_a_pam_header_are_plain_and_above_0(field: str, value: str | None) -> None:
    with pytest.raises(ImageReadError):
        decode(pam({field: value}))


@pytest.mark.parametrize("field", ["WIDTH", "HEIGHT", "DEPTH", "MAXVAL"])
@pytest.mark.parametrize("value", ["65536", "4294967298", "9999999999"])
def test_numbers_in_a_pam_header_that_are_too_large(field: str, value: str) -> None:
    with pytest.raises(ImageReadError):
        decode(pam({field: value}))


def test_a_pam_header_says_everything_once_and_ends() -> None:
    expected = np.frombuffer(SAMPLES, np.uint8).reshape(2, 2, 3)
    for data in (
        pam(),
        pam(more="# ENDHDR\n#\n\n"),
        pam(more="TUPLTYPE of two lines\n"),
        pam(end="ENDHDR  \n"),
        pam(more="#" + "x" * 9000 + "\n"),
        pam({"TUPLTYPE": "XENDHDR"}),
    ):
        assert (decode(data).pixels == expected).all()
    for data in (
        pam(more="WIDTH 3\n"),
        pam(end=""),
        pam(end="ENDHDR"),
        b"P7\n",
        b"P7\nENDHDR\n",
        b"P7 332\n",
    ):
        with pytest.raises(ImageReadError):
            decode(data)


WORDS = ["0 2 255", "2 -2 255", "2 2 0", "2 2 -1", "2 2 65536", "2 2 1e2", "2 2 255.0", "2 2", "2 2 x"]


@pytest.mark.parametrize("words", [*WORDS, f"2 2 {LONG}", f"{LONG} 2 255", "\u0662 2 255"])
@pytest.mark.parametrize("kind", ["P2", "P3", "P5", "P6"])
@pytest.mark.sampled(16)
def test_numbers_in_a_header_are_plain_and_above_0(kind: str, words: str) -> None:
    samples = b" ".join(b"%d" % value for value in SAMPLES) if kind < "P4" else SAMPLES
    with pytest.raises(ImageReadError):
        decode(f"{kind}\n{words}\n".encode() + samples)


@pytest.mark.parametrize(
    "scale", ["0", "0.0", "-0", "nan", "inf", "-inf", "1e999", "x", "1e-999", ".", "1_0"]
)
def test_the_scale_of_a_pfm_file_is_a_number_that_tells_the_byte_order(scale: str) -> None:
    with pytest.raises(ImageReadError):
        decode(f"Pf\n1 1\n{scale}\n".encode() + bytes(4))


@pytest.mark.parametrize(("scale", "order"), [("1", ">"), ("-1.0", "<"), ("-2.5e-1", "<"), ("+1.00000", ">")])
def test_the_sign_of_the_scale_is_the_byte_order(scale: str, order: str) -> None:
    values = np.array([0.25, 0.5], order + "f4")
    assert decode(f"Pf\n2 1\n{scale}\n".encode() + values.tobytes()).pixels.reshape(-1).tolist() == [
        0.25,
        0.5,
    ]


@pytest.mark.parametrize(
    "header",
    [
        b"P6 2 2 255\n",
        b"P6#made\n2#wide\n2\n#of\n#white\n255\n",
        b"P6\r2\t2\n\n255\n",
        b"P6\n# 3 3 255\n2 2\n255\n",
        b"P6\n#" + b"x" * 9000 + b"\n2 2 255 ",
        b"P6\n#\n2 2\n255#the last one\n",
    ],
)
def test_comments_and_space_between_anything(header: bytes) -> None:
    assert decode(header + SAMPLES).pixels.tobytes() == SAMPLES


@pytest.mark.parametrize("kind", ["P4", "P5", "P6", "P7", "Pf"])
def test_data_that_end_early_are_an_error(kind: str) -> None:
    header = {"P4": b"P4 20 3\n", "P5": b"P5 3 4 255\n", "P6": b"P6 2 2 255\n", "Pf": b"Pf 3 1 1\n"}
    data = pam()[: -19 * 12] if kind == "P7" else header[kind] + SAMPLES[: 9 if kind == "P4" else 12]
    decode(data)
    for cut in (1, 4, 9):
        with pytest.raises(ImageReadError):
            decode(data[:-cut])


@pytest.mark.parametrize("kind", ["P1", "P2", "P3"])
@pytest.mark.parametrize(
    "samples", ["", "1", "1 0 1", "1 0 1 -1", "1 0 1 x", "1 0 1 2", "1 0 1 1.0", "1 0 1 1e0"]
)
@pytest.mark.sampled(12)
def test_plain_samples_that_are_missing_wrong_or_too_large(kind: str, samples: str) -> None:
    size = "1 4" if kind == "P3" else "2 2"
    white = "" if kind == "P1" else " 1"
    if kind == "P3":
        samples = samples.replace("1 0 1", "1 0 1 1 0 1 1 0 1 1 0")
    with pytest.raises(ImageReadError):
        decode(f"{kind} {size}{white}\n{samples}".encode())


def test_plain_samples_with_comments_and_something_behind_them() -> None:
    data = b"P2 2 2 15\n0 15#first row\n# 3 3\n7\t\r\n8 behind"
    assert decode(data).pixels.reshape(-1).tolist() == [0, 255, 119, 136]
    assert decode(b"P1 3 2\n10#x\n1\n0 1 0").pixels.reshape(-1).tolist() == [0, 255, 0, 255, 0, 255]
    data = b"P2 3 1 255\n 001 10 0255"
    assert (decode(data).pixels[:, :, 0] == np.asarray(Pillow.open(io.BytesIO(data)))).all()


def test_a_million_numbers_and_numbers_without_end() -> None:
    assert decode(b"P2 1000 500 255\n" + b"7 " * 500_000).pixels.shape == (500, 1000, 1)
    assert decode(b"P1 1000 1000\n" + b"1" * 1_000_000).pixels.max() == 0
    for text in (b"7 " * 400_000 + b"9" * 200_000, b"9" * 1_000_000, b" " * 1_000_000, b"#\n" * 500_000):
        for start in (b"P2 1000 500 255\n", b"P2 1000 600", b"P6 1 #"):
            with pytest.raises(ImageReadError):
                decode(start + text)
