"""Imports run downward, and heavy or outside packages stay in their places (see CONTRIBUTING.md)."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "img2img"

# Top to bottom. A module may import from the lines below its own, and from its own part.
LAYERS = [
    ["cli"],
    ["ui"],
    ["training"],
    ["report"],
    ["evaluation"],
    ["methods", "data", "inference", "batch"],
    ["interop"],
    ["checkpoint", "weights"],
    ["hubs"],
    ["models", "losses", "processors", "video"],
    ["metrics", "tables", "conditions"],
    ["image"],
    ["registry", "config", "fetch", "fields"],
    ["files"],
    ["remote"],
    ["errors", "types", "keys", "threads"],
]
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
ONLY_IN = {
    "click": ("cli",),
    "rich": ("cli",),
    "cv2": ("image", "processors"),
    "yaml": ("config",),
    "albumentations": ("data/augment.py",),
    "lightning_fabric": ("training/runtime.py",),
    "lightning": (),
    "gradio": ("ui",),
    "ray": ("batch/ray_workers.py",),
    "fsspec": ("remote.py",),
    "starlette": ("ui",),
    "uvicorn": ("ui",),
    "av": ("video",),
}
FILES = sorted(PACKAGE.rglob("*.py"))


@dataclass(frozen=True)
class Facts:
    """What a file says.

    Attributes:
        imports: Every imported dotted name with its line, wherever in the file it stands.
        types: The classes and the type aliases, private ones without their underscore.
        texts: Every string with its line; an f-string is one, with x for what it formats.
    """

    imports: list[tuple[str, int]]
    types: set[str]
    texts: list[tuple[str, int]]


@cache
def facts(path: Path) -> Facts:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = nodes_of(tree)
    return Facts(list(imports(nodes)), type_names(tree, nodes), list(literals(nodes)))


def nodes_of(tree: ast.Module) -> list[ast.AST]:
    """Returns what `ast.walk` does, in half the time."""
    nodes: list[ast.AST] = [tree]
    for node in nodes:
        for value in vars(node).values():
            if isinstance(value, list):
                nodes += [each for each in value if isinstance(each, ast.AST)]
            elif isinstance(value, ast.AST):
                nodes.append(value)
    return nodes


def imports(nodes: list[ast.AST]) -> Iterator[tuple[str, int]]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            if node.module == "img2img":
                yield from ((f"img2img.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield node.module or "", node.lineno


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def test_imports_run_downward() -> None:
    problems = []
    for path in FILES:
        own = part_of(path)
        if own in ("__init__", "__main__"):  # the public names and the command reach everything, lazily
            continue
        assert own in LEVEL, f"{own} has no place in the layers"
        for name, line in facts(path).imports:
            parts = name.split(".")
            if parts[0] != "img2img" or len(parts) == 1 or parts[1] == "__version__" or parts[1] == own:
                continue
            assert parts[1] in LEVEL, f"{path}:{line}: {name} has no place in the layers"
            if LEVEL[parts[1]] <= LEVEL[own]:
                problems.append(f"{path}:{line}: {own} may not import {name}")
    assert not problems


def test_outside_packages_stay_in_their_places() -> None:
    problems = []
    for path in FILES:
        relative = path.relative_to(PACKAGE).as_posix()
        for name, line in facts(path).imports:
            places = ONLY_IN.get(name.split(".")[0])
            if places is not None and not any(
                relative == place or relative.startswith(f"{place}/") for place in places
            ):
                problems.append(f"{path}:{line}: {name} may only be imported in {places}")
    assert not problems


def test_the_walk_sees_an_upward_arrow(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text("def f():\n    from img2img.cli import render\n    import img2img.batch.run\n")
    assert facts(file).imports == [("img2img.cli", 2), ("img2img.batch.run", 3)]


def type_names(tree: ast.Module, nodes: list[ast.AST]) -> set[str]:
    names = {node.name for node in nodes if isinstance(node, ast.ClassDef)}
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "TypeAlias":
            names.add(ast.unparse(node.target))
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            names.add(node.targets[0].id)
    return {name.lstrip("_") for name in names if re.match("_?[A-Z]", name) and not name.isupper()}


def test_a_type_name_has_one_meaning_in_the_whole_package() -> None:
    places: dict[str, list[str]] = {}
    for path in FILES:
        for name in facts(path).types:
            places.setdefault(name, []).append(path.relative_to(PACKAGE).as_posix())
    double = {name: where for name, where in places.items() if len(where) > 1}
    assert not double


FLAG = re.compile(r"(?<![\w-])--[a-z]|(?<!\S)-[a-z](?![\w-])")
OTHERS = {"inference/memory.py": "ulimit -v and -d"}  # flags of other programs


def literals(nodes: list[ast.AST]) -> Iterator[tuple[str, int]]:
    inside: set[int] = set()
    for node in nodes:  # an f-string comes before its parts
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in node.values}
            parts = [str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values]
            yield "".join(parts), node.lineno
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.value, node.lineno


def test_the_library_names_parameters_and_the_command_line_options() -> None:
    """`cli/render` makes --overwrite of `overwrite`; a program that calls the library knows no flags."""
    problems = []
    for path in FILES:
        others = OTHERS.get(path.relative_to(PACKAGE).as_posix(), "\0")
        if part_of(path) in ("cli", "__main__"):
            continue
        for text, line in facts(path).texts:
            found = FLAG.search(text.replace(others, ""))
            if found and text != "-" + text[-1:]:  # that is an argument of a process that is started
                problems.append(f"{path}:{line}: names the flag {found[0]}")
    assert not problems


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("f'train {x} --{key} a'", "--x"),
        ("f'a {x}', 'with --set.'", "--s"),
        ("'another folder with -o.'", "-o"),
        ("'pre-trained, x-y, 3 - 2, -1, a--b, -inf, exp(-q)'", None),
    ],
)
def test_the_walk_sees_flags(code: str, found: str | None) -> None:
    seen = [FLAG.search(text) for text, _ in literals(nodes_of(ast.parse(code)))]
    assert next((match[0] for match in seen if match), None) == found


def loaded_after(code: str) -> set[str]:
    """Returns the top-level modules that a fresh interpreter has loaded after `code`."""
    script = f"import sys\n{code}\nprint(' '.join(sorted({{m.split('.')[0] for m in sys.modules}})))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(run.stdout.split("\n")[-2].split())


HEAVY = {"torch", "cv2", "albumentations", "torchvision", "PIL", "numpy"}


@pytest.mark.parametrize(
    "code",
    [
        "import img2img",
        "from img2img.cli.main import cli\ntry:\n    cli.main(['--help'])\nexcept SystemExit:\n    pass",
        "from img2img.cli.main import cli\ntry:\n    cli.main(['--version'])\nexcept SystemExit:\n    pass",
    ],
)
def test_help_and_import_load_nothing_heavy(code: str) -> None:
    assert not loaded_after(code) & HEAVY


def test_the_help_of_every_command_loads_even_less() -> None:
    """What a page of text needs, and the completion key: no console, no configuration."""
    code = """
from img2img.cli.main import COMMANDS, cli
for name in COMMANDS:
    try:
        cli.main([name, "--help"])
    except SystemExit:
        pass"""
    loaded = loaded_after(code)
    assert not loaded & (HEAVY | {"rich", "yaml", "pydantic", "huggingface_hub"})


@pytest.mark.parametrize("module", ["img2img.batch", "img2img.image", "img2img.processors"])
@pytest.mark.sampled(1)
def test_folders_and_operations_do_without_torch(module: str) -> None:
    assert not loaded_after(f"import {module}") & {"torch", "click", "rich"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["config", "list"],
        ["grid", "pictures", "-o", "sheet.png"],
        ["report", "pictures", "-o", "page.html"],
    ],
)
def test_commands_without_a_network_do_without_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """It takes longer to load than they take for their work."""
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.ppm").write_bytes(b"P6 1 1 255 abc")
    monkeypatch.chdir(tmp_path)
    code = f"""
from img2img.cli.main import cli
try:
    cli.main({arguments!r})
except SystemExit as error:
    assert not error.code, error.code"""
    assert not loaded_after(code) & {"torch", "torchvision", "albumentations"}


def test_files_of_tests_have_names_of_their_own() -> None:
    """Their folders are no packages: of two with one name `pytest` finds one, and stops."""
    names = [path.name for path in Path(__file__).parent.rglob("*.py") if path.name != "conftest.py"]
    assert len(names) == len(set(names))
