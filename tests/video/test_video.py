"""Videos through the batch engine: what comes out, beside the frames, is what went in."""

import numpy as np
import pytest
from clips import Invert, convert, look, make_clip

from img2img.image import Image, write_image

pytest.importorskip("av", reason="videos need PyAV")


def test_a_folder_of_pictures_and_videos(tmp_path):
    """Stands for phones' folders: a turned video with sound beside a picture and files that are none."""
    source, output = tmp_path / "in", tmp_path / "out"
    make_clip(source / "turned.mp4", audio=1, turn=90)
    write_image(Image(np.full((8, 9, 3), 50, np.uint8)), source / "picture.png")
    (source / "text.mp4").write_text("no video")
    (source / "empty.mov").touch()
    process = Invert()
    results = convert(source, output, process, codec="libx264rgb", crf=0)
    assert {name: r.status for name, r in results.items()} == {
        "turned.mp4": "done",
        "picture.png": "done",
        "text.mp4": "failed",
        "empty.mov": "failed",
    }
    assert "not a video" in results["text.mp4"].reason and "empty" in results["empty.mov"].reason
    before, after = look(source / "turned.mp4"), look(output / "turned.mp4")
    assert before.packets == after.packets and before.times == after.times
    assert after.facts["rotation"] == 90 and after.facts["size"] == (64, 48)
    assert max(process.batches) > 1
    assert results["turned.mp4"].video["frames"] == 12 and results["turned.mp4"].video["fps"] == 25
    assert not (output / ".img2img" / "video").exists()
    again = convert(source, output, process, codec="libx264rgb", crf=0)
    assert again["turned.mp4"].status == "skipped"
