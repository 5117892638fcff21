"""`img2img completion`: the shell's completion script."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish", "powershell")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the completion script for SHELL.

    For bash, add this line to ~/.bashrc: eval "$(img2img completion bash)"
    """
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"this version of click has no completion for {shell}; update click to 8.5.")
    from img2img.cli.main import cli

    click.echo(found(cli, {}, "img2img", "_IMG2IMG_COMPLETE").source())
