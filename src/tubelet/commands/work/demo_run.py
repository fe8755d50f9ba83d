"""A run of a demo with its report."""

from __future__ import annotations

import json
from pathlib import Path

from tubelet.api.train import report_runs
from tubelet.commands.demo import Options
from tubelet.recipe import load_recipe
from tubelet.runs.completed import CompletedRun
from tubelet.runs.run import run_recipe
from tubelet.session.console_progress import ConsoleProgress
from tubelet.session.device import choose_device
from tubelet.session.session import Session


def carry_out(
    name: str, data: Path, folder: Path, options: Options, more: list[tuple[str, str]], command: str
) -> CompletedRun:
    """One run with its report; a finished one is only measured again, a stopped one goes on."""
    fields = [("data.source", json.dumps(str(data.resolve()))), *more]
    if options.epochs is not None:
        fields.append(("training.num_epochs", str(options.epochs)))
    recipe = load_recipe(name, fields)
    with ConsoleProgress(folder.name) as progress:
        result = run_recipe(recipe, folder, Session(device=choose_device(options.device), progress=progress))
        progress.note(result.evaluation.summary)
        report_runs(folder, recipe, [result], command, progress)
    return result
