"""The tables of papers, from their own pictures: MATLAB's bicubic rows and RCAN's published results."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest

from img2img import evaluate
from img2img.evaluation import Evaluation, SuperResolutionProtocol
from img2img.image import read_image

# mean PSNR and SSIM on Y; those of the 50 pictures of BSD100 are from the same MATLAB table as its 100
BICUBIC = {
    ("Set5", 2): (33.6404, 0.92922),
    ("Set5", 3): (30.3864, 0.86779),
    ("Set5", 4): (28.4177, 0.81008),
    ("Set14", 2): (30.2200, 0.86831),
    ("Set14", 4): (25.9933, 0.70226),
    ("BSD100", 4): (25.8556, 0.68068),
}
RCAN = {2: (38.27, 0.9614), 3: (34.74, 0.9299), 4: (32.63, 0.9002)}


@functools.cache
def bicubic(folder: Path, name: str, scale: int) -> Evaluation:
    return evaluate(folder / "data" / "sr" / name / f"image_SRF_{scale}", model="bicubic", scale=scale)


def matlab_table(path: Path, name: str) -> np.ndarray:
    io = pytest.importorskip("scipy.io")
    return np.asarray(io.loadmat(path)[name])[:, 0]  # the first column is bicubic


@pytest.mark.parametrize(
    ("name", "scale"),
    [pytest.param(*key, marks=[pytest.mark.slow] * (key[0] == "BSD100")) for key in BICUBIC],
)
@pytest.mark.sampled(1)
def test_bicubic_rows(test_data: Path, name: str, scale: int) -> None:
    found = bicubic(test_data, name, scale)
    assert not found.problems
    psnr, ssim = BICUBIC[name, scale]
    assert found.mean()["psnr_y"] == pytest.approx(psnr, abs=5e-5)
    assert found.mean()["ssim_y"] == pytest.approx(ssim, abs=1e-5)


@pytest.mark.parametrize(("name", "scale"), [("Set5", 2), ("Set5", 3), ("Set14", 4)])
@pytest.mark.sampled(1)
def test_every_picture_has_the_number_of_the_matlab_table(test_data: Path, name: str, scale: int) -> None:
    table = test_data / "data" / "sr" / "quant_eval_result" / f"result_{name}_SRF_{scale}.mat"
    psnr, ssim = matlab_table(table, "PSNR_table"), matlab_table(table, "SSIM_table")
    found = bicubic(test_data, name, scale)
    assert [score.values["psnr_y"] for score in found.scores] == pytest.approx(psnr, abs=4e-5)
    assert [score.values["ssim_y"] for score in found.scores] == pytest.approx(ssim, abs=2e-6)


@pytest.mark.parametrize(("name", "scale"), [("Set5", 2), ("Set5", 3), ("Set14", 4)])
@pytest.mark.sampled(1)
def test_low_resolution_files_are_reproduced(test_data: Path, name: str, scale: int) -> None:
    protocol = SuperResolutionProtocol(scale)
    for path in sorted((test_data / "data" / "sr" / name / f"image_SRF_{scale}").glob("*_HR.png")):
        made = protocol.low_resolution(protocol.truth(read_image(path))).pixels
        given = read_image(path.with_name(path.name.replace("_HR", "_LR"))).pixels
        assert np.array_equal(made, given), path.name


@pytest.mark.slow
def test_the_grey_picture_of_set14_makes_the_two_means_of_the_literature(test_data: Path) -> None:
    folder = test_data / "data" / "sr" / "Set14" / "image_SRF_4"
    through_y = evaluate(folder, model="bicubic", scale=4, grey="rgb")
    assert through_y.mean()["psnr_y"] == pytest.approx(26.09, abs=0.01)
    assert any("img_003" in remark and "as if stored in colour" in remark for remark in through_y.remarks())


@pytest.mark.parametrize("scale", RCAN)
@pytest.mark.sampled(1)
def test_published_rcan_outputs(test_data: Path, scale: int) -> None:
    rcan = test_data / "data" / "rcan_set5"
    predictions, targets = (
        rcan / "SR" / "BI" / "RCAN" / "Set5" / f"x{scale}",
        rcan / "OriginalTestData" / "Set5",
    )
    found: Evaluation = evaluate(targets, pred=predictions, scale=scale, y="float")
    assert len(found.scores) == 5 and not found.problems
    assert found.mean()["psnr_y"] == pytest.approx(RCAN[scale][0], abs=0.005)
    assert found.mean()["ssim_y"] == pytest.approx(RCAN[scale][1], abs=0.00005)


def test_given_inputs_give_the_same_as_made_ones(test_data: Path) -> None:
    folder = test_data / "data" / "sr" / "Set5" / "image_SRF_4"
    given = evaluate(folder, model="bicubic", inputs=folder, scale=4)
    assert len(given.scores) == 5 and not given.problems
    assert given.mean() == bicubic(test_data, "Set5", 4).mean()
