"""What the completion key offers: by click's own interface, and in real shells."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from img2img.cli.main import COMMANDS, cli

MARK = "_IMG2IMG_COMPLETE"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "x4_mine.safetensors").touch()
    (tmp_path / "mine.yaml").touch()
    (tmp_path / "photos").mkdir()
    return tmp_path


def offered(line: str) -> set[str]:
    *words, begun = line.split(" ")
    found = ShellComplete(cli, {}, "img2img", MARK).get_completions(words, begun)
    return {each.value if each.type == "plain" else f"<{each.type}>" for each in found}


def test_commands_and_options() -> None:
    assert offered("") == set(COMMANDS)
    assert offered("tra") == {"translate", "train"}
    assert offered("--ver") == {"--version"}
    assert offered("data pre") == {"preview"}
    assert {"--strength", "--strip-gps", "--strip-metadata"} <= offered("upscale --str")


@pytest.mark.parametrize(
    ("line", "some", "none"),
    [
        ("upscale photos -m ", {"x2", "x4", "clean", "x4_mine.safetensors"}, {"mine.yaml"}),
        ("upscale photos -m x4", {"x4", "x4_mine.safetensors"}, {"x2"}),
        ("restore photos --model c", {"clean"}, {"x4"}),
        ("evaluate -m x", {"x2", "x4"}, set()),
        ("model info cl", {"clean"}, set()),
        ("process photos --op cl", {"clahe"}, {"sharpen"}),
        ("process photos --op clahe=", set(), {"clahe"}),
        ("process photos --op model=x", {"model=x2", "model=x4"}, set()),
        ("process photos --recipe ", {"web", "scan", "enhance", "mine.yaml"}, {"recipe_web"}),
        ("process photos --ext w", {"webp"}, {"png"}),
        ("train p", {"pix2pix", "pix2pix_facades"}, {"recipe_web"}),
        ("train --method sup", {"super_resolution"}, set()),
        ("config init cyc", {"cyclegan", "cyclegan_horse2zebra"}, set()),
        ("config validate ", {"smoke_cut", "mine.yaml"}, {"recipe_web", "cyclegan"}),
        ("data download fac", {"facades"}, {"maps"}),
        ("upscale --device c", {"cpu", "cuda"}, {"mps"}),
        ("upscale ph", {"<file>"}, set()),
        ("upscale -m photos/", {"<file>"}, {"x4"}),
        ("inpaint photos --mask m", {"<file>"}, set()),
        ("completion z", {"zsh"}, {"bash"}),
    ],
)
def test_values(line: str, some: set[str], none: set[str]) -> None:
    found = offered(line)
    assert some <= found
    assert not none & found


def test_methods_and_operations_are_those_of_the_registries() -> None:
    from img2img.methods import methods
    from img2img.processors import processors

    assert offered("train --method ") == set(methods)
    assert offered("process photos --op ") == set(processors)


@pytest.fixture
def shell_environment(folder: Path) -> dict[str, str]:
    """An environment with an `img2img` of this interpreter."""
    program = folder / "bin" / "img2img"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m img2img "$@"\n')
    program.chmod(0o755)
    import img2img

    return {
        "PATH": f"{program.parent}{os.pathsep}/usr/bin{os.pathsep}/bin",
        "PYTHONPATH": str(Path(img2img.__file__).parent.parent),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "HOME": str(folder),
        "TERM": "dumb",
    }


def typed(shell: list[str], environment: dict[str, str], first: str, keys: str, until: str) -> str:
    """Types into a shell at a terminal, and returns what it shows up to `until`, or in a minute."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(shell[0], shell, environment)
    shown, deadline = "", time.monotonic() + 60
    try:
        os.write(terminal, f"{first}; echo rea''dy\n".encode())
        while time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.2)[0]:
                shown += os.read(terminal, 4096).decode(errors="replace")
            if "ready" in shown and keys:
                os.write(terminal, keys.encode())
                keys, shown = "", ""
            if not keys and until in shown:
                break
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(terminal)
    return shown


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keys", "until"),
    [
        ("img2img ups\t", "img2img upscale "),
        ("img2img upscale pho\t", "upscale photos/"),
        ("img2img restore photos -m cl\t", "-m clean "),
        ("img2img process photos --op clah\t", "--op clahe "),
        ("img2img process photos --recipe sc\t", "--recipe scan "),
    ],
)
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_at_a_terminal(keys: str, until: str, shell_environment: dict[str, str]) -> None:
    start = 'eval "$(img2img completion bash)"'
    assert until in typed(["bash", "--norc", "--noprofile", "-i"], shell_environment, start, keys, until)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_completes_at_a_terminal(shell_environment: dict[str, str]) -> None:
    start = 'autoload -Uz compinit; compinit -u; eval "$(img2img completion zsh)"'
    shown = typed(
        ["zsh", "-f", "-i"], shell_environment, start, "img2img restore photos -m cl\t", "-m clean "
    )
    assert "-m clean " in shown


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
def test_fish_completes(shell_environment: dict[str, str]) -> None:
    code = "img2img completion fish | source; complete -C 'img2img restore photos -m cl'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", code], env=shell_environment, capture_output=True, text=True
    )
    assert "clean" in done.stdout.split(), done.stderr
