"""The documentation: its commands are commands, its first hour runs, and it builds with all public names."""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from test_readme import without_times

from img2img.cli.main import cli

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.glob("*.md")), ROOT / "README.md"]
PACKAGES = (
    *(
        "img2img",
        "img2img.image",
        "img2img.processors",
        "img2img.batch",
        "img2img.models",
        "img2img.checkpoint",
    ),
    *("img2img.inference", "img2img.fields", "img2img.methods", "img2img.training", "img2img.data"),
    *("img2img.metrics", "img2img.evaluation", "img2img.report", "img2img.errors"),
)


def commands(page: Path) -> list[str]:
    """Returns the lines with `img2img` in the shell blocks of a page, continued ones joined."""
    blocks = re.findall(r"^```(?:sh|console)\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").split("\n")
    found = (re.search(r"(?:^|[$&;] |do )(img2img .*)", line) for line in lines)
    return [match[1] for match in found if match]


def words(command: str) -> list[str]:
    """Returns the arguments of a command up to what the shell makes of the rest."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split, found = True, []
    for word in lexer:
        if re.fullmatch(r"[;&|<>()]+", word):
            break
        found.append(word)
    return found[1:]


def parse(arguments: list[str]) -> None:
    """Parses the options of a command without checking that files exist.

    Raises:
        click.UsageError: There is no such command or option, or an argument too many.
    """
    command: click.Command = cli
    context = click.Context(cli, info_name="img2img")
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        _, found, arguments = command.resolve_command(context, arguments)
        assert found is not None
        command = found
        context = click.Context(command, context, info_name=command.name)
    if not {"-h", "--help", "--help-all", "--version"} & set(arguments):
        command.make_parser(context).parse_args(list(arguments))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_is_one(page: Path) -> None:
    wrong = []
    for command in commands(page):
        try:
            parse(words(command))
        except click.UsageError as error:
            wrong.append(f"{command}: {error.format_message()}")
    assert not wrong, "\n".join(wrong)


def test_the_commands_are_found() -> None:
    assert sum(len(commands(page)) for page in PAGES) > 100
    with pytest.raises(click.UsageError, match="No such option"):
        parse(words("img2img upscale photos -o big --sclae 4"))


def test_the_first_hour_runs_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "datasets" / "sample", tmp_path / "photos", ignore=shutil.ignore_patterns("*.md"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    text = (DOCS / "first_hour.md").read_text("utf-8")
    blocks = re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        first, _, expected = block.partition("\n")
        result = CliRunner().invoke(cli, shlex.split(first)[2:])
        assert (without_times(result.output), result.exit_code) == (without_times(expected), 0)


def test_every_page_is_in_the_table_of_contents() -> None:
    named = set(re.findall(r"^(\w+)$", (DOCS / "index.md").read_text("utf-8"), re.MULTILINE))
    assert {page.stem for page in DOCS.glob("*.md")} - {"index"} <= named


@pytest.mark.slow
def test_it_builds_without_a_warning_and_has_every_public_name(tmp_path: Path) -> None:
    for library in ("sphinx", "myst_parser", "furo", "sphinx_click", "sphinx_copybutton"):
        pytest.importorskip(library, reason="the extra docs is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", str(DOCS), str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    api = (tmp_path / "api.html").read_text("utf-8")
    missing = []
    for name in PACKAGES:
        module = importlib.import_module(name)
        home = "img2img" if hasattr(module, "__path__") else name  # a package shows what its files have
        public = getattr(module, "__all__", None) or [
            key
            for key, value in vars(module).items()
            if not key.startswith("_") and str(getattr(value, "__module__", "")).startswith(home)
        ]
        missing += [
            f"{name}.{key}"
            for key in public
            if not key.startswith("__") and not re.search(rf'id="img2img\.(\w+\.)*{key}"', api)
        ]
    assert not missing, missing
