from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from img2img.errors import ProcessingError
from img2img.image import write_image
from img2img.image.image import Image
from img2img.processors import parse_operations


def run(image: Image, *texts: str) -> Image:
    return parse_operations(texts).apply(image)


def test_grayscale(picture):
    result = run(Image(picture), "grayscale").pixels
    expected = np.asarray(Pillow.fromarray(picture).convert("L"))
    assert result.shape == (96, 128, 1)
    assert np.abs(result[:, :, 0].astype(int) - expected).max() <= 1
    exact = np.rint(picture @ np.array([0.2126, 0.7152, 0.0722]))
    assert np.abs(run(Image(picture), "grayscale=bt709").pixels[:, :, 0] - exact).max() <= 1
    kept = run(Image(picture), "grayscale=mean,keep_channels").pixels
    assert kept.shape == picture.shape and np.ptp(kept, axis=2).max() == 0
    assert np.abs(kept[:, :, 0] - picture.mean(axis=2)).max() <= 0.51


def test_reinhard_gives_the_reference_its_moments(picture, reference_file):
    source = (picture * 0.5 + 60).astype(np.float32) / 255
    result = run(Image(source), f"colour-match={reference_file}").pixels
    reference = np.asarray(Pillow.open(reference_file), np.float32) / 255
    found, goal = (cv2.cvtColor(p, cv2.COLOR_RGB2LAB).reshape(-1, 3) for p in (result, reference))
    np.testing.assert_allclose(found.mean(0), goal.mean(0), atol=2)
    np.testing.assert_allclose(found.std(0), goal.std(0), rtol=0.15)


def test_histograms_match(picture, reference_file):
    result = run(Image(picture), f"colour-match={reference_file},histogram").pixels
    reference = np.asarray(Pillow.open(reference_file))
    for c in range(3):
        fractions = np.linspace(0.02, 0.98, 49)
        found, goal = (np.quantile(p[:, :, c], fractions) for p in (result, reference))
        assert np.abs(found - goal).max() <= 3
        assert np.abs(np.quantile(picture[:, :, c], fractions) - goal).max() > 20


def test_matching_itself_changes_nothing(reference_file):
    same = Image(np.asarray(Pillow.open(reference_file)))
    for method in ("reinhard", "histogram"):
        result = run(same, f"colour-match={reference_file},{method}").pixels
        assert np.abs(result.astype(int) - same.pixels).max() <= 1


def test_gray_and_colour_can_match_and_others_say_so(picture, reference_file):
    gray = run(Image(np.ascontiguousarray(picture[:, :, :1])), f"colour-match={reference_file}")
    reference = Pillow.open(reference_file).convert("L")
    assert gray.pixels.mean() == pytest.approx(np.asarray(reference).mean(), abs=2)
    with pytest.raises(ProcessingError, match="5 channels cannot match a reference with 3"):
        run(Image(np.ones((3, 3, 5), np.uint8)), f"colour-match={reference_file}")


def test_the_reference_is_read_once(picture, reference_file, monkeypatch):
    from img2img.processors import values

    reads = []
    real = values.decode
    monkeypatch.setattr(values, "decode", lambda *a, **k: reads.append(1) or real(*a, **k))
    chain = parse_operations([f"colour-match={reference_file}"])
    chain([Image(picture), Image(picture)])
    assert len(reads) == 1


@pytest.mark.parametrize("method", ["reinhard", "histogram"])
def test_hidden_colours_of_a_reference_do_not_count(tmp_path, picture, method):
    alpha = np.zeros(picture.shape[:2], np.uint8)
    alpha[20:50] = 255
    results = []
    for hidden in (0, 255):
        path = tmp_path / f"{hidden}.png"
        write_image(Image(np.where(alpha[..., None] > 0, picture, hidden).astype(np.uint8), alpha), path)
        results.append(parse_operations([f"colour-match={path},{method}"]).operations[0](Image(picture)))
    np.testing.assert_array_equal(results[0].pixels, results[1].pixels)
    write_image(Image(picture, np.zeros_like(alpha)), tmp_path / "nothing.png")
    with pytest.raises(ProcessingError, match="nothing can be seen of the reference"):
        parse_operations([f"colour-match={tmp_path / 'nothing.png'},{method}"]).operations[0](Image(picture))
