"""Figures of the tree under src/tubelet, read with ``ast``: the second half of structure.py, which prints them.

``parameters``: functions with a parameter of that name. ``imports``: inside a folder, its direct
sub-folders and files are boxes, and an import at any depth of the code is an arrow between two; levels are the longest
chain of boxes; arrows in cycles are those between boxes that reach each other, so one at least of them goes upward.
``families``: files outside models/ that name a family in identifiers, in code with its strings but without docstrings,
and in the whole text. ``metrics``: files that name a metric as an identifier or a whole string.
"""

from __future__ import annotations

import ast
import re
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[1] / "src" / "tubelet"
FAMILY = re.compile(r"vivit|vtn|uniformer|timesformer|videomae|vjepa|videoprism", re.IGNORECASE)
PARAMETERS = ("device", "world", "reporter", "stopping", "session")
METRICS = ("top1", "mean_class", "auroc")


def measure_tree() -> dict[str, Any]:
    texts = {file.relative_to(SOURCE).as_posix(): file.read_text(encoding="utf-8") for file in SOURCE.rglob("*.py")}
    trees = {file: ast.parse(text) for file, text in sorted(texts.items())}
    sizes = {file: len(text.splitlines()) for file, text in texts.items()}
    nodes = [node for tree in trees.values() for node in ast.walk(tree)]
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = sorted((f.end_lineno or 0) - f.lineno + 1 for f in functions)
    named = {file: list(names(tree)) for file, tree in trees.items()}
    return {
        "num_lines": sum(sizes.values()),
        "num_files": len(sizes),
        "max_file_lines": max(sizes.values()),
        "num_functions": len(functions),
        "function_lines": {
            "median": statistics.median(lengths),
            "p90": lengths[int(0.9 * len(lengths))],
            "max": lengths[-1],
        },
        "num_functions_with_more_than_8_arguments": sum(len(arguments(f)) > 8 for f in functions),
        "parameters": {name: sum(name in arguments(f) for f in functions) for name in PARAMETERS},
        "imports": {folder: imports(trees, folder) for folder in ("data", "weights", "models", "training")},
        "families": family_files(texts, named),
        "metrics": {metric: sorted(f for f in named if metric in named[f]) for metric in METRICS},
        "folders": folders(sizes),
    }


def arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """All but ``*`` and ``**`` ones and the object or class itself."""
    args = function.args
    return [a.arg for a in (*args.posonlyargs, *args.args, *args.kwonlyargs) if a.arg not in ("self", "cls")]


def names(tree: ast.AST) -> Iterator[str]:
    """Identifiers and strings, without docstrings."""
    prose = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in prose:
            yield node.value
        yield from identifiers(node)


def identifiers(node: ast.AST) -> Iterator[str]:
    """Names that a node itself has: of variables, attributes, arguments, functions, classes, modules."""
    if not isinstance(node, ast.Constant):
        for field in ("id", "attr", "arg", "name", "asname", "module"):
            if isinstance(value := getattr(node, field, None), str):
                yield value


def family_files(texts: Mapping[str, str], named: Mapping[str, list[str]]) -> dict[str, Any]:
    outside = [file for file in sorted(texts) if not file.startswith("models/")]
    pure = {file: [name for node in ast.walk(ast.parse(texts[file])) for name in identifiers(node)] for file in outside}
    found = {
        "identifiers": [file for file in outside if any(map(FAMILY.search, pure[file]))],
        "code": [file for file in outside if any(map(FAMILY.search, named[file]))],
        "text": [file for file in outside if FAMILY.search(texts[file])],
    }
    return {**{f"num_{kind}": len(files) for kind, files in found.items()}, **found}


def imports(trees: Mapping[str, ast.Module], folder: str) -> dict[str, Any]:
    """The boxes directly in a folder, and the arrows between them."""
    boxes: dict[str, set[str]] = defaultdict(set)
    for file, tree in trees.items():
        if not file.startswith(f"{folder}/") or file == f"{folder}/__init__.py":
            continue
        box = file.split("/")[1].removesuffix(".py")
        boxes[box].update(())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                found = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                found = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            parts = [name.split(".") for name in found if name.startswith(f"tubelet.{folder}.")]
            boxes[box].update(part[2] for part in parts if part[2] != box)
    arrows = {box: {target for target in targets if target in boxes} for box, targets in sorted(boxes.items())}
    above = {box: reached(arrows, box) for box in arrows}
    cyclic = [f"{a} -> {b}" for a in arrows for b in sorted(arrows[a]) if a in above[b]]
    return {
        "num_boxes": len(arrows),
        "num_arrows": sum(map(len, arrows.values())),
        "num_levels": max((level(arrows, above, box) for box in arrows), default=0),
        "num_arrows_in_cycles": len(cyclic),
        "arrows_in_cycles": cyclic,
    }


def reached(arrows: Mapping[str, set[str]], box: str) -> set[str]:
    found, new = set[str](), arrows[box]
    while new:
        found |= new
        new = {target for known in new for target in arrows[known]} - found
    return found


def level(arrows: Mapping[str, set[str]], above: Mapping[str, set[str]], box: str) -> int:
    """The longest chain of boxes down from this one; boxes of one cycle count once."""
    cycle = {box} | {other for other in above[box] if box in above[other]}
    below = {target for member in cycle for target in arrows[member]} - cycle
    return 1 + max((level(arrows, above, target) for target in below), default=0)


def folders(sizes: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Files and lines that lie directly in each folder."""
    table: dict[str, dict[str, int]] = defaultdict(lambda: {"files": 0, "lines": 0})
    for file, lines in sorted(sizes.items()):
        row = table[str(Path(file).parent)]
        row["files"], row["lines"] = row["files"] + 1, row["lines"] + lines
    return dict(table)
