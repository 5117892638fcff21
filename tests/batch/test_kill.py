"""kill -9 at random moments: no partial output under a final name, and the same command completes it."""

import os
import random
import signal
import subprocess
import time

import numpy as np
import programs
import pytest
from folders import Fake, convert, fill, statuses

from img2img.image import read_image

SCRIPT = """
import sys
from pathlib import Path
from img2img.batch import plan, run

class Invert:
    def group_key(self, image):
        return image.pixels.shape
    def __call__(self, images):
        return [image.replace(pixels=255 - image.pixels) for image in images]

print("ready", flush=True)
for result in run(plan([Path(sys.argv[1])], Path(sys.argv[2])), Invert(), jobs=2):
    assert result.status != "failed", result
"""


def kill_again_and_again(tmp_path, files: int, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    source, output = (
        fill(tmp_path / "in", [f"{i % 7}/{i}.png" for i in range(files)], 60, 80),
        tmp_path / "out",
    )
    expected = {p.relative_to(source): 255 - read_image(p).pixels for p in source.rglob("*.png")}
    command = ["-c", SCRIPT, source, output]
    killed = 0
    for _ in range(kills):
        process = programs.start(command, stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        process.stdout.close()
        for path in output.rglob("*.png"):
            np.testing.assert_array_equal(read_image(path).pixels, expected[path.relative_to(output)])
    assert killed > 0
    assert programs.run(command).returncode == 0
    assert {p.relative_to(output) for p in output.rglob("*.png")} == set(expected)
    assert not [name for _, _, names in os.walk(output) for name in names if name.endswith(".part")]
    fake = Fake()
    assert set(statuses(convert(source, output, fake)).values()) == {"skipped"} and not fake.calls


def test_kill(tmp_path):
    kill_again_and_again(tmp_path, files=120, kills=3, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_kill_many_times(tmp_path, seed):
    kill_again_and_again(tmp_path, files=900, kills=25, seed=seed)
