"""Folders of runs made on the spot, as they are found: whole, broken off, damaged, hostile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from img2img.image import Image, write_image

CONFIG = "seed: 0\nmethod:\n  name: {method}\n  generator:\n    name: unet\ntraining:\n  steps: {steps}\n"


def make_run(
    folder: Path, steps: int = 10, total: int = 10, method: str = "pix2pix", shift: float = 0.0
) -> Path:
    """Makes a run that has logged each step, and drawn a grid at every fifth."""
    (folder / "samples").mkdir(parents=True)
    (folder / "config.yaml").write_text(CONFIG.format(method=method, steps=total), encoding="utf-8")
    lines = []
    for step in range(1, steps + 1):
        losses = {"g_l1": 10 / step + shift, "d_real": 0.5, "norm_generator": 3.0}
        lines.append(line(step, "training", epoch=step // 4, losses=losses, rates={"generator": 2e-4}))
        if step % 5 == 0:
            lines.append(line(step, "validation", psnr=20.0 + step % 7 + shift, ssim=0.5))
            draw(folder / "samples" / f"step_{step:08}.png", step)
    (folder / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def line(step: int, kind: str, **values: Any) -> str:
    return json.dumps({"step": step, "samples": 4 * step, "kind": kind} | values) + "\n"


def draw(path: Path, seed: int, height: int = 24, width: int = 32) -> Path:
    """Writes a picture of coloured noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    write_image(Image(pixels), path)
    return path


def facts_of(page: Path) -> dict[str, Any]:
    """Returns what a page has in it, as its script reads it."""
    text = (
        page.read_text("ascii", errors="strict") if page.read_bytes().isascii() else page.read_text("utf-8")
    )
    found: dict[str, Any] = json.loads(text.partition('id="facts">')[2].partition("</script>")[0])
    return found
