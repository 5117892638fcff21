"""Files that once went wrong, each by its right value; siblings of each kind are tested beside the code.

The files lie in the folder `cases` of IMG2IMG_TEST_DATA; without it these tests are skipped.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner, Result
from PIL import ImageCms

from img2img.cli.main import cli
from img2img.errors import ImageError, ImageReadError, ModelError
from img2img.image import Image, read_image

Case = Callable[[str], Path]


def img2img(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def apart(a: Image, b: Image) -> int:
    """Returns the largest difference of two pictures in levels."""
    assert a.pixels.shape == b.pixels.shape
    return int(np.abs(a.pixels.astype(np.int64) - b.pixels.astype(np.int64)).max())


def processed(files: Any, out: Path, *options: Any) -> Result:
    names = files if isinstance(files, list) else [files]
    return img2img("process", *names, "-o", out, *(options or ("--op", "flip")))


@pytest.fixture
def case(test_data: Path, tmp_path: Path) -> Case:
    """Returns a copy of a case's folder, which a test may write to."""

    def copy(prefix: str) -> Path:
        (source,) = (test_data / "cases").glob(f"{prefix}_*")
        shutil.copytree(source, tmp_path / "case", copy_function=shutil.copyfile)
        for path in (tmp_path / "case", *(tmp_path / "case").rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        return tmp_path / "case"

    return copy


def refused(path: Path, seconds: float = 5) -> str:
    started = time.monotonic()
    with pytest.raises(ImageReadError) as caught:
        read_image(path)
    assert time.monotonic() - started < seconds
    return caught.value.reason


# --- damage is never done


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("A01", "lzw_half_zero.tif"),
        ("A14", "jp2_zero50-end.jp2"),
        ("A14", "jpg_rst_zero50-90.jpg"),
        ("A14", "pam_depth_-1.pam"),
        ("A14", "tifg3_zero50-90.tif"),
        ("A16", "pam_depth_0.pam"),
        ("A16", "planes0.tif"),
    ],
)
def test_damage_is_a_failure_with_a_sentence(case: Case, tmp_path: Path, folder: str, name: str) -> None:
    result = processed(case(folder) / name, tmp_path / "out")
    assert result.exit_code == 1, result.output
    assert "unexpected" not in result.output
    assert not list((tmp_path / "out").glob("*.*"))


@pytest.mark.parametrize(
    "name", ["a516905c06cbc05e8adac7b0b7e4f514.tif", "ee6d1133f9264dc6467990e53d0bf104.gif"]
)
def test_what_a_well_kept_reader_opens_is_opened(case: Case, name: str) -> None:
    path = case("A13") / name
    with PIL.Image.open(path) as reference:
        expected = np.asarray(reference.convert("RGB"))
    pixels = read_image(path).pixels
    assert np.array_equal(np.broadcast_to(pixels, expected.shape), expected)


@pytest.mark.parametrize(
    "name", ["16f2a7e9adcda96170bc1fa873e275c1.tif", "48af30b09e42ec73f206ce1ac09a424b.tif"]
)
def test_log_luv_is_read(case: Case, name: str) -> None:
    image = read_image(case("A13") / name)
    assert (image.height, image.width) == (225, 333)
    assert image.pixels.std() > 0


# --- cost is bounded by the file


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("A03", "ff_run.jpg"),
        ("A04", "avif_extents_9000x500k.avif"),
        ("A04", "tif_overlap_20000_lzw.tif"),
        ("A15", "jpg_prog_2000scans_14000.jpg"),
        ("A15", "png_exif_quadratic.png"),
    ],
)
@pytest.mark.sampled(1)
def test_cost_is_bounded_by_the_file(case: Case, folder: str, name: str) -> None:
    path = case(folder) / name
    code = f"""
import pathlib, time
from img2img.image import read_image
from img2img.errors import ImageError
started = time.monotonic()
try:
    read_image({str(path)!r})
except ImageError:
    pass
assert time.monotonic() - started < 5
status = pathlib.Path("/proc/self/status")  # the resource module counts what was there before exec, too
if status.exists():
    assert int(status.read_text().partition("VmHWM:")[2].split()[0]) < 2**20  # KiB
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_folder_of_a_hostile_file_goes_on(case: Case, tmp_path: Path) -> None:
    folder = case("A03")
    for number in range(5):
        PIL.Image.new("RGB", (16, 16), (number, 9, 9)).save(folder / f"good{number}.png")
    result = processed(folder, tmp_path / "out", "--op", "grayscale")
    assert result.exit_code in (0, 1)
    assert len(list((tmp_path / "out").glob("good*.png"))) == 5


@pytest.mark.parametrize("name", ["dict_bomb_60.pth", "stride0_20000.pth"])
def test_a_tiny_model_file_costs_little(case: Case, name: str) -> None:
    from img2img.interop import open_checkpoint

    path = case("A05") / name
    started = time.monotonic()
    with pytest.raises(ModelError):
        open_checkpoint(path)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("laughs_op.yaml", ("process", "IN", "-o", "OUT", "--recipe", "FILE")),
        ("laughs_config.yaml", ("train", "FILE", "-o", "OUT", "--dry-run")),
        ("laughs_map.yaml", ("data", "download", "FILE", "--yes", "-o", "OUT")),
    ],
)
def test_yaml_that_multiplies_itself_is_an_error_at_once(
    case: Case, tmp_path: Path, sample: Path, name: str, arguments: tuple[str, ...]
) -> None:
    places = {"IN": sample, "OUT": tmp_path / "out", "FILE": case("A11") / name}
    started = time.monotonic()
    result = img2img(*(places.get(argument, argument) for argument in arguments))
    assert time.monotonic() - started < 10
    assert result.exit_code == 2, result.output


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes and devices")
@pytest.mark.parametrize("name", ["fifo_ref.yaml", "devzero.yaml"])
def test_a_reference_that_is_a_pipe_or_device(case: Case, tmp_path: Path, sample: Path, name: str) -> None:
    folder = case("A12")
    text = (folder / name).read_text(encoding="utf-8")
    if "fifo" in name:
        os.mkfifo(folder / "pipe")
        text = re.sub(r"(colour-match:\s*).*", rf"\1{folder / 'pipe'}", text)
        (folder / name).write_text(text, encoding="utf-8")
    result = processed(sample, tmp_path / "out", "--recipe", folder / name)
    assert result.exit_code == 2, result.output
    assert "pipe, socket or device" in result.stderr


# --- nothing of the user's is touched


@pytest.mark.parametrize("name", ["into_abs.yaml", "root_abs.yaml", "root_del.yaml"])
def test_a_recipe_reaches_nothing_outside(case: Case, tmp_path: Path, name: str) -> None:
    folder = case("A02")
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "photo.txt").write_text("x", encoding="utf-8")
    text = (folder / name).read_text(encoding="utf-8")
    (folder / name).write_text(re.sub(r"(root|into): /\S*", rf"\1: {precious}", text), encoding="utf-8")
    command = (
        "data",
        "download",
        folder / name,
        "--yes",
        "-o",
        tmp_path / "d",
        "--archive",
        folder / "good.tar",
    )
    result = img2img(*command)
    assert result.exit_code == 2, result.output
    assert (precious / "photo.txt").read_text(encoding="utf-8") == "x"
    assert [path.name for path in precious.iterdir()] == ["photo.txt"]


def test_a_hostile_manifest_is_passed_over(case: Case, tmp_path: Path, sample: Path) -> None:
    state = tmp_path / "out" / ".img2img"
    state.mkdir(parents=True)
    shutil.copyfile(case("A10") / "manifest.jsonl", state / "manifest.jsonl")
    assert processed(sample, tmp_path / "out", "--op", "resize=5%").exit_code == 0


# --- models


@pytest.mark.parametrize(
    "name", ["dict_cycle.pth", "dict_deep400.pth", "dict_self.pth", "meta.pth", "quantized.pth"]
)
def test_a_strange_model_gets_a_sentence(case: Case, name: str) -> None:
    result = img2img("model", "info", case("A06") / name)
    assert result.exit_code == 2, result.output


def test_a_damaged_model_is_noticed(case: Case) -> None:
    result = img2img("model", "info", case("A07") / "flip_0.pth")
    assert result.exit_code == 2
    assert "damaged" in result.stderr


@pytest.mark.parametrize("name", ["plain.pth", "numpyscalar.pth", "namespace.pth"])
def test_harmless_things_beside_the_weights_are_skipped(case: Case, name: str) -> None:
    result = img2img("model", "info", case("23") / name)
    assert result.exit_code == 0, result.output


# --- transparency, colour, metadata


@pytest.mark.slow
def test_models_with_alpha_train_and_convert(case: Case, tmp_path: Path) -> None:
    folder, run = case("03"), tmp_path / "run"
    pairs = ("--paired", folder / "A", folder / "B")
    small = ("--set", "steps=4", "--set", "save_every=4", "--precision", "fp32", "--set", "source_channels=4")
    result = img2img("train", "smoke_pix2pix", *pairs, "-o", run, *small)
    assert result.exit_code == 0, result.output
    result = img2img("translate", folder / "A", "-o", tmp_path / "out", "-m", run / "last.safetensors")
    assert "12 done" in result.stderr


def test_a_model_sees_what_training_showed_it(case: Case, tmp_path: Path) -> None:
    folder = case("05")
    names = [folder / "hidblack.png", folder / "flat.png"]
    model = ("-m", folder / "net_G.pth", "--size", "native")
    assert img2img("translate", *names, "-o", tmp_path / "out", *model).exit_code == 0
    cut, flat = (read_image(tmp_path / "out" / name.name) for name in names)
    opaque = read_image(names[0]).alpha == 255
    assert np.abs(cut.pixels.astype(int) - flat.pixels.astype(int))[opaque].max() <= 1


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.slow
def test_grey_in_three_channels_stays_grey(case: Case, tmp_path: Path, scale: int) -> None:
    folder = case("07")
    files = [folder / name for name in ("text.png", "photo.png", "textL.png")]
    assert img2img("upscale", *files, "-o", tmp_path / "out", "-s", scale).exit_code == 0
    for name in ("text.png", "photo.png"):
        pixels = read_image(tmp_path / "out" / name).pixels
        assert (pixels == pixels[..., :1]).all()


@pytest.mark.parametrize("name", ["p3.avif", "pq.avif", "p3_10bit.avif"])
def test_the_colours_of_avif_are_kept(case: Case, tmp_path: Path, name: str) -> None:
    before = read_image(case("08") / name)
    result = processed(tmp_path / "case" / name, tmp_path / "out")
    assert result.exit_code == 0, result.output
    (path,) = (p for p in (tmp_path / "out").iterdir() if p.is_file())
    after = read_image(path)
    assert before.space is not None
    assert (after.space, after.icc) == (before.space, None) or after.icc is not None


def test_a_reference_is_brought_to_the_colours_of_the_picture(case: Case, tmp_path: Path) -> None:
    folder = case("10")
    reference = folder / "scene_srgb.png"
    result = processed(
        folder / "scene_p3.png", tmp_path / "out", "--op", f"colour-match={reference},histogram"
    )
    assert result.exit_code == 0, result.output
    srgb = ImageCms.createProfile("sRGB")

    def shown(path: Path) -> np.ndarray:
        with PIL.Image.open(path) as picture:
            profile = ImageCms.getOpenProfile(io.BytesIO(picture.info["icc_profile"]))
            return np.asarray(ImageCms.profileToProfile(picture.convert("RGB"), profile, srgb), np.int64)

    # as seen; the two scenes themselves differ by up to 1
    assert np.abs(shown(tmp_path / "out" / "scene_p3.png") - shown(folder / "scene_p3.png")).max() <= 3


@pytest.mark.parametrize(
    ("name", "what"), [("xmp.jpg", "xmp"), ("dpi300.jpg", "resolution"), ("phys300.png", "resolution")]
)
def test_metadata_survives(case: Case, tmp_path: Path, name: str, what: str) -> None:
    before = read_image(case("12") / name)
    assert processed(tmp_path / "case" / name, tmp_path / "out").exit_code == 0
    after = read_image(tmp_path / "out" / name)
    assert getattr(before.metadata, what)
    if what == "resolution":
        assert np.allclose(after.metadata.resolution, (300, 300), atol=0.1)
    else:
        assert b"Subject" in after.metadata.xmp or b"subject" in after.metadata.xmp


def test_a_place_that_is_lost_is_named(case: Case, tmp_path: Path) -> None:
    before = read_image(case("12") / "geo.tif")
    assert before.metadata.geo
    result = processed(tmp_path / "case" / "geo.tif", tmp_path / "out", "--op", "flip", "-v")
    kept = read_image(tmp_path / "out" / "geo.tif").metadata.geo
    assert kept or "GeoTIFF" in result.stderr


@pytest.mark.parametrize("name", ["imagej.tif", "ome.ome.tif", "tifffile.tif", "cyx.tif"])
def test_descriptions_of_another_size_do_not_survive(case: Case, tmp_path: Path, name: str) -> None:
    processed(case("13") / name, tmp_path / "out", "--op", "resize=50%")
    for path in (p for p in (tmp_path / "out").iterdir() if p.is_file()):
        with PIL.Image.open(path) as stored:
            words = str(stored.tag_v2.get(270, ""))
        assert not any(claim in words for claim in ("images=", "SizeX", '"shape"'))


def test_big_tiffs_are_turned_once(case: Case) -> None:
    folder = case("15")
    upright = read_image(folder / "classic_jpeg_o3.tif")
    assert apart(read_image(folder / "big_jpeg_o3.tif"), upright) <= 2
    for kind in ("big_jpeg", "lab_big"):  # both hold the same rows as stored
        turned, on_its_side = (read_image(folder / f"{kind}_o{number}.tif") for number in (3, 6))
        assert np.array_equal(turned.pixels[::-1, ::-1], np.rot90(on_its_side.pixels))


def test_hidden_colours_are_not_measured(case: Case) -> None:
    folder = case("25")
    result = img2img("evaluate", "--protocol", "plain", "--pred", folder / "p", "--target", folder / "t")
    assert result.exit_code == 0, result.output
    assert "inf" in result.output


# --- finding files


@pytest.mark.parametrize("with_files", [False, True])
def test_links_to_pictures_are_found_or_named(case: Case, tmp_path: Path, with_files: bool) -> None:
    folder = case("16")
    (folder / "links" / "a.png").unlink()
    (folder / "links" / "a.png").symlink_to("../real/a.png")
    if with_files:
        shutil.copyfile(folder / "real" / "a.png", folder / "links" / "b.png")
    result = processed(folder / "links", tmp_path / "out")
    found = f"{1 + with_files} done" in result.stderr
    assert found or "link" in result.stderr


def test_trash_and_checkpoint_folders_are_left_alone(case: Case, tmp_path: Path) -> None:
    folder = case("17")
    result = processed(folder / "in", tmp_path / "out")
    assert "1 done" in result.stderr, result.stderr
    checked = img2img("data", "check", "--paired", folder / "pairs" / "A", folder / "pairs" / "B")
    assert "partner" not in checked.output


def test_modern_formats_take_part_in_training(case: Case) -> None:
    folder = case("19")
    result = img2img("data", "check", "--paired", folder / "A", folder / "B")
    assert "no partner" not in result.output
    result = img2img("data", "check", "--images", folder / "images", "--set", "crop_size=32")
    assert "7" in result.output or "HEIC" in result.output


def test_verbose_prints_our_lines_alone(case: Case, tmp_path: Path) -> None:
    folder = case("21")
    result = processed([folder / "jpeg.tif", folder / "lab.tif"], tmp_path / "out", "--op", "flip", "-v")
    assert "PIL" not in result.output
    assert "tag:" not in result.output


def test_no_error_of_an_image_is_outside_the_tree(test_data: Path) -> None:
    for path in sorted((test_data / "cases").rglob("*")):
        if path.suffix in (".jpg", ".png", ".tif", ".jp2", ".pam", ".gif"):
            try:
                read_image(path)
            except ImageError as error:
                assert error.path == path


# --- numbers of their own, and runs that go on


@pytest.mark.parametrize(
    ("prefix", "inner", "advice"),
    [("02", ".", "data.range"), ("02", "hu", "data.range"), ("26", ".", "data.range=[0,4095]")],
)
def test_data_check_says_which_range_is_missing(case: Case, prefix: str, inner: str, advice: str) -> None:
    folder = case(prefix) / inner
    result = img2img("data", "check", "--paired", folder / "A", folder / "B")
    assert advice in result.output.replace(" ", "").replace("\n", "")
    assert "one colour only" not in result.output


def test_data_check_names_a_picture_without_data(case: Case) -> None:
    result = img2img("data", "check", "--aligned", case("A08") / "one_1e38")
    assert "1e+38" in result.output


@pytest.mark.slow
def test_one_absurd_value_does_not_spoil_the_model(case: Case, tmp_path: Path) -> None:
    sets = ("steps=24", "save_every=3", "sample_every=0", "validate_every=0", "threads=1", "workers=0")
    options = [part for each in sets for part in ("--set", each)]
    run = tmp_path / "run"
    result = img2img("train", "smoke_pix2pix", "--aligned", case("A08") / "one_1e38", "-o", run, *options)
    assert "1e+38" in result.stderr
    assert img2img("model", "info", run / "last.safetensors").exit_code == 0


@pytest.mark.slow
def test_a_run_beyond_its_schedule_learns_or_says_that_it_does_not(case: Case, tmp_path: Path) -> None:
    folder, run = case("01"), tmp_path / "run"
    schedule = "schedule={kind: linear, constant_epochs: 1, decay_epochs: 1}"
    sets = ("steps=null", "epochs=2", schedule, "precision=fp32", "threads=1")
    options = [part for each in sets for part in ("--set", each)]
    pairs = ("--paired", folder / "A", folder / "B")
    assert img2img("train", "smoke_pix2pix", *pairs, "-o", run, *options).exit_code == 0
    result = img2img("train", "--resume", run, "--set", "epochs=6")
    assert "nothing will be learned" in result.stderr and "schedule.decay_epochs" in result.stderr
