"""`img2img config`: configurations of trainings, written, checked and explained."""

from __future__ import annotations

from pathlib import Path

import click

from img2img.cli import completion


class _InOrderOfUse(click.Group):
    """A group that lists its commands in the order in which they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names."""
        return ["init", "validate", "schema", "list"]


@click.group(cls=_InOrderOfUse)
def config() -> None:
    """Write, check and explain configurations of trainings.

    \b
      img2img config init pix2pix -o mine.yaml       every key, with its meaning
      img2img config validate mine.yaml
      img2img train mine.yaml --paired a b -o runs/mine
    """


@config.command(short_help="Write a configuration with every key.")
@click.argument(
    "name",
    metavar="[METHOD|NAME]",
    default="pix2pix",
    shell_complete=completion.methods_and_configs,
)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="The file; else it is printed."
)
@click.option("--overwrite", is_flag=True, help="Replace the file if it is there already.")
def init(name: str, output: Path | None, overwrite: bool) -> int:
    """Write a configuration with every key, its meaning and its default.

    METHOD is pix2pix, cyclegan, super_resolution or another one; NAME one of the configurations that ship
    (`img2img config list`).
    """
    from img2img.cli.render import say
    from img2img.config import shipped_configs
    from img2img.errors import ConfigError, display_path
    from img2img.files import write_bytes
    from img2img.methods import methods
    from img2img.registry import unknown
    from img2img.training.document import documented
    from img2img.training.experiment import read_experiment
    from img2img.training.starts import places, start

    if output is not None and output.exists() and not overwrite:
        raise click.UsageError(f"{output} is there already; --overwrite replaces it.")
    if name in methods:
        experiment = read_experiment(defaults=start(name), places=places)
    elif name in shipped_configs():
        experiment = read_experiment(name, places=places)
    else:
        known = [*methods, *shipped_configs()]
        raise ConfigError(methods.broken.get(name) or unknown("method or configuration", name, known))
    text = documented(experiment)
    if output is None:
        click.echo(text, nl=False)
        return 0
    calls = (f"config validate {output.name}", f"train {output.name} -o runs/{output.stem}")
    head = "".join(f"#   img2img {call}\n" for call in calls)
    write_bytes(f"{head}\n{text}".encode(), output)
    say(f"Wrote {display_path(output)}. Say under data where your pictures are, or name them when you train.")
    return 0


@config.command()
@click.argument("file", metavar="FILE|NAME", shell_complete=completion.configs)
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Change a key first.")
def validate(file: str, assignments: tuple[str, ...]) -> int:
    """Say everything that is wrong with a configuration.

    Its networks are built and take one step without computing anything. The pictures need not be there;
    `img2img data check` looks at them.
    """
    from img2img.cli.render import say, say_warning
    from img2img.errors import display_path
    from img2img.training.estimate import estimate_memory
    from img2img.training.experiment import read_experiment
    from img2img.training.starts import places

    experiment = read_experiment(file, assignments, places=places)
    for sentence in estimate_memory(experiment, warn=say_warning):
        say(sentence)
    say(f"{display_path(file)} is right.", "green")
    return 0


@config.command(short_help="List every key with its meaning.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON schema, for editors and programs.")
@click.argument("words", nargs=-1, metavar="[WORD...]")
def schema(as_json: bool, words: tuple[str, ...]) -> int:
    """List every key with its values, its default and its meaning; only keys with all WORDs in them."""
    from img2img.errors import ConfigError
    from img2img.training.document import rows
    from img2img.training.document import schema as json_schema

    if as_json:
        import json

        click.echo(json.dumps(json_schema(), indent=1))
        return 0
    found = [row for row in rows() if all(word in row.key for word in words)]
    if not found:
        raise ConfigError(f"no key has {' and '.join(words)} in it; `img2img config schema` lists all keys.")
    for row in found:
        click.echo(f"{click.style(row.key, bold=True)}  {row.values}  [{row.default}]")
        if row.meaning:
            click.echo(click.wrap_text(row.meaning, 96, "    ", "    "))
    return 0


@config.command("list")
def list_() -> int:
    """List the configurations that ship."""
    from img2img.cli.render import print_facts
    from img2img.config import find_config, shipped_configs

    facts = []
    for name in shipped_configs():
        lines = find_config(name).read_text(encoding="utf-8").splitlines()
        words = []
        for line in lines:
            if not line.startswith("# ") or line.startswith("#  "):
                break
            words.append(line[2:])
        facts.append((name, " ".join(words)))
    print_facts(facts)
    return 0
