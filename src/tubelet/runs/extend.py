"""A run that goes on for more epochs than it was begun with. What it has trained so far stays to the bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tubelet.errors import ConfigError
from tubelet.recipe import RECIPE, Recipe, save_recipe
from tubelet.runs.folder import FACTS, read_facts, resume_recipe, write_facts
from tubelet.runs.result import FILE as RESULT
from tubelet.session.folder_lock import locked
from tubelet.training.config import Schedule
from tubelet.training.state.resume import steps_done


def extended(recipe: Recipe, num_epochs: int, schedule: Schedule) -> Recipe:
    """Return the recipe of a run that is to train for ``num_epochs`` in place of the epochs of its recipe.

    Args:
        schedule: of the learning rate. "recompute" makes it that of a run of ``num_epochs`` from the resumed step on.
            "continue" leaves it as it is; after its end the rate stays at ``optim.min_lr``.

    Raises:
        ConfigError: Fewer epochs than before, or a rate of zero in all that are added.
    """
    before = recipe.training.num_epochs
    if num_epochs < before:
        raise ConfigError(
            f"--training.num_epochs {num_epochs}: the run has {before} epochs, which --resume may only raise"
        )
    if num_epochs == before:
        return recipe
    length = recipe.optim.schedule_epochs or before
    if recipe.optim.step_epochs:  # counted from the start of the run, whatever its length
        optim = recipe.optim
    elif schedule == "recompute":
        optim = dataclasses.replace(recipe.optim, schedule_epochs=None)
    elif recipe.optim.min_lr == 0:
        raise ConfigError(
            f"--schedule continue: the learning rate falls to 0 (optim.min_lr) over {length} epochs, and epochs after "
            "them would learn nothing; give --schedule recompute"
        )
    else:
        optim = dataclasses.replace(recipe.optim, schedule_epochs=length)
    training = dataclasses.replace(recipe.training, num_epochs=num_epochs)
    return dataclasses.replace(recipe, training=training, optim=optim)


def extend_run(folder: Path, recipe: Recipe, report: Callable[[str], None]) -> None:
    """Put the recipe in place of that of the run, whose ``run.json`` records it. Nothing happens where it is the same.

    Raises:
        ConfigError: Another process works in the folder, or the run is one of several that are compared.
    """
    before = resume_recipe(folder)
    if recipe == before:
        return
    if (folder / RESULT).exists():
        raise ConfigError(
            f"{folder}: is a run of a sweep or a comparison, which trains all runs alike; train its recipe for more "
            f"epochs in a folder of its own (tubelet train {folder / RECIPE} --training.num_epochs N --out OUT)"
        )
    how = schedule_text(before, recipe)
    with locked(folder):
        step = steps_done(folder)
        extension = {
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "step": step,
            "num_epochs": [before.training.num_epochs, recipe.training.num_epochs],
            "schedule": how,
        }
        if (folder / FACTS).exists():
            facts = read_facts(folder)
            write_facts(folder, facts | {"extended": [*facts.get("extended", []), extension]})
        save_recipe(recipe, folder / RECIPE)
    report(
        f"{folder}: trains {recipe.training.num_epochs} epochs in place of {before.training.num_epochs}; from step "
        f"{step} on the learning rate {how}"
    )


def schedule_text(before: Recipe, after: Recipe) -> str:
    """What becomes of the learning rate, in words."""
    if after.optim.step_epochs:
        return (
            f"falls after the epochs of optim.step_epochs, as before ({', '.join(map(str, after.optim.step_epochs))})"
        )
    if after.optim.schedule_epochs is None:
        length = before.optim.schedule_epochs or before.training.num_epochs
        return (
            f"is recomputed for {after.training.num_epochs} epochs in place of {length} (--schedule continue keeps it)"
        )
    return (
        f"goes on as before over {after.optim.schedule_epochs} epochs, and stays at {after.optim.min_lr:g} after them"
    )
