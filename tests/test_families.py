"""No code names a family of models outside its folder: the rest asks the family of a model."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_type_hints

import pytest

import tubelet
from tubelet.models import FAMILIES, MODELS, family_of
from tubelet.models.family import Family

PACKAGE = Path(tubelet.__file__).parent
# In identifiers and texts, whatever the case; "torchvision" alone is the library, so its family shows by the slash.
NAMED = re.compile(
    r"(?i)vivit|timesformer|uniformerv2|videomae|videoprism|vjepa2|vtn|"
    r"torchvision/|torchvisionvideo|models\.torchvision"
)
# Where a name may stand in code, and why.
ALLOWED = {
    "models/__init__.py": "the table of families",
    "data/clips/augment_config.py": "ops=vivit, a set of operations that recipes name",
    "data/clips/randaugment.py": "the same, where it is drawn from",
    "commands/work/demo.py": "the shipped recipes that the demo runs",
    "commands/work/demo_pretraining.py": "the same",
    "commands/train.py": "the model whose fields --fields shows",
}
# Help texts: the description and examples of a command, which name models as a user types them.
HELP = ("DESCRIPTION", "TABLE_DESCRIPTION", "EXAMPLES", "EPILOG")


def files() -> list[Path]:
    own = {PACKAGE / "models" / family.name for family in FAMILIES}
    return [file for file in sorted(PACKAGE.rglob("*.py")) if not own & set(file.parents)]


def names_in(source: str) -> Iterator[tuple[int, str]]:
    """(line, text) of every identifier and text of a file that names a family; docstrings and help texts aside."""
    tree = ast.parse(source)
    aside = {id(text) for node in ast.walk(tree) for text in _texts_aside(node)}
    for node in ast.walk(tree):
        if id(node) in aside:
            continue
        for text in _texts_of(node):
            if NAMED.search(text):
                yield getattr(node, "lineno", 0), text


def _texts_of(node: ast.AST) -> list[str]:
    match node:
        case ast.Name(id=text) | ast.Attribute(attr=text) | ast.arg(arg=text) | ast.keyword(arg=str(text)):
            return [text]
        case ast.FunctionDef(name=text) | ast.ClassDef(name=text):
            return [text]
        case ast.ImportFrom(module=module, names=names):
            return [f"{module}.{alias.name}" for alias in names]
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.Constant(value=str(text)):
            return [text]
        case _:
            return []


def _texts_aside(node: ast.AST) -> list[ast.AST]:
    """The docstring of a node, and every text of a help text that it assigns."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
        first = node.body[0]
        assert isinstance(first, ast.Expr)
        return [first.value]
    if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id in HELP for t in node.targets):
        return list(ast.walk(node.value))
    return []


@pytest.mark.parametrize("file", files(), ids=lambda f: str(f.relative_to(PACKAGE)))
def test_no_code_names_a_family_outside_its_folder(file: Path) -> None:
    if file.relative_to(PACKAGE).as_posix() not in ALLOWED:
        assert list(names_in(file.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("name", ALLOWED)
def test_what_is_allowed_is_needed(name: str) -> None:
    assert list(names_in((PACKAGE / name).read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "source",
    [
        "from tubelet.models.vtn.model import VTN",
        "from tubelet.models import vivit",
        "def f(model):\n    return isinstance(model, TimeSformer)",
        "if name.startswith('vtn_'):\n    pass",
        "raise ValueError(f'{name} is no ViViT')",
        "MODELS['torchvision/s3d']",
    ],
)
def test_a_name_is_found(source: str) -> None:
    assert list(names_in(source))


def test_docstrings_help_and_the_library_torchvision_pass() -> None:
    source = '"""For a ViViT."""\nfrom torchvision.transforms import v2\nDESCRIPTION = f"cost vivit_b16x2_fe {x}"'
    assert list(names_in(source)) == []


def test_every_model_has_one_family_and_its_name_begins_with_it() -> None:
    assert list(MODELS) == [name for family in FAMILIES for name in family.models]
    for name in MODELS:
        assert re.split(r"[_/]", name)[0] == family_of(name).name


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_has_its_files(family: object) -> None:
    folder = PACKAGE / "models" / family.name  # type: ignore[attr-defined]
    expected = {"__init__.py", "config.py", "family_weights.py", "model.py", "variants.py", "weights.py"}
    assert expected <= {f.name for f in folder.iterdir()}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_config_imports_the_standard_library_only(family: object) -> None:
    tree = ast.parse((PACKAGE / "models" / family.name / "config.py").read_text(encoding="utf-8"))  # type: ignore[attr-defined]
    modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    own = {name for name in modules if name.partition(".")[0] not in sys.stdlib_module_names}
    assert own <= {"tubelet.errors", "tubelet.types"}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_what_a_family_says_without_its_weights_is_what_they_hold(family: Family) -> None:
    weights = family.weights()
    assert family.formats.keys() == weights.converters.keys()
    assert family.huggingface.keys() == weights.huggingface.keys()
    for model_class, config_class, _ in family.models.values():
        assert get_type_hints(model_class().__init__)["config"] in config_class.__mro__
