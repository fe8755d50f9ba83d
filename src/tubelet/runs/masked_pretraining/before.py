"""The pre-training that a run begins with (``pretrain_on``): a run of its own in the folder ``pretraining`` of it.

    recipe.yaml           of the whole run, from its beginning on
    held_out.csv          footage that is left out because it shows validation or test items of the labeled data
    pretraining/          a run of the task ``masked_pretraining``; its best encoder begins the training

Killed in either part, the run goes on where it was.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from tubelet.config import dotted, to_dict
from tubelet.data.layouts.feature_store import LAYOUT
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.quarantine import Quarantined, quarantined, read_quarantine, row_path, write_quarantine
from tubelet.data.manifest.same_file import check_files
from tubelet.errors import ConfigError, DataError
from tubelet.recipe import RECIPE, Recipe, load_recipe, save_recipe
from tubelet.runs.data import read_data_of_all, read_run_data
from tubelet.runs.folder import PRETRAINING, is_empty, read_facts, resume_recipe, write_facts
from tubelet.runs.masked_pretraining.leaks import how_compared, rows_held_out
from tubelet.runs.masked_pretraining.model import first_pretraining
from tubelet.runs.masked_pretraining.run import run_masked_pretraining
from tubelet.runs.working_folder import working_in
from tubelet.session.session import Session
from tubelet.training.state.resume import FILE as STATE

HELD_OUT = "held_out.csv"  # a quarantine list
REASON = "held out of the labeled data"  # in that list
KEY = "pretraining"  # in run.json
_OF_THE_RUN = ("protocol", "seed", "pretrain_on")  # groups that both parts share
_OF_LABELS = ("labels", "multi_label", "number_scales")  # fields of a protocol


def pretraining_recipe(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe of the pre-training of a run with ``pretrain_on``.

    Args:
        folder: of the run, whose list of held-out footage is left out where it is there.

    Raises:
        ConfigError: the recipe it names is none of a pre-training, or does not fit the model of the run.
    """
    assert recipe.pretrain_on is not None
    asked, data = recipe.pretrain_on, recipe.data
    protocol = {key: value for key, value in to_dict(recipe.protocol).items() if key not in _OF_LABELS}
    fields: dict[str, Any] = {
        "model": {key: value for key, value in recipe.model.items() if "drop" not in key},  # nothing is dropped here
        "protocol": protocol,
        "data.num_workers": data.num_workers,
        "data.decode_timeout_seconds": data.decode_timeout_seconds,
        "data.failure_budget": data.failure_budget,
        "training.precision": recipe.training.precision,
        "training.strategy": recipe.training.strategy,
        "seed": recipe.seed,
    }
    if asked.source == data.source:  # then with the same splits
        fields["data.manifest"] = to_dict(data.manifest) | {"train_fraction": 1.0}
    further = dict(dotted(asked.fields))
    for key in further:
        if key.partition(".")[0] in _OF_THE_RUN or key in ("data.source", "model.name"):
            raise ConfigError(f"pretrain_on.fields.{key}: is that of the run itself; set {key} in its place")
    fields |= {"data.source": asked.source, **further}
    if (folder / HELD_OUT).is_file():
        fields["data.manifest.quarantine"] = str((folder / HELD_OUT).resolve())
    made = load_recipe(asked.recipe, [(key, json.dumps(value)) for key, value in fields.items()])
    if made.masked_pretraining is None:
        raise ConfigError(f"pretrain_on.recipe {asked.recipe}: has no masked_pretraining; give one of a pre-training")
    return made


def pretrain_before(recipe: Recipe, folder: Path, session: Session, like: Path | None = None) -> None:
    """Pre-train in the folder of a run, or go on there; nothing where the run trains already.

    Args:
        like: as of ``run_recipe``.

    Raises:
        TubeletError: what cannot be used, before anything is trained or written; else as ``run_masked_pretraining``.
    """
    if (folder / STATE).exists():
        return
    labeled = read_data_of_all(recipe, folder, like, session)
    if labeled.layout == LAYOUT:
        raise DataError(f"{recipe.data.source}: holds stored features; an encoder is trained on the clips themselves")
    first = pretraining_recipe(recipe, folder)
    processes = session.processes
    processes.on_main(lambda: check_files(labeled))
    processes.main_first(lambda: first_pretraining(first, session))  # refuses what has no pre-training
    with working_in(folder, session):
        processes.on_main(lambda: _begin(recipe, labeled, folder, session))
        run_masked_pretraining(pretraining_recipe(recipe, folder), folder / PRETRAINING, session)


def record_pretraining(folder: Path) -> None:
    """Put into ``run.json`` what the run was pre-trained on, and what was left out of it."""
    of_first = read_facts(folder / PRETRAINING)
    listed = read_quarantine(folder / HELD_OUT) if (folder / HELD_OUT).is_file() else ()
    found = {
        "source": resume_recipe(folder / PRETRAINING).data.source,
        "data_fingerprint": of_first["data_fingerprint"],
        # Files that were compared by content: what is left shows no test item, and is not trained on validation items.
        "num_held_out": sum(line.reason == REASON for line in listed),
    }
    write_facts(folder, read_facts(folder) | {KEY: found})


def _begin(recipe: Recipe, labeled: Manifest, folder: Path, session: Session) -> None:
    """Write recipe and list of a new run; of one that has begun, look whether the list still holds."""
    place, first = folder / PRETRAINING, pretraining_recipe(recipe, folder)
    if not (folder / RECIPE).exists():
        if not is_empty(folder):
            raise ConfigError(f"{folder}: not empty and not a run; give another --out")
        lines, how = _held_out(first, labeled, None, session)
        given = first.data.manifest.quarantine
        if lines:
            write_quarantine(folder / HELD_OUT, [*(read_quarantine(given) if given else ()), *lines])
        session.progress.note(
            f"pretrain_on: {len(lines)} rows of the footage are left out, as they show what {recipe.data.source} holds "
            f"out for validation and test ({how})"
        )
        save_recipe(recipe, folder / RECIPE)
        return
    begun = resume_recipe(place) if (place / RECIPE).exists() else first
    if begun != first and dataclasses.replace(begun, data=first.data) == first:
        save_recipe(first, place / RECIPE)  # the folder was moved, and the list of held-out footage with it
    lines, _ = _held_out(first, labeled, place, session)
    if lines:
        raise DataError(
            f"{recipe.data.source} or the footage changed since the pre-training of {folder} began: the footage shows "
            f"{lines[0].path}{f' and {len(lines) - 1} more' if len(lines) > 1 else ''} of what is held out now, and "
            "nothing left it out; restore both, or start a new run"
        )


def _held_out(first: Recipe, labeled: Manifest, place: Path | None, session: Session) -> tuple[list[Quarantined], str]:
    """Lines for the rows of the footage that show what is held out, and how they were looked for, in words."""

    def on_row(done: int, total: int) -> None:
        session.advance(done, total, text="looking for held-out items in the footage")

    footage = read_run_data(first, place)
    trained = footage.with_samples([row for row in footage.samples if row.split != "test"])  # which is never read
    found = rows_held_out(trained, labeled, on_row)
    lines = [dataclasses.replace(quarantined(row, REASON), path=row_path(row), split=None) for row in found]
    return lines, how_compared(trained, labeled)
