"""No file outside of the tasks names a metric: what shows numbers asks the task for them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import tubelet
from tubelet.tasks.choose import TASKS
from tubelet.tasks.task import LOSS

PACKAGE = Path(tubelet.__file__).parent
FILES = sorted(file for file in PACKAGE.rglob("*.py") if file.relative_to(PACKAGE).parts[0] != "tasks")

# Every task has a loss, which the loop watches.
METRICS = {
    metric.key: metric.title for task in TASKS for metric in task.metrics if metric.title and metric.key != LOSS.key
}
# What a file may name, and why.
ALLOWED = {
    "published.py": {"top1", "top5"},  # columns of published.csv
    "report/comparison_tables.py": {"top-1"},  # what published figures are
    "commands/evaluate.py": {"AUROC"},  # its help
    # Of known against unknown clips, which is no metric of a task; and the calibration before the temperature.
    "evaluation/rejection.py": {"auroc"},
    "evaluation/evaluate.py": {"auroc", "AUROC", "calibration_error"},
    "report/tables.py": {"auroc", "AUROC"},
}


def names() -> re.Pattern[str]:
    """Keys and titles; a title up to what is filled in (``top-{top5_k}``)."""
    titles = (title.partition("{")[0].rstrip("- ") for title in METRICS.values())
    known = {*METRICS, *(title for title in titles if len(title) > 3), "mAP", "top-1", "top-5"}
    return re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, sorted(known, key=len, reverse=True)))})(?![\w-])")


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every string that is no docstring, those inside f-strings too."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def found_in(source: str, allowed: set[str]) -> list[str]:
    pattern = names()
    return [f"line {line}: {text!r}" for line, text in texts(ast.parse(source)) if set(pattern.findall(text)) - allowed]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_file_outside_of_the_tasks_names_a_metric(file: Path) -> None:
    allowed = ALLOWED.get(file.relative_to(PACKAGE).as_posix(), set())
    assert found_in(file.read_text(encoding="utf-8"), allowed) == []


def test_pages_name_none_either() -> None:
    for file in PACKAGE.rglob("*.j2"):
        assert names().findall(file.read_text(encoding="utf-8")) == [], file


@pytest.mark.parametrize("source", ['x = "top1"', 'f"the {m} AUROC of it"', 'd["mean_average_precision"]'])
def test_a_name_is_found(source: str) -> None:
    assert len(found_in(source, set())) == 1


def test_a_metric_means_the_same_in_all_tasks() -> None:
    directions: dict[str, set[bool]] = {}
    for task in TASKS:
        for metric in task.ranked().values():
            directions.setdefault(metric.key, set()).add(metric.is_lower_better)
    assert all(len(found) == 1 for found in directions.values()), directions


def test_every_task_has_its_best_metric_and_the_values_of_its_steps() -> None:
    for task in TASKS:
        assert task.decisive("auto").key == task.best
        assert task.steps[0].key == LOSS.key
        assert task.baseline in {metric.key for metric in task.metrics}
