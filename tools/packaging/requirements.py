"""Prints what setup.cfg requires, a requirement a line: `python tools/packaging/requirements.py [EXTRA...]`.

Needs nothing but Python, so that a container can install the packages before it has seen the sources.
"""

from __future__ import annotations

import configparser
import sys
from pathlib import Path

SETUP = Path(__file__).resolve().parent.parent.parent / "setup.cfg"


def requirements(extras: tuple[str, ...] = (), setup: Path = SETUP) -> list[str]:
    """Returns the requirements of the package and of some of its extras.

    Raises:
        SystemExit: There is no such extra.
    """
    config = configparser.ConfigParser(interpolation=None)
    config.read(setup, encoding="utf-8")
    known = config["options.extras_require"]
    if unknown := sorted(set(extras) - set(known)):
        sys.exit(f"there is no extra {', '.join(unknown)} in {setup.name}; there are {', '.join(known)}.")
    sections = [config["options"]["install_requires"], *(known[extra] for extra in extras)]
    lines = (line.strip() for section in sections for line in section.splitlines())
    return list(dict.fromkeys(line for line in lines if line and not line.startswith("#")))


if __name__ == "__main__":
    print("\n".join(requirements(tuple(sys.argv[1:]))))
