"""A method in a package of one's own: the example of CONTRIBUTING as it stands there, and broken ones."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from img2img.cli.doctor import packages
from img2img.cli.main import cli
from img2img.image import Image, write_image
from img2img.methods import methods
from img2img.models import generators
from img2img.registry import Registry, _points

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
SIZES = (
    "load_size=32",
    "crop_size=32",
    "workers=0",
    "device=cpu",
    "generator.features=4",
    "generator.downs=4",
)


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where packages are installed; what they bring is forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path / "site")
    for registry in (methods, generators):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
        monkeypatch.setattr(registry, "broken", {})
    return tmp_path / "site"


def install(site: Path, package: str, points: dict[str, str], code: str | None, folder: str = "") -> None:
    """Does what pip does."""
    info = site / f"{folder or package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"[{group}]\n{point}\n" for group, point in points.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))
    if code is not None:
        (site / f"{package}.py").write_text(code)
    sys.modules.pop(package, None)
    importlib.invalidate_caches()
    _points.cache_clear()  # nobody looks twice in one program


def install_the_example(site: Path) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    (project,) = re.findall(r"^```toml\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    (name,) = re.findall(r'^name = "(\w+)"$', project, re.MULTILINE)
    (group,) = re.findall(r'^\[project\.entry-points\."(.+)"\]$', project, re.MULTILINE)
    ((method, place),) = re.findall(r'^(\w+) = "(\w+:\w+)"$', project, re.MULTILINE)
    assert (method, f"--method {method} " in GUIDE) == ("accent", True)
    install(site, name, {group: f"{method} = {place}"}, code)


def img2img(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


@pytest.fixture
def places(tmp_path: Path) -> list[str]:
    """Pairs with masks, as options."""
    random = np.random.default_rng(0)
    for i in range(4):
        for folder, channels in (("a", 3), ("b", 3), ("masks", 1)):
            (tmp_path / folder).mkdir(exist_ok=True)
            pixels = random.integers(0, 2, (32, 32, channels), np.uint8) * 255
            write_image(Image(pixels), tmp_path / folder / f"{i}.png")
    return ["--paired", str(tmp_path / "a"), str(tmp_path / "b"), "--field", f"mask={tmp_path}/masks"]


def sets(*more: str) -> list[str]:
    return [word for each in (*SIZES, *more) for word in ("--set", each)]


def test_the_example_of_the_guide_is_trained_resumed_and_used(
    site: Path, places: list[str], tmp_path: Path
) -> None:
    install_the_example(site)
    run = tmp_path / "run"
    result = img2img("train", "--method", "accent", *places, "-o", run, *sets("steps=1"))
    assert result.exit_code == 0, result.output
    assert img2img("train", "--resume", run, "--set", "steps=2").exit_code == 0
    used = img2img("translate", tmp_path / "a", "-o", tmp_path / "out", "-m", run / "last.safetensors")
    assert used.exit_code == 0 and len(list((tmp_path / "out").glob("*.png"))) == 4
    assert img2img("data", "check", "--method", "accent", *places).exit_code in (0, 1)
    config = img2img("config", "init", "accent", "-o", tmp_path / "mine.yaml")
    assert (
        config.exit_code == 0
        and "mistakes count where the mask is white" in (tmp_path / "mine.yaml").read_text()
    )
    assert img2img("config", "validate", tmp_path / "mine.yaml").exit_code == 0
    assert "method (accent).accent" in img2img("config", "schema", "accent").stdout
    assert "accent" in list(methods)


BROKEN = {
    "missing": ("does.not.exist:Thing", None, "No module named 'does"),
    "raises": ("faulty:Thing", "raise RuntimeError('no\\x1b[2J licence')", "RuntimeError: no"),
    "exits": ("faulty:Thing", "import sys; sys.exit('usage: faulty')", "usage: faulty"),
    "syntax": ("faulty:Thing", "class Thing(:", "SyntaxError"),
    "no class": ("faulty:Thing", "Thing = 3", "no class that derives from Method"),
    "other class": ("faulty:Thing", "class Thing: pass", "no class that derives from Method"),
    "absent": ("faulty:Other", "class Thing: pass", "has no attribute 'Other'"),
    "taken": (
        "faulty:Thing",
        "from img2img.methods import methods, Pix2Pix\nThing = methods.register('pix2pix')(Pix2Pix)",
        "is registered twice",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.sampled(4)
def test_a_broken_package_is_a_sentence_for_who_names_it_and_nothing_for_others(
    site: Path, places: list[str], tmp_path: Path, kind: str
) -> None:
    point, code, reason = BROKEN[kind]
    install(site, "faulty", {"img2img.methods": f"wobble = {point}"}, code)
    (tmp_path / "mine.yaml").write_text("method: {name: wobble}\ndata: {aligned: x}\ntraining: {steps: 1}\n")
    for command in (
        ["train", "--method", "wobble", *places, "-o", tmp_path / "run"],
        ["train", tmp_path / "mine.yaml", "-o", tmp_path / "run"],
        ["config", "init", "wobble"],
        ["data", "check", "--method", "wobble", *places],
    ):
        result = img2img(*command)
        assert result.exit_code == 2 and result.exception.__class__ is SystemExit, result.output
        assert "the method 'wobble' of the package faulty cannot be imported" in result.stderr
        assert reason in result.stderr and "\x1b" not in result.stderr
    assert img2img("config", "init", "pix2pix").exit_code == 0
    assert img2img("config", "schema", "crop_size").exit_code == 0
    assert "pix2pix" in list(methods) and "wobble" not in methods
    assert [(found.topic, found.status) for found in packages()] == [("method wobble", "problem")]
    assert (
        "did you mean 'inpainting'" in img2img("train", "--method", "inpaintin", *places, "--dry-run").stderr
    )


def test_two_packages_with_one_name_and_files_that_are_none(site: Path) -> None:
    thing = "from img2img.methods import Pix2Pix\nclass Thing(Pix2Pix): pass"
    for package in ("one", "two"):
        install(site, package, {"img2img.methods": f"wobble = {package}:Thing"}, thing)
    install(site, "mangled", {"img2img.methods": "this is no = = line\n\x00["}, None)
    install(site, "one", {"img2img.methods": "wobble = one:Thing"}, None, folder="one_again")  # left over
    assert "wobble" not in methods
    assert methods.missing("wobble") == (
        "the packages one and two bring the method 'wobble' each; uninstall one."
    )


def test_a_generator_of_a_package_is_built_by_its_name(site: Path) -> None:
    code = (
        "from torch import nn\nfrom img2img.models import Generator\n"
        "class Plain(Generator):\n    def __init__(self, in_channels=3, out_channels=3, width=4): ...\n"
    )
    install(site, "nets", {"img2img.generators": "plain = nets:Plain"}, code)
    assert generators["plain"].name == "plain"
    install(site, "bad", {"img2img.generators": "worse = bad:Plain"}, "import nothing_like_this")
    result = img2img("config", "validate", "pix2pix_facades", "--set", "method.generator={name: worse}")
    assert result.exit_code == 2 and "the generator 'worse' of the package bad" in result.stderr
    result = img2img(
        "config", "validate", "pix2pix_facades", "--set", "method.generator={name: plain, widt: 3}"
    )
    assert result.exit_code == 2 and "did you mean 'width'" in result.stderr


def test_packages_are_not_imported_before_they_are_asked_for(site: Path) -> None:
    install(
        site, "lazy", {"img2img.things": "late = lazy:Late", "other.group": "x = nowhere"}, "class Late: pass"
    )
    things: Registry[type] = Registry("thing", "img2img.things")
    things.register("own")(int)
    assert things["own"] is int and "lazy" not in sys.modules
    assert "nothing" not in things and "lazy" not in sys.modules
    assert things["late"].__name__ == "Late" and list(things) == ["late", "own"] and len(things) == 2


@pytest.mark.slow
def test_two_processes_find_it(site: Path, places: list[str], tmp_path: Path) -> None:
    install_the_example(site)
    paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT)]
    command = [sys.executable, "-m", "img2img", "train", "--method", "accent", *places, "--devices", "2"]
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "run"), *sets("steps=1")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "last.safetensors").exists()
