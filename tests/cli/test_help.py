"""The help pages: short, complete, and without a word about other tools' spellings."""

from __future__ import annotations

import dataclasses
import re

import click
import pytest
from click.testing import CliRunner

from img2img.cli.main import ALIASES, COMMANDS, cli

LEAVES = ["upscale", "restore", "translate", "inpaint", "prior", "process", "demo", "doctor", "completion"]


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, list(arguments), prog_name="img2img")
    return result.exit_code, result.output


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_the_main_page_lists_every_command(flag: str) -> None:
    code, text = run(flag)
    assert code == 0
    for name, (_, _, summary) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(summary)}$", text, re.MULTILINE)


@pytest.mark.parametrize("name", [*COMMANDS, *ALIASES])
def test_every_command_explains_itself(name: str) -> None:
    code, text = run(name, "--help")
    assert code == 0
    assert text.startswith(f"Usage: img2img {name}")


@pytest.mark.parametrize("name", LEAVES)
def test_plain_help_shows_at_most_a_dozen_options(name: str) -> None:
    _, text = run(name, "--help")
    assert 1 <= len(re.findall(r"^  -", text, re.MULTILINE)) <= 12


@pytest.mark.parametrize("name", ["upscale", "restore", "translate", "inpaint", "prior", "process"])
def test_help_all_shows_everything_in_groups(name: str) -> None:
    _, text = run(name, "--help-all")
    for heading in ("Options", "Which files", "What is written", "Limits", "Speed", "Messages"):
        assert f"\n{heading}:\n" in text
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.opts[0] in text
    assert "model_path" not in text


def test_an_unknown_command_is_answered_with_the_nearest() -> None:
    code, text = run("upscal", "x")
    assert code == 2
    assert "did you mean 'upscale'?" in text


def test_version() -> None:
    from img2img import __version__

    assert run("--version") == (0, f"img2img, version {__version__}\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_command(shell: str) -> None:
    code, text = run("completion", shell)
    assert code == 0
    assert "_IMG2IMG_COMPLETE" in text


def test_the_defaults_are_those_of_the_library() -> None:
    from img2img.cli.options import BatchOptions
    from img2img.image import EncodeOptions, Limits

    command = cli.get_command(click.Context(cli), "process")
    assert command is not None
    context = command.make_context("process", ["in", "-o", "out"])
    values = {field.name: context.params[field.name] for field in dataclasses.fields(BatchOptions)}
    options = BatchOptions(**values)
    assert options.limits() == Limits()
    assert options.encoding() == EncodeOptions()
