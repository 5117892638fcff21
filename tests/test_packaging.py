"""What an installed user gets: looked up in a wheel and in an editable install."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

import img2img

ROOT = Path(__file__).resolve().parent.parent
MAN = ROOT / "docs" / "man"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source tree, because building writes beside the sources."""
    target = tmp_path_factory.mktemp("checkout") / "img2img"
    ignored = shutil.ignore_patterns(".git", "*.egg-info", "build", "__pycache__", ".*_cache", "runs")
    shutil.copytree(ROOT, target, ignore=ignored)
    return target


def build(checkout: Path, hook: str, into: Path) -> Path:
    """Calls a hook of the build backend as pip does, but needs no network."""
    into.mkdir(exist_ok=True)
    code = f"import sys; sys.path.insert(0, 'tools/packaging'); import backend; backend.{hook}({str(into)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=checkout, check=True, capture_output=True)
    (built,) = into.iterdir()
    return built


def test_every_package_and_every_file_in_one_is_named_in_the_setup() -> None:
    """What wheels and editable installs are made of; the slow tests make both."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    moved = dict(line.split(" = ") for line in config["options"]["package_dir"].strip().splitlines())
    places = {moved.get(name, name.replace(".", "/")): name for name in config["options"]["packages"].split()}
    tops = [ROOT / name for name in ("img2img", *moved.values())]
    files = [file for top in tops for file in top.rglob("*") if file.is_file() and file.suffix != ".pyc"]
    assert {file.parent.relative_to(ROOT).as_posix() for file in files if file.suffix == ".py"} == set(places)
    for file in files:
        if file.suffix == ".py":
            continue
        name = file.relative_to(ROOT)
        place = next(folder for folder in name.parents if folder.as_posix() in places)
        inside = name.relative_to(place)
        patterns = config["options.package_data"].get(places[place.as_posix()], "").split(",")
        depths = [Path(each.strip()) for each in patterns]
        assert any(inside.match(str(d)) and len(inside.parts) == len(d.parts) for d in depths), name


@pytest.mark.slow
def test_the_wheel_holds_configs_and_recipes_inside_the_package(checkout: Path, tmp_path: Path) -> None:
    stale = checkout / "build" / "lib" / "img2img" / "removed.py"
    stale.parent.mkdir(parents=True)
    stale.write_text("of an earlier build")
    wheel = build(checkout, "build_wheel", tmp_path / "wheel")
    assert wheel.stat().st_size < 20e6
    names = zipfile.ZipFile(wheel).namelist()
    assert not [name for name in names if name.endswith("removed.py")]
    pages = {f"{wheel.name.rsplit('-', 3)[0]}.data/data/share/man/man1/{p.name}" for p in MAN.glob("*.1")}
    assert len(pages) > 20
    assert pages == {name for name in names if ".data/" in name}
    assert {name.split("/")[0] for name in {*names} - pages if ".dist-info" not in name} == {"img2img"}
    assert "img2img/py.typed" in names
    assert "img2img/recipes/__init__.py" in names
    for folder, package in (("configs", "configs"), ("datasets", "recipes")):
        for file in (ROOT / folder).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                assert f"img2img/{package}/{file.relative_to(ROOT / folder).as_posix()}" in names
    files = [p for p in (ROOT / "img2img").rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    assert {p.relative_to(ROOT).as_posix() for p in files} <= set(names), "a package is missing in setup.cfg"
    assert {"img2img/weights/x4.safetensors", "img2img/weights/x4.md"} <= set(names)
    assert [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]


@pytest.mark.slow
def test_two_builds_are_the_same_to_the_byte(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From files of other times, with other rights, in another place, and from the source archive."""
    other = tmp_path / "other"
    shutil.copytree(checkout, other, copy_function=shutil.copyfile)
    for path in other.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
        os.utime(path, (2e9, 2e9))
    source = build(checkout, "build_sdist", tmp_path / "sdist")
    with tarfile.open(source) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert (unpacked / "tests" / "conftest.py").is_file()
    wheels = [
        build(each, "build_wheel", tmp_path / f"of_{each.name}") for each in (checkout, other, unpacked)
    ]
    assert len({wheel.read_bytes() for wheel in wheels}) == 1
    assert source.read_bytes() == build(other, "build_sdist", tmp_path / "again").read_bytes()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    with zipfile.ZipFile(build(other, "build_wheel", tmp_path / "dated")) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(2023, 11, 14, 22, 13, 20)}


@pytest.mark.slow
def test_the_wheel_works_in_a_fresh_environment(checkout: Path, tmp_path: Path) -> None:
    """Installed by pip, with the packages of this interpreter and nothing of a checkout."""
    wheel = build(checkout, "build_wheel", tmp_path / "wheel")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    home = tmp_path / "environment"
    venv.create(home)
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index"]
    subprocess.run([*command, str(wheel)], check=True, capture_output=True, env=environment)
    where = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip())
    (site / "required.pth").write_text(sysconfig.get_path("purelib"))  # last, and its own .pth are not read
    assert (home / "share" / "man" / "man1" / "img2img-upscale.1").is_file()
    shutil.copytree(ROOT / "datasets" / "sample", tmp_path / "photos")

    def run(*words: str) -> str:
        done = subprocess.run([*words], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    found = run(str(python), "-c", "import img2img; print(img2img.__file__)")
    assert Path(found.strip()).is_relative_to(site)
    program = str(python.with_name("img2img"))
    assert run(program, "--version").strip().endswith(img2img.__version__)
    run(program, "process", "photos", "-o", "out", "--op", "clahe")
    assert len(list((tmp_path / "out").glob("*.jpg"))) == 3
    run(program, "demo", "-o", "demo")
    assert (tmp_path / "demo" / "compare.png").is_file()


@pytest.mark.slow
def test_an_editable_install_finds_them_too(checkout: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(build(checkout, "build_editable", tmp_path / "wheel")).extractall(site)
    code = f"""
import importlib.util, site, sys
site.addsitedir({str(site)!r})
from importlib.resources import files
import img2img, img2img.configs, img2img.recipes
print(files("img2img.recipes").joinpath("sample", "SOURCES.md").is_file())
print(img2img.__file__.startswith({str(checkout)!r}), img2img.recipes.__file__.startswith({str(checkout)!r}))
print(importlib.util.find_spec("datasets"), importlib.util.find_spec("configs"))
"""
    isolated = {**os.environ, "PYTHONPATH": ""}
    run = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=tmp_path,
        env=isolated,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == ["True", "True", "True", "None", "None"]


def test_both_opencv_distributions_keep_one_version_range() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["options"]["install_requires"].split("\n")
    ranges = {line.replace("-headless", "") for line in lines if line.startswith("opencv-python")}
    assert len(ranges) == 1


def test_the_page_on_installing_names_every_extra() -> None:
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    page = (ROOT / "docs" / "install.md").read_text("utf-8")
    table = re.findall(r"^\| (`.+?`) \|", page, re.MULTILINE)
    assert set(config["options.extras_require"]) == {
        each for row in table for each in re.findall(r"`(\w+)`", row)
    }
    for extra in re.findall(r"\.\[([\w,]+)\]", page):
        assert set(extra.split(",")) <= set(config["options.extras_require"])


CONDA = {"torch": "pytorch", "opencv-python": "py-opencv", "opencv-python-headless": "py-opencv"}


def wanted_of_conda() -> dict[str, str]:
    """Returns what setup.cfg requires, by the names of conda-forge: name and bounds."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    lines = [f"python{config['options']['python_requires']}"]
    lines += [line for line in config["options"]["install_requires"].strip().split("\n") if line[0] != "#"]
    found = {}
    for line in lines:
        name, bounds = re.fullmatch(r"([\w-]+)(.*)", line).groups()  # type: ignore[union-attr]
        assert ";" not in bounds, "conda has no markers: say what becomes of this one"
        found[CONDA.get(name, name.lower())] = bounds
    return found


def test_the_recipe_for_conda_says_what_the_setup_says() -> None:
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    recipe = yaml.safe_load((ROOT / "tools" / "packaging" / "recipe.yaml").read_text("utf-8"))
    assert dict(line.split(" ") for line in recipe["requirements"]["run"]) == wanted_of_conda()
    assert recipe["context"]["version"] == img2img.__version__
    entry = config["options.entry_points"]["console_scripts"].strip()
    assert recipe["build"]["python"]["entry_points"] == [entry]
    build = re.findall(r'^requires = \["(.+)"\]$', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    host = {line.replace(" ", "") for line in recipe["requirements"]["host"]}
    assert build
    assert {*build, f"python{config['options']['python_requires']}"} <= host
    assert (recipe["about"]["summary"], recipe["about"]["license"]) == (
        config["metadata"]["description"],
        config["metadata"]["license"],
    )
    assert (ROOT / "tools" / "packaging" / recipe["source"]["path"]).resolve() == ROOT


@pytest.mark.slow
def test_rattler_build_renders_the_recipe() -> None:
    rattler_build = pytest.importorskip("rattler_build", reason="py-rattler-build is not installed")
    recipe = rattler_build.Stage0Recipe.from_file(str(ROOT / "tools" / "packaging" / "recipe.yaml"))
    (variant,) = recipe.render()
    rendered = variant.recipe() if callable(variant.recipe) else variant.recipe
    assert dict(str(each).split(" ") for each in rendered.requirements.run) == wanted_of_conda()
