"""Functions, argument lists, files and folders stay small. What is over a bound stands here, and nothing joins it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

import tubelet

PACKAGE = Path(tubelet.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES, MOST_ARGUMENTS, MOST_LINES_OF_FILE, MOST_FILES = 50, 8, 300, 20

# Over a bound, and still to be made smaller. A name that is no longer over it must go.
LONG = {
    "data/manifest/read.py manifest_of",
    "data/synthetic.py write_motion_set",
    "data/video/packet_index.py _build",
    "evaluation/evaluate.py evaluate",
    "inference/feature_extraction.py extract",
    "runs/run.py run_recipe",
    "weights/mapping/rules.py map_weights",
}
MANY_ARGUMENTS = {
    "data/loading/loader.py __init__",
    "evaluation/evaluate.py evaluate",
    "inference/live.py __init__",
    "models/timesformer/divided.py __init__",
    "nn/block.py __init__",
    "training/estimate.py estimate_memory",
}
LARGE = {
    "config.py",
    "data/synthetic.py",
    "data/video/packet_index.py",
    "inference/predictor.py",
    "models/vivit/model.py",
    "runs/run.py",
    "studies/results.py",
}
FULL = {"commands", "commands/work"}


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{file.relative_to(PACKAGE)} {node.name}", node


def lines_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def arguments_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def test_functions_are_short_and_take_few_arguments() -> None:
    found = list(functions())
    assert {name for name, node in found if lines_of(node) > MOST_LINES} == LONG
    assert {name for name, node in found if arguments_of(node) > MOST_ARGUMENTS} == MANY_ARGUMENTS


def test_most_functions_are_much_shorter() -> None:
    lengths = [lines_of(node) for _, node in functions()]
    assert median(lengths) <= 8
    assert quantiles(lengths, n=10)[-1] <= 23


def test_files_and_folders_are_small() -> None:
    lines = {str(f.relative_to(PACKAGE)): len(f.read_text(encoding="utf-8").splitlines()) for f in FILES}
    assert {name for name, number in lines.items() if number > MOST_LINES_OF_FILE} == LARGE
    folders = {file.parent for file in FILES}
    full = {str(folder.relative_to(PACKAGE)) for folder in folders if len(list(folder.glob("*.py"))) > MOST_FILES}
    assert full == FULL
