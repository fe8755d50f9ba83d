"""``tubelet train --dry-run``: prints the plan of a run, and last what would stop it."""

from __future__ import annotations

import dataclasses
import json
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tubelet.commands.console import output_console
from tubelet.config import dump_yaml, to_dict
from tubelet.recipe import Recipe
from tubelet.runs.folder import PRETRAINING
from tubelet.runs.masked_pretraining.before import pretraining_recipe
from tubelet.runs.plan.make_plan import plan_run
from tubelet.runs.plan.parts import CurvePoint, DataPlan, ModelPlan, Plan, SchedulePlan
from tubelet.session.device import choose_device
from tubelet.session.session import Session
from tubelet.training.estimate import MemoryEstimate
from tubelet.types import Device

_PLOT_HEIGHT = 5  # lines
_BLOCKS = " ▁▂▃▄▅▆▇█"
_MAX_GROUPS = 8  # lines of parameter groups; more are summed up
_MISSING_NAMED = 5


def dry_run(recipe: Recipe, folder: Path, device: Device, is_resumed: bool, *, as_json: bool) -> int:
    """Print the plan, before it that of a pre-training it begins with. Return 1 if anything would stop the run."""
    session, plans = Session(device=choose_device(device)), dict[str, Plan]()
    with Console(stderr=True).status("looking at the data and the model"):
        if recipe.pretrain_on is not None:
            first = pretraining_recipe(recipe, folder)
            plans[PRETRAINING] = plan_run(first, folder / PRETRAINING, session, is_resumed=is_resumed)
            if recipe.init is not None and not Path(recipe.init.source).exists():
                recipe = dataclasses.replace(recipe, init=None)  # its encoder is still to come
        plan = plan_run(recipe, folder, session, is_resumed=is_resumed)
    if as_json:
        print(json.dumps(plan.to_dict() | {name: first.to_dict() for name, first in plans.items()}, indent=2))
    else:
        for each in (*plans.values(), plan):
            _print(each, output_console())
        if not plan.problems and any(each.problems for each in plans.values()):
            output_console().print("but what it begins with would stop: see its problem above", highlight=False)
    return 1 if any(each.problems for each in (*plans.values(), plan)) else 0


def _print(plan: Plan, console: Console) -> None:
    console.print(dump_yaml(to_dict(plan.recipe)), markup=False, highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in _lines(plan):
        table.add_row(name, text)
    console.print(table, markup=False, highlight=False)
    for note in plan.notes:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    for problem in plan.problems:
        console.print(f"problem: {problem}", style="red", markup=False, highlight=False, soft_wrap=True)
    if not plan.problems:
        console.print("nothing found that would stop this run", highlight=False)


def _lines(plan: Plan) -> list[tuple[str, str]]:
    lines = [("out", str(plan.folder)), ("device", str(plan.device))]
    lines += [("data", "not there")] if plan.data is None else _data_lines(plan.data, plan.recipe.data.source)
    if plan.schedule is not None:
        lines += _schedule_lines(plan.schedule, plan.recipe)
    if plan.model is not None:
        lines += _model_lines(plan.model)
        epoch, validation = plan.training_gmacs_per_epoch, plan.validation_gmacs
        lines.append(("GMACs per clip", f"{plan.model.gmacs_per_clip:,.2f} forward, "
                      f"{plan.model.training_gmacs_per_clip:,.2f} with backward"))  # fmt: skip
        lines.append(("GMACs per epoch", "not known without data" if epoch is None else
                      f"{epoch:,.0f} training, {validation or 0:,.0f} one validation"))  # fmt: skip
    if plan.memory is not None:
        lines += _memory_lines(plan.memory, str(plan.device), plan.num_processes)
    if plan.disk_bytes is not None:
        lines.append(("disk", f"{_size(plan.disk_bytes)} for checkpoints and state"))
    return lines


def _data_lines(data: DataPlan, source: str) -> list[tuple[str, str]]:
    rows = ", ".join(f"{split} {count:,}" for split, count in data.rows.items()) or "none"
    lines = [("data", f"{source} ({data.layout})"), ("rows", rows)]
    for head, number in data.classes.items():
        unseen = data.without_training[head]
        lines.append((f"classes of {head}", f"{number}" + (f", {unseen} without training rows" if unseen else "")))
    named = ", ".join(data.missing[:_MISSING_NAMED]) + (", ..." if len(data.missing) > _MISSING_NAMED else "")
    lines.append(("missing files", f"{len(data.missing):,}" + (f": {named}" if data.missing else "")))
    if data.clip_seconds is not None:
        lines.append(("first training clip", f"read in {data.clip_seconds:.3f} s by one process (not repeated)"))
    return lines


def _schedule_lines(schedule: SchedulePlan, recipe: Recipe) -> list[tuple[str, str]]:
    epochs = recipe.training.num_epochs
    steps = "not known without data"
    if schedule.steps_per_epoch is not None and schedule.num_steps is not None:
        steps = f"{schedule.steps_per_epoch:,} per epoch, {schedule.num_steps:,} in {epochs} epochs"
    lines = [("steps", f"{steps}; {schedule.clips_per_step} clips each")]
    lines += zip(["learning rate"] + [""] * _PLOT_HEIGHT, _plot(schedule.curve, epochs), strict=True)
    return [*lines, ("", _points(schedule.curve))]


def _plot(curve: Sequence[CurvePoint], epochs: int) -> list[str]:
    """The rate over the run as bars, and the axis below."""
    top = max(point.lr for point in curve)
    heights = [math.ceil(point.lr / top * _PLOT_HEIGHT * 8) for point in curve]
    rows = []
    for row in reversed(range(_PLOT_HEIGHT)):
        bars = "".join(_BLOCKS[min(8, max(0, height - 8 * row))] for height in heights)
        rows.append(f"{top if row == _PLOT_HEIGHT - 1 else 0:8.2g} |{bars}" if row in (0, _PLOT_HEIGHT - 1) else
                    f"{'':8} |{bars}")  # fmt: skip
    return [*rows, f"{'':9} epoch 0{f'{epochs}':>{max(1, len(curve) - 7)}}"]


def _points(curve: Sequence[CurvePoint]) -> str:
    """A few values: first, highest, at each quarter, last."""
    highest = max(range(len(curve)), key=lambda i: curve[i].lr)
    chosen = sorted({0, highest, *(round(share * (len(curve) - 1) / 4) for share in range(1, 5))})
    return ", ".join(f"{curve[i].lr:.2e} at {curve[i].epoch:.1f}" for i in chosen)


def _model_lines(model: ModelPlan) -> list[tuple[str, str]]:
    lines = [
        ("model", f"{model.name}, {model.num_classes} outputs"),
        ("parameters", f"{model.parameters:,}, {model.trained:,} of them train"),
    ]
    shown = model.groups if len(model.groups) <= _MAX_GROUPS else model.groups[: _MAX_GROUPS - 1]
    for group in shown:
        lines.append(("", f"{group.part}: {group.num_parameters:,} parameters, rate x {group.lr_scale:.4g}, "
                      f"weight decay {group.weight_decay:g}"))  # fmt: skip
    if rest := model.groups[len(shown) :]:
        lines.append(("", f"{len(rest)} more groups: {sum(g.num_parameters for g in rest):,} parameters (--json)"))
    return lines


def _memory_lines(memory: MemoryEstimate, device: str, num_processes: int) -> list[tuple[str, str]]:
    average = f"average of the weights {_size(memory.average)}, " if memory.average else ""
    parts = (
        f"weights {_size(memory.weights)}, gradients {_size(memory.gradients)}, optimizer {_size(memory.optimizer)}, "
        f"{average}activations of {memory.num_clips} clips {_size(memory.activations)}, clips {_size(memory.clips)}"
    )
    how = (
        "estimated: what autograd keeps, counted by passing tensors without content through the model with the "
        f"kernels of {device}; workspaces and the largest gradient of an activation come on top"
    )
    of = f"for each of {num_processes} processes" if num_processes > 1 else "for one device (no launcher)"
    return [
        ("memory per device", f"about {_size(memory.total)} {of}: {parts}"),
        ("", "\n".join(textwrap.wrap(how, 100))),
    ]


def _size(number: int) -> str:
    if number < 2**30:
        return f"{number / 2**20:,.1f} MiB"
    return f"{number / 2**30:,.1f} GiB"
