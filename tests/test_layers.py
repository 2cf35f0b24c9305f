"""The floors of the house: what may import what. Imports for types only count as well."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import composemagic

ROOT = Path(composemagic.__file__).parent
# from the ground up; a room may import from its own floor and from those below
FLOORS = [
    ("errors", "terminal", "text", "words", "threads", "languages", "allowance", "prices"),
    ("language", "picture"),
    ("workflow",),
    ("transport",),
    ("engine",),
    ("local",),
    ("components",),
    ("batch",),
    ("comparing", "completion", "faces", "help", "history", "recordings", "yaml_files"),
    ("api", "conversation", "explaining", "racing", "sweep"),
    ("notebook",),
    ("server",),
    ("cli", "__main__", "__init__"),
]  # fmt: skip
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
FACES = {"IPython", "ipywidgets", "nest_asyncio", "nest_asyncio2", "traitlets", "comm", "ipykernel"}
HEAVY = ["httpx", "yaml", "pydantic", "IPython", "ipywidgets", "asyncio", "dotenv", "markdown_it", "email", "ssl"]


def name_of(file: Path) -> str:
    """composemagic/engine/run.py -> composemagic.engine.run; a package's __init__.py is the package."""
    return ".".join(file.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


FILES = {name_of(file): ast.parse(file.read_text(encoding="utf-8")) for file in sorted(ROOT.rglob("*.py"))}


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module imported anywhere below a node."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, "imports are written in full"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from [name if name in FILES else node.module for name in inner]


def at_start(tree: ast.Module) -> Iterator[str]:
    """The modules of this package that are imported when the module is, not later in a function nor for types only."""
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (name for name in imports(node) if name in FILES)


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


OWN = [(module, name) for module, tree in FILES.items() for name in imports(tree) if name.startswith("composemagic")]
OTHERS = [(module, name.split(".")[0]) for module, tree in FILES.items() for name in imports(tree)]


def test_every_room_has_a_floor() -> None:
    assert {room(module) for module in FILES} <= set(LEVEL)


def test_no_import_upward() -> None:
    assert not [pair for pair in OWN if LEVEL[room(pair[1])] > LEVEL[room(pair[0])] and pair[0] != "composemagic"]


def test_engine_and_components_do_not_know_each_other() -> None:
    assert not [pair for pair in OWN if {room(name) for name in pair} == {"engine", "components"}]


def test_only_the_notebook_knows_ipython() -> None:
    assert not [pair for pair in OTHERS if pair[1] in FACES and room(pair[0]) != "notebook"]


def test_httpx_has_one_home() -> None:
    known = {module for module, name in OTHERS if name in ("httpx", "httpcore")}
    assert {module.rpartition(".")[0] for module in known} == {"composemagic.transport"}


def circles(edges: Mapping[str, set[str]]) -> list[set[str]]:
    """The modules that import each other, one set a circle."""
    reached = {name: reach(edges, name) for name in edges}
    found = {frozenset(other for other in edges if name in reached[other] and other in reached[name]) for name in edges}
    return [set(circle) for circle in found if circle]


def reach(edges: Mapping[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    ahead = [*edges[start]]
    while ahead:
        if (name := ahead.pop()) not in found:
            found.add(name)
            ahead += edges[name]
    return found


def test_circles_are_seen() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a", "d"}}) in ([{"b", "c"}, {"d"}], [{"d"}, {"b", "c"}])


def test_no_circle_of_imports() -> None:
    """Imports for types only and those inside of functions count as well."""
    edges: dict[str, set[str]] = {module: set() for module in FILES}
    for module, name in OWN:
        if name in edges and module != name:
            edges[module].add(name)
    assert circles(edges) == []


def test_no_module_waits_for_itself_while_it_is_imported() -> None:
    list(TopologicalSorter({module: set(at_start(tree)) - {module} for module, tree in FILES.items()}).static_order())


def run_python(code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT.parent)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_the_package_is_light() -> None:
    code = f"import sys; before = set(sys.modules); import composemagic; print(*(set(sys.modules) - before) & {set(HEAVY)})"
    assert run_python(code) == ""


def test_loading_the_extension_is_light() -> None:
    code = (
        "import sys; from IPython.core.interactiveshell import InteractiveShell; shell = InteractiveShell()\n"
        f"heavy = {set(HEAVY) | {'composemagic.language.template', 'composemagic.api'}} - set(sys.modules)\n"
        "shell.run_line_magic('load_ext', 'composemagic'); print(*heavy & set(sys.modules))"
    )
    assert run_python(code) == ""


def test_the_server_loads_no_notebook() -> None:
    """It renders with the notebook's own rooms; of these it must take what needs neither IPython nor widgets."""
    code = f"import sys, composemagic.server.serving; print(*{FACES} & set(sys.modules))"
    assert run_python(code) == ""


def test_all_is_what_is_exported() -> None:
    public = run_python(
        "import composemagic as c; print(*sorted(n for n in dir(c) if getattr(c, n) is not None))"
    ).split()
    assert public == sorted(composemagic.__all__)
    assert all(getattr(composemagic, name) is not None for name in composemagic.__all__)
    with pytest.raises(AttributeError):
        composemagic.nothing_of_this_name  # type: ignore[attr-defined]


def test_star_import_gives_the_public_names() -> None:
    assert run_python("from composemagic import *; print(load.__name__, Run.__name__)") == "load Run"
