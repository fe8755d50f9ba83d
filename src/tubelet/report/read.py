"""Reads a run folder for the report. A missing file becomes a note, a damaged file is an error.

Layout: ``recipe.yaml``, ``log.csv`` and ``validation.csv`` (one row per step and per validation),
``unreadable.csv`` (training videos that could not be read), ``best/`` or ``last/`` (``model.safetensors``,
``tubelet.json``), ``evaluation/<split>/metrics.json``.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from tubelet.config import load_yaml
from tubelet.data.manifest.failure_budget import UNREADABLE
from tubelet.data.manifest.quarantine import read_quarantine
from tubelet.data.manifest.recorded_split import KEY
from tubelet.errors import CheckpointError, DataError, TubeletError, reason
from tubelet.recipe import RECIPE
from tubelet.tasks.choose import task_of_metrics
from tubelet.tasks.single_label import SingleLabel
from tubelet.tasks.task import Task
from tubelet.weights.checkpoint.checkpoint import RECORD, WEIGHTS, read_record

Columns = dict[str, list[float]]  # one list per column of a CSV, NaN where a cell is empty

RUN_KEYS = ("split", "num_failed", "failed", "views", "averaging")  # of metrics.json, beside those of the task


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """The content of one run folder."""

    name: str
    path: Path
    model: str
    num_parameters: int | None  # None without a checkpoint
    recipe: str  # the text of recipe.yaml
    log: Columns
    validation: Columns
    task: type[Task]
    metrics: Mapping[str, Any] | None  # of the split that is reported
    provenance: Mapping[str, Any]  # from the checkpoint
    unread: tuple[str, ...] = ()  # training videos that could not be read, one line each
    notes: list[str] = field(default_factory=list)  # what is missing, one line each
    split_text: str = ""  # how the splits were made; empty if that is not known

    @property
    def has_class_intervals(self) -> bool:
        """Whether figures of classes are shares of held-out videos that belong to no groups."""
        if self.metrics is None or not self.task.per_class_is_share:
            return False
        return "num_groups" not in self.metrics and self.metrics["split"] != "train"


def read_run(path: Path) -> RunFolder:
    """Read the run folder ``path``. The split reported is test, else val, else the first by name.

    Raises:
        TubeletError: ``path`` is not a run folder, or a file of the run is damaged.
    """
    evaluations = {p.parent.name: p for p in sorted(path.glob("evaluation/*/metrics.json"))}
    known = [path / RECIPE, path / "log.csv", *evaluations.values()]
    if not any(file.is_file() for file in known):
        raise TubeletError(
            f"{path}: not a run folder: expected recipe.yaml, log.csv or evaluation/<split>/metrics.json in it; "
            "give a folder that `tubelet train` or `tubelet evaluate` wrote"
        )
    notes: list[str] = []
    split = next((s for s in ("test", "val", *evaluations) if s in evaluations), None)
    if split is None:
        notes.append("No evaluation/<split>/metrics.json: this run has not been evaluated.")
    checkpoint = next((path / n for n in ("best", "last") if (path / n / RECORD).is_file()), None)
    record = read_record(checkpoint) if checkpoint else None
    if record is None:
        notes.append("No best/ or last/ checkpoint: parameters, versions and data fingerprint are not known.")
    provenance = record.provenance if record else {}
    metrics = _read_metrics(evaluations[split]) if split else None
    task = SingleLabel if metrics is None else task_of_metrics(metrics)
    steps = [column.key for column in task.steps]
    validated = [key for key in steps if key in task.validation_header()]
    recipe_file = path / RECIPE
    recipe = load_yaml(recipe_file) if recipe_file.is_file() else {}
    if not recipe:
        notes.append("No recipe.yaml: the settings of this run are not known.")
    return RunFolder(
        name=path.resolve().name,
        path=path,
        model=record.model_name if record else _model_name(recipe),
        num_parameters=_num_parameters(checkpoint / WEIGHTS) if checkpoint else None,
        recipe=recipe_file.read_text(encoding="utf-8") if recipe else "",
        log=_read_columns(path / "log.csv", ("step", "lr", *steps, "wait_share", "seconds"), "training", notes),
        validation=_read_columns(path / "validation.csv", ("step", *validated), "validation", notes),
        task=task,
        metrics=metrics,
        provenance={name: value for name, value in provenance.items() if name != KEY},
        unread=tuple(line.reason for line in read_quarantine(unread)) if (unread := path / UNREADABLE).exists() else (),
        notes=notes,
        split_text=provenance.get(KEY, {}).get("text", ""),
    )


def _read_columns(path: Path, required: tuple[str, ...], kind: str, notes: list[str]) -> Columns:
    if not path.is_file():
        notes.append(f"No {path.name}: no {kind} curves.")
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV ({reason(error)}); remove it or restore it") from None
    missing = [name for name in required if name not in header]
    if missing:
        raise DataError(f"{path}: expected a column '{missing[0]}', found {', '.join(header) or 'an empty file'}")
    if rows and len(rows[-1]) < len(header):  # a run that is being written, or was killed while writing
        notes.append(f"The last row of {path.name} is incomplete and left out.")
        rows.pop()
    columns: Columns = {name: [] for name in header}
    for line, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise DataError(f"{path}: line {line} has {len(row)} cells, expected {len(header)}")
        for name, cell in zip(header, row, strict=True):
            columns[name].append(_number(cell, f"{path}: line {line}, column '{name}'"))
    return columns


def _number(cell: str, where: str) -> float:
    try:
        return float(cell) if cell else math.nan
    except ValueError:
        raise DataError(f"{where}: expected a number, got '{cell}'") from None


def _read_metrics(path: Path) -> Mapping[str, Any]:
    metrics = _read_json(path)
    missing = [key for key in RUN_KEYS if key not in metrics] or task_of_metrics(metrics).missing_keys(metrics)
    if missing:
        raise DataError(f"{path}: expected the key '{missing[0]}'; run `tubelet evaluate` again")
    return metrics


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({reason(error)}); write it again or remove it") from None
    if not isinstance(data, dict):
        raise DataError(f"{path}: expected a JSON object, got {type(data).__name__}")
    return data


def _model_name(recipe: Mapping[str, Any]) -> str:
    model = recipe.get("model")
    name = model.get("name") if isinstance(model, Mapping) else model
    return name if isinstance(name, str) else "not known"


def _num_parameters(weights: Path) -> int:
    """Numbers in the checkpoint, from the header of its file."""
    try:
        with safe_open(weights, framework="numpy") as tensors:
            return sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{weights}: cannot be read ({reason(error)}); copy the checkpoint again") from None
