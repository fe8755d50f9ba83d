"""The order of the rooms: every import inside the package goes down, and heavy imports stay where they belong."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tubelet

PACKAGE = Path(tubelet.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# Lowest first. A room may import from its own files and from rooms further up in this list; the rooms of one line do
# not know each other.
ORDER = [
    ["errors"],
    ["files"],
    ["types"],
    ["config"],
    ["protocol", "published"],
    ["nn", "data"],
    ["models"],
    ["weights"],
    ["inference"],
    ["evaluation"],
    ["training"],
    ["recipe"],
    ["start"],
    ["run_folder"],
    ["run"],
    ["outcome"],
    ["sweep"],
    ["plan"],
    ["comparison"],
    ["report"],
    ["commands"],
    ["cli"],
    ["__main__"],
]
HEIGHT = {room: height for height, rooms in enumerate(ORDER) for room in rooms}


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, full dotted name) of every import in a file, wherever it stands; ``from a import b`` is ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{start}.{alias.name}") for alias in node.names)


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def faults(source: str, room: str) -> list[str]:
    """Imports of the package in ``source`` that a file in ``room`` may not have."""
    found = []
    for line, name in imports(ast.parse(source)):
        if name.startswith("."):
            found.append(f"line {line}: relative import '{name}'; write the full name")
        top, _, rest = name.partition(".")
        target = rest.split(".")[0]
        if top != "tubelet" or target in (room, "__version__"):
            continue
        if target not in HEIGHT:
            found.append(f"line {line}: '{name}' is no room; import a public name from the file that defines it")
        elif HEIGHT[target] >= HEIGHT[room]:
            found.append(f"line {line}: {room} may not import {name}")
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_go_down(file: Path) -> None:
    if file == PACKAGE / "__init__.py":  # holds the public names of all rooms, imported when used
        return
    assert room_of(file) in HEIGHT, f"{file}: a room without a place in ORDER"
    assert faults(file.read_text(encoding="utf-8"), room_of(file)) == []


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("nn", "import tubelet.data.video"),
        ("data", "from tubelet import models"),
        ("data", "def f():\n    from tubelet.training.engine import train"),
        ("training", "from tubelet.evaluation import metrics\nfrom tubelet.recipe import Recipe"),
        ("models", "from tubelet import create_model"),
        ("commands", "import tubelet"),
        ("weights", "from .convert import rename"),
    ],
)
def test_an_upward_import_is_found(room: str, source: str) -> None:
    assert len(faults(source, room)) == 1


def test_downward_and_foreign_imports_pass() -> None:
    source = "import torch\nfrom tubelet import __version__\nfrom tubelet.models import vivit\nimport tubelet.nn.block"
    assert faults(source, "models") == []


def files_importing(package: str) -> set[str]:
    return {
        file.relative_to(PACKAGE).as_posix()
        for file in FILES
        for _, name in imports(ast.parse(file.read_text(encoding="utf-8")))
        if name.split(".")[0] == package
    }


def test_few_files_know_the_decoder() -> None:
    """The reader and what it stands on; the scan, which must see what the reader hides; live streams; what writes."""
    reader = {"container", "decoder", "packet_index", "scaling", "video"}
    others = {"full_decode", "live", "synthetic", "transcode"}
    assert files_importing("av") == {f"data/{name}.py" for name in reader | others}


def test_subcommands_are_imported_by_name_only_where_they_start() -> None:
    by_name = {
        file.relative_to(PACKAGE).as_posix()
        for file in FILES
        if any(name.startswith("importlib.import") for _, name in imports(ast.parse(file.read_text(encoding="utf-8"))))
    }
    assert by_name == {"__init__.py", "cli.py", "commands/data/__init__.py"}


def modules_loaded_by(code: str) -> set[str]:
    """Top-level packages that a fresh interpreter holds after running ``code``."""
    report = "\nimport sys; print('\\n' + ' '.join({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import tubelet",
        "import tubelet.errors, tubelet.types, tubelet.config, tubelet.protocol",
        "from tubelet.cli import main; assert main(['--help']) == 0",
        "from tubelet.cli import main; assert main(['--version']) == 0",
        "from tubelet.cli import main; assert main(['nonsense']) == 2",
    ],
)
def test_no_torch_is_loaded(code: str) -> None:
    loaded = modules_loaded_by(code)
    assert "tubelet" in loaded
    assert not loaded & {"torch", "numpy", "av", "timm", "rich"}


def test_public_names_are_found_where_they_are_said_to_be() -> None:
    assert set(tubelet.__all__) <= set(dir(tubelet))
    for name in tubelet.__all__:
        assert getattr(tubelet, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'create_modle'"):
        _ = tubelet.create_modle
