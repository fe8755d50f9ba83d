"""``tubelet.train``: a recipe carried out, from data to a run with metrics and a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tubelet.api.recipe_fields import chosen_fields, pretraining_fields, with_kept_rules
from tubelet.api.run import Run
from tubelet.errors import ConfigError, Stopped
from tubelet.recipe import DEFAULT_RECIPE, Recipe, load_recipe, run_name
from tubelet.report.hard_clips import hard_clips
from tubelet.report.page import data_name
from tubelet.report.painted_clips import painted_examples
from tubelet.report.relevance.report_clips import ClipExplainer
from tubelet.report.run_report import write_run_report
from tubelet.runs.completed import CompletedRun
from tubelet.runs.folder import kept_rules, rules_note
from tubelet.runs.run import run_recipe
from tubelet.session.console_progress import ConsoleProgress
from tubelet.session.device import choose_device
from tubelet.session.progress import Progress
from tubelet.session.session import Session
from tubelet.types import Device


def train(
    data: str | Path | None = None,
    *,
    model: str | None = None,
    init: str | None = None,
    recipe: str | Path | None = None,
    out: str | Path | None = None,
    device: Device = "auto",
    progress: bool = True,
    **fields: Any,
) -> Run:
    """Train a classifier, choose its best epoch on validation, and evaluate that on the test split.

    A call with the same arguments goes on where a stopped one ended, to the same weights.

    Args:
        data: a folder with a folder of videos per class, a .csv or .npz file, or a feature store.
        model: a name of ``list_models``. None means the recipe's, or the one that ``init`` is for.
        init: first weights: a timm model, a file, a checkpoint folder, or ``owner/name`` on huggingface.co.
        recipe: a shipped recipe by name, or a YAML file. None means the recipe for folders of videos.
        out: run folder. None means ``runs/NAME``, by data and model.
        device: "auto" is the first of CUDA, MPS and CPU that is there.
        progress: report on stderr.
        fields: any field of a recipe (``tubelet train --fields`` lists them): ``epochs=5``, ``optim={"lr": 1e-3}``,
            ``seed=1``, ``**{"data.num_workers": 4}``. ``pretrain_on="footage"`` pre-trains on footage without labels
            first, as ``--pretrain-on`` does.

    Raises:
        TubeletError: data, recipe or folder cannot be used, in one line.
        Stopped: Ctrl-C or the notebook's stop button; what was computed stays, and the same call goes on.
    """
    source, chosen = _chosen(data, model, init, recipe, fields)
    resolved = load_recipe(source, chosen)
    name = run_name(None if recipe is None else str(recipe), data, resolved.model["name"])
    folder = Path("runs") / name if out is None else Path(out)
    with ConsoleProgress(folder.resolve().name, is_quiet=not progress) as shown:
        if rules := kept_rules(folder):
            shown.note(f"note: {rules_note(folder, rules)}")
            resolved = with_kept_rules(source, chosen, rules)
        return carry_out(resolved, folder, Session(device=choose_device(device), progress=shown), "tubelet.train(...)")


def carry_out(recipe: Recipe, folder: Path, session: Session, command: str) -> Run:
    """Train, evaluate and report in a folder.

    Args:
        command: what the report says that made it.
    """
    try:
        completed = run_recipe(recipe, folder, session)
    except Stopped as stop:
        raise Stopped(f"{folder}: {stop}; the same call goes on", stop.signal_number) from None
    session.progress.note(completed.evaluation.summary)
    report_runs(folder, recipe, [completed], command, session.progress)
    return Run(folder)


def report_runs(folder: Path, recipe: Recipe, runs: Sequence[CompletedRun], command: str, progress: Progress) -> Path:
    """Write the report of runs side by side, with the hard clips of the first, and return its path."""
    first = runs[0]
    explainer = ClipExplainer(first.folder / "best", first.protocol, progress)
    return write_run_report(
        folder / "report.html",
        [run.folder for run in runs],
        title=f"{recipe.model['name']} on {data_name(recipe.data.source)}",
        examples=[
            *hard_clips(first.evaluation, first.manifest, first.protocol, progress, explainer),
            *painted_examples(first.evaluation),
        ],
        command=command,
    )


def _chosen(
    data: str | Path | None, model: str | None, init: str | None, recipe: str | Path | None, fields: dict[str, Any]
) -> tuple[str, list[tuple[str, str]]]:
    """The recipe to begin with, and its fields."""
    if data is None and recipe is None:
        raise ConfigError("nothing to train on: give data, or a recipe that names them")
    source, before = str(recipe or DEFAULT_RECIPE), list[tuple[str, str]]()
    if isinstance(footage := fields.get("pretrain_on"), str | Path):
        if init is not None:
            raise ConfigError("pretrain_on gives the first weights: leave init out")
        before = pretraining_fields(footage, source)
        fields = {name: value for name, value in fields.items() if name != "pretrain_on"}
    chosen = chosen_fields(data, model, init, fields, suggests=model is None and recipe is None)
    return source, [*before, *chosen]
