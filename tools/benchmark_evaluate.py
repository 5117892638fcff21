"""How fast folders are measured: `python tools/benchmark.py evaluate`."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from benchmark import FOLDER, JSON, _demand, _show

from img2img.evaluation import evaluate as measure
from img2img.image import Image, read_image, write_image
from img2img.image.resize import resize

_BASELINE = 50  # pairs that scikit-image takes; it is slow, and a ratio needs no more


@click.command()
@click.option(
    "--pairs", default=1000, show_default=True, help="Pairs of 256 x 256 pixels, in colour, as PNG."
)
@click.option("--maximum", default=60.0, show_default=True, help="Fail above so many seconds for 1000 pairs.")
@FOLDER
@JSON
def evaluate(pairs: int, maximum: float, folder: Path | None, as_json: bool) -> None:
    """Measure PSNR, SSIM and L1 of two folders, beside scikit-image in a plain loop.

    scikit-image computes PSNR and SSIM of the same definition from the same files, in this process, one pair
    after the other.
    """
    with tempfile.TemporaryDirectory(dir=folder) as name:
        root = Path(name)
        _make_pairs(root, pairs)
        started, used = time.perf_counter(), time.process_time()
        found = measure(root / "target", pred=root / "pred", protocol="plain")
        seconds, cpu = time.perf_counter() - started, time.process_time() - used
        if found.problems or len(found.scores) != pairs:
            raise click.ClickException(f"measured {len(found.scores)} of {pairs} pairs")
        baseline = _baseline(root, min(pairs, _BASELINE), found.scores)
    each = seconds / pairs
    numbers = {
        "pairs": pairs,
        "cpus": len(os.sched_getaffinity(0)),
        "seconds_for_1000": round(1000 * each, 1),
        "cpu_seconds_for_1000": round(1000 * cpu / pairs, 1),
        "scikit_image_for_1000": None if baseline is None else round(1000 * baseline, 1),
        "scikit_image_to_img2img": None if baseline is None else round(baseline / each, 2),
    }
    rows = [
        (
            "img2img",
            f"{1000 * each:.1f} s",
            f"for 1000 pairs on {numbers['cpus']} CPUs; {numbers['cpu_seconds_for_1000']} s of CPU time",
        )
    ]
    if baseline is not None:
        rows.append(("scikit-image", f"{1000 * baseline:.1f} s", f"{baseline / each:.2f} times as long"))
    _show(numbers, rows, as_json)
    _demand(1000 * each <= maximum, f"1000 pairs take {1000 * each:.0f} s")


def _make_pairs(root: Path, count: int) -> None:
    for side in ("target", "pred"):
        (root / side).mkdir()
    for seed in range(count):
        random = np.random.default_rng(seed)
        truth = resize(random.integers(0, 256, (40, 40, 3), np.uint8), 256, 256)
        made = np.clip(truth + random.normal(0, 6, truth.shape), 0, 255).astype(np.uint8)
        for side, pixels in (("target", truth), ("pred", made)):
            write_image(Image(pixels), root / side / f"{seed:05}.png")


def _baseline(root: Path, count: int, scores: list) -> float | None:
    """Returns the seconds a pair takes in scikit-image, whose numbers have to be the same."""
    try:
        from skimage.metrics import peak_signal_noise_ratio, structural_similarity
    except ImportError:
        return None
    started = time.perf_counter()
    for score in scores[:count]:
        a, b = (read_image(root / side / score.name).pixels.astype(np.float64) for side in ("target", "pred"))
        psnr = peak_signal_noise_ratio(a, b, data_range=255)
        gauss = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        _, full = structural_similarity(a, b, data_range=255, channel_axis=2, full=True, **gauss)
        ssim = full[5:-5, 5:-5].mean()
        if abs(psnr - score.values["psnr"]) > 1e-6 or abs(ssim - score.values["ssim"]) > 1e-6:
            raise click.ClickException(f"{score.name}: {psnr} {ssim} and {dict(score.values)} differ")
    return (time.perf_counter() - started) / count
