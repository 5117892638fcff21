"""How Sphinx builds the documentation: `sphinx-build -W docs OUT`, with the extra `docs`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from img2img import __version__  # noqa: E402 - of this checkout

project = "img2img"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click", "sphinx_copybutton"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
suppress_warnings = [
    "myst.header",
    "toc.not_included",
]  # the sources of pictures are linked to from beside them

html_theme = "furo"
html_title = "img2img"
html_theme_options = {"source_repository": ""}
html_copy_source = False

autodoc_member_order = "bysource"
autodoc_default_options = {"undoc-members": True}
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
copybutton_prompt_text = "$ "


def of_this_package(app: Any, what: str, name: str, member: object, skip: bool, options: Any) -> bool | None:
    """Leaves out what packages import from elsewhere."""
    home = getattr(member, "__module__", None)
    return True if isinstance(home, str) and not home.startswith("img2img") else None


HOMES = {
    "../CONTRIBUTING.md": "contributing.md",
    "../README.md": "index.md",
    "../img2img/weights/": "cards/",
}  # of what lies outside docs/


def at_home(app: Any, page: str, source: list[str]) -> None:
    """Lets links to files outside of this folder lead to their pages."""
    for link, target in HOMES.items():
        source[0] = source[0].replace(f"]({link}", f"]({target}")


def setup(app: Any) -> None:
    """Registers the hooks with Sphinx."""
    app.connect("source-read", at_home)
    app.connect("autodoc-skip-member", of_this_package)
