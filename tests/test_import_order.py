"""The order of the packages: every import inside tubelet goes down, and heavy imports stay where they belong."""

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

# Lowest first. A package may import from itself and from what stands further up in this list; the packages of one line
# do not know each other. A sub-package or a file with a line of its own ("data.video") counts as a package; what has
# none belongs to the package it lies in ("data/bench.py" to "data").
ORDER = [
    ["errors"],
    ["files"],
    ["tables"],
    ["types"],
    ["config"],
    ["protocol", "published"],
    ["published_weights"],
    ["session"],
    ["nn", "data.download", "data.medmnist", "data.synthetic"],
    ["data.video"],
    ["data.sources"],
    ["data.layouts"],
    ["data.manifest"],
    ["data.clips"],
    ["data.loading"],
    ["data.features"],
    ["data.scan"],
    ["data.prepare"],
    ["data"],
    ["weights.config"],
    ["weights.mapping"],
    ["models.family_weights"],
    ["models.family"],
    [
        *("models.torchvision", "models.timesformer", "models.uniformerv2", "models.vivit", "models.vtn"),
        *("models.videomae", "models.vjepa2"),
    ],
    ["models"],
    ["weights.hub"],
    ["weights.checkpoint"],
    ["weights.exported"],
    ["weights.convert"],
    ["weights.init"],
    ["weights"],
    ["tasks"],
    ["explain", "export"],
    ["inference"],
    ["evaluation"],
    ["training"],
    ["recipe"],
    ["runs"],
    ["studies", "probing"],
    ["report"],
    ["app"],
    ["api"],
    ["commands"],
    ["cli"],
    ["__main__"],
]
HEIGHT = {package: height for height, packages in enumerate(ORDER) for package in packages}


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, full dotted name) of every import in a file, wherever it stands; ``from a import b`` is ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{start}.{alias.name}") for alias in node.names)


def package_of(dotted: str) -> str | None:
    """The entry of ``ORDER`` that ``tubelet.<dotted>`` belongs to: of two parts, or of one."""
    parts = dotted.split(".")
    return next((name for name in (".".join(parts[:2]), parts[0]) if name in HEIGHT), None)


def package_of_file(file: Path) -> str | None:
    return package_of(".".join(file.relative_to(PACKAGE).with_suffix("").parts))


def faults(source: str, package: str) -> list[str]:
    """Imports of tubelet in ``source`` that a file of ``package`` may not have."""
    found = []
    for line, name in imports(ast.parse(source)):
        if name.startswith("."):
            found.append(f"line {line}: relative import '{name}'; write the full name")
        top, _, rest = name.partition(".")
        if top != "tubelet" or rest == "__version__":
            continue
        target = package_of(rest) if rest else None
        if target is None:
            found.append(f"line {line}: '{name}' is no package; import a public name from the file that defines it")
        elif target != package and HEIGHT[target] >= HEIGHT[package]:
            found.append(f"line {line}: {package} may not import {name}")
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_go_down(file: Path) -> None:
    if file == PACKAGE / "__init__.py":  # holds the public names of all packages, imported when used
        return
    package = package_of_file(file)
    assert package is not None, f"{file}: a package without a place in ORDER"
    assert faults(file.read_text(encoding="utf-8"), package) == []


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("nn", "import tubelet.data.video.reader"),
        ("data", "from tubelet import models"),
        ("data", "def f():\n    from tubelet.training.engine import train"),
        ("data.video", "from tubelet.data.manifest.labels import labels_of"),
        ("data.sources", "from tubelet.data import bench"),
        ("models.vtn", "from tubelet.models.vivit import model"),
        ("models.vtn", "from tubelet.models import create_model"),
        ("weights.mapping", "from tubelet.models.stages import model_inputs"),
        ("training", "from tubelet.evaluation import evaluate\nfrom tubelet.recipe import Recipe"),
        ("models", "from tubelet import create_model"),
        ("commands", "import tubelet"),
        ("weights", "from .convert import rename"),
    ],
)
def test_an_upward_import_is_found(package: str, source: str) -> None:
    assert len(faults(source, package)) == 1


def test_downward_and_foreign_imports_pass() -> None:
    source = "import torch\nfrom tubelet import __version__\nfrom tubelet.models import vivit\nimport tubelet.nn.block"
    assert faults(source, "models") == []


def arrows(sources: dict[str, str]) -> dict[str, set[str]]:
    """For each module, by its dotted name, the other modules it imports, for type checking too."""

    def module_of(name: str) -> str | None:
        while name and name not in sources:
            name = name.rpartition(".")[0]
        return name or None

    return {
        module: {target for _, name in imports(ast.parse(source)) if (target := module_of(name))} - {module}
        for module, source in sources.items()
    }


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """What is left of a graph when everything is taken away that imports nothing of the rest: empty without a cycle."""
    left = {module: set(targets) for module, targets in graph.items()}
    while free := [module for module, targets in left.items() if not targets & left.keys()]:
        for module in free:
            del left[module]
    return sorted(left)


def modules_below(package: str) -> dict[str, str]:
    """The source of every module of a package by its dotted name."""
    names = (
        (".".join(("tubelet", *file.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"), file)
        for file in FILES
    )
    return {name: file.read_text(encoding="utf-8") for name, file in names if f"{name}.".startswith(f"{package}.")}


def test_no_files_of_data_import_each_other_in_a_circle() -> None:
    graph = arrows(modules_below("tubelet.data"))
    assert len(graph) > 50
    assert cycle(graph) == []


def test_a_circle_is_found_even_for_type_checking_alone() -> None:
    sources = {
        "p.a": "import p.b",
        "p.b": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.c import C",
        "p.c": "def f():\n    from p import a",
        "p.d": "import p.e",
        "p.e": "",
    }
    assert cycle(arrows(sources)) == ["p.a", "p.b", "p.c"]


def files_importing(package: str) -> set[str]:
    return {
        file.relative_to(PACKAGE).as_posix()
        for file in FILES
        for _, name in imports(ast.parse(file.read_text(encoding="utf-8")))
        if name.split(".")[0] == package
    }


def test_few_files_know_the_decoder() -> None:
    """The reader and what it stands on; the scan, which must see what the reader hides; live streams; what writes."""
    reader = {
        "container",
        "early_end",
        "info",
        "packet_decoder",
        "packet_index",
        "rendering",
        "scaling",
        "deinterlace",
        "reader",
    }
    others = {"video/full_decode", "video/live", "video/live_clock", "sources/deep_picture", "synthetic"}
    others |= {"prepare/transcode", "synthetic_films"}
    assert files_importing("av") == {f"data/video/{name}.py" for name in reader} | {
        f"data/{name}.py" for name in others
    }


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


def imports_when_loaded(source: str) -> Iterator[str]:
    """Full dotted names of what a file imports as soon as it is loaded: not inside functions, not for type checking."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (name for _, name in imports(node))


def needed_by(module: str, sources: dict[str, str]) -> set[str]:
    """Top-level packages other than tubelet and the standard library that are loaded with a module of tubelet."""
    needed, seen, left = set(), set(), [module]
    while left:
        name = left.pop()
        while name and name not in sources:
            name = name.rpartition(".")[0]
        if not name or name in seen:
            continue
        seen.add(name)
        found = set(imports_when_loaded(sources[name]))
        left += [name.rpartition(".")[0], *(other for other in found if other.startswith("tubelet."))]
        needed |= {other.partition(".")[0] for other in found} - sys.stdlib_module_names - {"tubelet"}
    return needed


def test_what_holds_settings_needs_the_standard_library_only() -> None:
    """And the reader of YAML, which ``tubelet.config`` holds. So a recipe is read before torch is."""
    sources = modules_below("tubelet")
    settings = {name for name in sources if name.endswith("config")}
    assert len(settings) > 12
    settings |= {f"tubelet.{name}" for name in ("errors", "types", "protocol", "published", "recipe", "models")}
    assert {name: extra for name in settings if (extra := needed_by(name, sources) - {"yaml"})} == {}


def test_options_need_what_reads_and_prints_them_only() -> None:
    sources = modules_below("tubelet")
    work = "tubelet.commands.work"
    options = {name for name in modules_below("tubelet.commands") if not f"{name}.".startswith(f"{work}.")}
    assert len(options) > 20
    assert {name: extra for name in options if (extra := needed_by(name, sources) - {"yaml", "tyro", "rich"})} == {}


def test_settings_stand_in_files_that_are_called_so() -> None:
    elsewhere = {
        file.relative_to(PACKAGE).as_posix()
        for file in FILES
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name.endswith("Config") and not file.stem.endswith("config")
    }
    assert elsewhere == {"recipe.py"}


def test_what_a_module_needs_is_found_through_others() -> None:
    sources = {
        "tubelet": "",
        "tubelet.a": "from tubelet.b import c\nimport os",
        "tubelet.b": "def f():\n    import av\nif TYPE_CHECKING:\n    import timm",
        "tubelet.b.c": "import tubelet.d.e",
        "tubelet.d": "import torch.nn",
        "tubelet.d.e": "",
    }
    assert needed_by("tubelet.a", sources) == {"torch"}


def test_help_and_a_misspelt_option_are_answered_before_torch_is_loaded() -> None:
    """Of every command, in one process, where a recipe is read first."""
    code = """
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from tubelet.cli import COMMANDS, main
from tubelet.commands.data import SUBCOMMANDS
from tubelet.recipe import load_recipe

def answer(*words):
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        try:
            code = main(words)
        except SystemExit as end:
            code = end.code
    return code, out.getvalue() + err.getvalue()

load_recipe("folder/default", [("data.source", "clips"), ("model.name", "vtn_r50")])
for command in (*([name] for name in COMMANDS), *(["data", name] for name in SUBCOMMANDS), ["cost", "--table"]):
    code, text = answer(*command, "--help")
    assert code == 0 and "examples:" in text, (command, text)
    code, text = answer(*command, "--misspelt")
    assert code == 2 and text, (command, text)
code, text = answer("train", "--data", "clips", "--optim.lrr", "1")
assert code == 1 and "unknown key 'optim.lrr'; did you mean 'lr'?" in text, text
assert answer("train", "--fields")[0] == 0
"""
    loaded = modules_loaded_by(code)
    assert "tyro" in loaded
    assert not loaded & {"torch", "numpy", "av", "timm", "torchvision"}


@pytest.mark.parametrize(
    "code",
    [
        "import tubelet; tubelet.Recipe, tubelet.Protocol, tubelet.list_models()",
        "from tubelet.cli import main; assert (main(['--help']), main(['--version']), main(['nonsense'])) == (0, 0, 2)",
    ],
)
def test_no_torch_is_loaded(code: str) -> None:
    loaded = modules_loaded_by(code)
    assert "tubelet" in loaded
    assert not loaded & {"torch", "numpy", "av", "timm", "rich"}


def test_commands_start_without_what_only_a_measurement_needs() -> None:
    """torchmetrics imports transformers where that is installed: seconds of CPU, and 90 MB."""
    loaded = modules_loaded_by("from tubelet.commands.work import inspect, models, predict, train")
    assert "torch" in loaded
    assert not loaded & {"torchmetrics", "transformers"}


def test_processes_that_read_start_without_what_only_models_and_some_augmentations_need() -> None:
    """torchvision takes longer to import than torch, and every reading process would wait for it."""
    loaded = modules_loaded_by("import tubelet.data.loading.clip_dataset")
    assert "torch" in loaded
    assert not loaded & {"torchvision", "timm", "scipy", "matplotlib"}


def test_public_names_are_found_where_they_are_said_to_be() -> None:
    assert set(tubelet.__all__) <= set(dir(tubelet))
    for name in tubelet.__all__:
        assert getattr(tubelet, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'create_modle'"):
        _ = tubelet.create_modle
