"""``tubelet train --sweep``: runs a grid of settings, chooses on the validation split, and tests the best."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from tubelet.commands.console import output_console
from tubelet.data.manifest.read import read_manifest
from tubelet.errors import ConfigError, TubeletError
from tubelet.files import check_path, write_atomically
from tubelet.recipe import RECIPE, Recipe
from tubelet.runs.data import read_run_data
from tubelet.runs.fast_fp32 import products_of
from tubelet.runs.result import RunResult, carry_out, content_key
from tubelet.runs.run import CompletedRun, run_recipe
from tubelet.session.console_progress import ConsoleProgress
from tubelet.session.folder_lock import locked
from tubelet.session.session import Session
from tubelet.studies.folds import FoldSummary, summarize_folds
from tubelet.studies.sweep import Axis, GridPoint, Make, Repeat, Sweep, Values, parse_axes, run_sweep
from tubelet.tasks.choose import task_of
from tubelet.tasks.per_frame.task import PerFrame


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of a sweep."""

    axes: tuple[str, ...]  # FIELD=VALUE,VALUE,... each
    seeds: Sequence[int]  # or folds
    repeat: Repeat
    folder: Path
    device: torch.device
    command: str  # printed again where the sweep stops


def sweep(request: Request, recipe: Recipe, make: Make, *, as_json: bool) -> int:
    """Run the grid, test the runs of the best setting, and print the results.

    Args:
        recipe: without any of the settings.
        make: the recipe of a setting and a seed.
    """
    axes = parse_axes(request.axes)
    _check_folder(request.folder, axes)
    request.folder.mkdir(parents=True, exist_ok=True)
    with locked(request.folder), products_of(request.folder, Session(device=request.device)):
        return _sweep(request, axes, recipe, make, as_json=as_json)


def _sweep(request: Request, axes: Sequence[Axis], recipe: Recipe, make: Make, *, as_json: bool) -> int:
    metric = recipe.training.best_metric
    if metric == "auto":
        metric = _best_metric(recipe)
    found = _run(request, axes, make, metric)
    best = found.best
    if best is None:
        raise TubeletError(
            f"{request.folder}: the loss of every setting was not finite in at least one run; lower optim.lr or "
            "lengthen optim.warmup_epochs"
        )
    tested = [_tested(request, best, make, seed) for seed in request.seeds]
    result = found.to_dict() | {"command": request.command, "best_on_test": [run.to_dict() for run in tested]}
    folds = summarize_folds([run.evaluation for run in tested]) if request.repeat == "fold" else None
    if folds is not None:
        result["best_on_test_folds"] = folds.to_dict()
    write_atomically(request.folder / "sweep.json", json.dumps(result, indent=2) + "\n")
    if as_json:
        print(json.dumps(result, indent=2))
    else:
        print_sweep(found, tested, folds)
    print(f"sweep: {request.folder / 'sweep.csv'}, {request.folder / 'sweep.json'}", file=sys.stderr)
    return 0


def _best_metric(recipe: Recipe) -> str:
    """What decides where the recipe does not say."""
    if recipe.per_frame is not None:
        return PerFrame.best
    return task_of(read_manifest(recipe.data.path, recipe.data.manifest)).best


def _run(request: Request, axes: Sequence[Axis], make: Make, metric: str) -> Sweep:
    fingerprints: dict[str, str] = {}  # of each data that a setting or fold names
    first: dict[str, Path] = {}  # the run whose split the others of the same data take

    def train(recipe: Recipe, folder: Path) -> RunResult:
        data = repr((recipe.data.source, recipe.data.manifest))
        if data not in fingerprints:
            first[data] = folder
            fingerprints[data] = read_run_data(recipe, folder).fingerprint
        with ConsoleProgress(f"{position} {folder.parent.name}/{folder.name}") as progress:
            result = carry_out(
                recipe,
                folder,
                content_key(recipe, fingerprints[data], request.folder),
                Session(device=request.device, progress=progress),
                like=first[data],
            )
            progress.note(result.diverged or f"validation {metric} {result.metrics.get(metric)}")
        return result

    position = ""

    def show(done: int, total: int) -> None:
        nonlocal position
        position = f"[{min(done + 1, total)}/{total}]"

    return run_sweep(
        axes, request.seeds, make, train, request.folder, metric=metric, repeat=request.repeat, on_run=show
    )


def _tested(request: Request, best: GridPoint, make: Make, seed: int) -> CompletedRun:
    """Test a run of the best setting. Its best checkpoint sees the test split only here."""
    folder = request.folder / best.name / f"{request.repeat}{seed}"
    with ConsoleProgress(f"testing {best.name}/{folder.name}") as progress:
        result = run_recipe(make(best.values, seed), folder, Session(device=request.device, progress=progress))
        progress.note(result.evaluation.summary)
    return result


def _check_folder(folder: Path, axes: Sequence[Axis]) -> None:
    check_path(folder)
    if (folder / RECIPE).exists():
        names = ", ".join(axis.field for axis in axes)
        raise ConfigError(f"{folder}: holds a single run, not a sweep over {names}; give another --out")


def print_sweep(found: Sweep, tested: Sequence[CompletedRun], folds: FoldSummary | None) -> None:
    """Print a row per setting with the best marked, then its test metrics."""
    table = Table(title=f"validation {found.metric} of {found.num_seeds} {found.repeat}s per setting")
    for axis, _ in found.settings[0].values:
        table.add_column(axis, justify="right")
    for heading in (found.metric, "sd", "runs", "diverged", "training"):
        table.add_column(heading, justify="right")
    best, rows = found.best, found.to_dict()["settings"]
    for setting, row in zip(found.settings, rows, strict=True):
        cells = [value for _, value in setting.values]
        numbers = [_number(row["mean"]), _number(row["sd"]), str(row["num_runs"]), str(row["num_diverged"])]
        style = "bold" if setting is best else None
        table.add_row(*cells, *numbers, f"{row['train_seconds']:.0f} s", style=style)
    console = output_console()
    console.print(table)
    assert best is not None
    console.print(f"best: {best.name}; its test split, seen by no other setting:", highlight=False, markup=False)
    for run in tested:
        console.print(f"  {run.folder.name}: {run.evaluation.summary}", highlight=False, markup=False, soft_wrap=True)
    if folds is not None:
        console.print(f"  over folds: {folds.text}", highlight=False, markup=False, soft_wrap=True)
        console.print("  It was chosen on rows that other folds test, so that this is slightly optimistic.")
    elif found.num_seeds == 1:
        console.print("One seed per setting: differences may be chance; --seeds 3 says more.", highlight=False)
    console.print(f"train it again: tubelet train ... {_flags(best.values)}", highlight=False, markup=False)


def _flags(values: Values) -> str:
    return shlex.join(word for key, value in values for word in (f"--{key}", value))


def _number(value: Any) -> str:
    return "–" if value is None else f"{value:.4f}"
