"""Writes the pages of docs/ that are made from the code: `python tools/docs.py`."""

from __future__ import annotations

from pathlib import Path

import click

from img2img.processors import Description, describe

DOCS = Path(__file__).resolve().parent.parent / "docs"


def operations_page() -> str:
    """Returns docs/operations.md: every operation of `img2img process` with its parameters."""
    intro = (
        "# Operations\n\n"
        "What `img2img process` can do, from `python tools/docs.py`. An operation is written `--op NAME`, "
        "`--op NAME=VALUE` or `--op NAME=KEY:VALUE,KEY:VALUE`; in a recipe (`--recipe FILE.yaml`) it is an "
        "entry of a list. Depth, transparency, colour profile and camera data stay.\n"
    )
    return "\n".join([intro, *(_section(operation) for operation in describe())])


def _section(operation: Description) -> str:
    lines = [f"## {operation.name}\n", f"{operation.summary}\n"]
    if operation.text:
        lines.append(f"{operation.text}\n")
    lines.append("```sh\n" + "\n".join(f"--op {example}" for example in operation.examples) + "\n```\n")
    if operation.parameters:
        lines.append("| parameter | value | default | |\n|---|---|---|---|")
        for parameter in operation.parameters:
            default = "must be given" if parameter.default is None else parameter.default
            cells = (f"`{parameter.name}`", parameter.allowed, default, parameter.text)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)


@click.command()
def main() -> None:
    """Writes docs/operations.md."""
    (DOCS / "operations.md").write_text(operations_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
