"""The data of a run. A run keeps the split that it began with, whatever is found out about the data later."""

from __future__ import annotations

from pathlib import Path

from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.near_copies import OnFile
from tubelet.data.manifest.read import read_manifest
from tubelet.data.manifest.recorded_split import as_recorded
from tubelet.recipe import Recipe
from tubelet.runs.folder import read_facts


def read_run_data(
    recipe: Recipe, folder: Path, like: Path | None = None, on_file: OnFile = lambda done, total: None
) -> Manifest:
    """Read the data of the run in ``folder`` with the split that it began with, or with a new one for a new run.

    Args:
        like: the folder of another run, whose split a new run takes. None means its own.
        on_file: called with the files that were searched for near-copies, and their number.
    """
    facts = read_facts(folder) or ({} if like is None else read_facts(like))
    config, recorded = as_recorded(recipe.data.manifest, facts)
    return read_manifest(recipe.data.path, config, recorded=recorded, on_file=on_file)
