"""The plan of a run, made without training, writing or indexing anything.

The plan goes as far as what is there allows. Without data it leaves out what needs rows; with first weights on a hub
that can be reached it leaves out whether they fit. Each thing that would stop the run is a ``problem`` of one line.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import timm
import torch
from huggingface_hub import constants
from torch import nn

from tubelet.data.layouts.feature_store import LAYOUT
from tubelet.data.manifest.manifest import Manifest
from tubelet.errors import ConfigError
from tubelet.evaluation.cost import count_macs, count_parameters
from tubelet.files import check_path
from tubelet.inference.frame_stage import check_store_training
from tubelet.models import create_model, model_config
from tubelet.recipe import RECIPE, Recipe
from tubelet.runs.data import protocol_of
from tubelet.runs.folder import is_empty, resume_recipe
from tubelet.runs.initialization import Initialization, initialize_model, read_initialization
from tubelet.runs.masked_pretraining.model import first_pretraining
from tubelet.runs.plan.data import look_at_data
from tubelet.runs.plan.parts import CurvePoint, ModelPlan, Plan, SchedulePlan
from tubelet.runs.plan.per_frame import look_at_per_frame
from tubelet.session.folder_lock import refusal
from tubelet.session.processes import is_launched, num_launched, num_on_machine
from tubelet.session.progress import NoProgress
from tubelet.session.session import Session
from tubelet.training.config import check_training
from tubelet.training.estimate import ClipShape, MemoryEstimate, count_state, count_training_macs, estimate_memory
from tubelet.training.gradient_checkpointing import required_blocks
from tubelet.training.health import look_at_labels, look_at_schedule
from tubelet.training.optim.optimizer import parameter_groups
from tubelet.training.optim.schedule import learning_rates
from tubelet.training.parallel.micro_batch import check_portions
from tubelet.training.parallel.parallelize import check_launcher
from tubelet.training.state.resume import FILE as STATE
from tubelet.training.step import check_compiler
from tubelet.weights.hub import hub_answers, parse_hub_name
from tubelet.weights.init.source import resolve_source

_CURVE_POINTS = 61
_STEPS_WITHOUT_DATA = 1000  # of an epoch, for the shape of the curve alone


def plan_run(recipe: Recipe, folder: Path, session: Session, *, is_resumed: bool = False) -> Plan:
    """Plan what ``run_recipe`` with these arguments would do.

    Args:
        is_resumed: the run in the folder may go on for more epochs (``tubelet.runs.extend``).
    """
    plan = Plan(recipe=recipe, folder=folder, device=session.device, num_processes=num_launched())
    session = dataclasses.replace(session, progress=_Notes(plan))
    manifest = look_at_data(plan)
    labels = None if manifest is None or recipe.per_frame is not None else manifest.split("train")
    for line in [] if labels is None else look_at_labels(labels):
        plan.note(line)
    initialization = _look_at_first_weights(plan, session)
    plan.recipe = initialization.recipe
    _check_configuration(plan)
    if recipe.per_frame is not None:
        look_at_per_frame(plan)
    else:
        with plan.noting_problems():
            model = _initialized_model(plan, initialization, manifest, session)
            _look_at_model(plan, model)
    _look_at_schedule(plan)
    _look_at_folder(plan, is_resumed=is_resumed)
    plan.notes = list(dict.fromkeys(plan.notes))
    return plan


class _Notes(NoProgress):
    """Collects notes in a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def note(self, text: str) -> None:
        self.plan.note(text)


def _check_configuration(plan: Plan) -> None:
    """Check the configuration as a run does before it trains."""
    training = plan.recipe.training
    with plan.noting_problems():
        check_training(training, has_validation=plan.data is None or bool(plan.data.rows.get("val")))
    with plan.noting_problems():
        check_launcher(training.strategy, has_group=is_launched())
    with plan.noting_problems():
        check_portions(_clips_per_step(plan), training.accumulation, plan.num_processes)


def _clips_per_step(plan: Plan) -> int:
    """Of all processes together, repeated ones counted."""
    batch_size = plan.recipe.training.batch_size
    has_clips = plan.recipe.per_frame is None  # windows else, which are more than the films
    rows = (has_clips and plan.data and plan.data.rows.get("train")) or batch_size
    return min(rows, batch_size) * plan.recipe.augment.repeats


def _look_at_first_weights(plan: Plan, session: Session) -> Initialization:
    """The recipe as it runs. Weights on a hub that answers are not fetched."""
    recipe, init = plan.recipe, plan.recipe.init
    if init is None:
        return Initialization(recipe=recipe)
    with plan.noting_problems():
        name = resolve_source(init.source)
        is_remote = timm.is_model(name.partition(".")[0]) or parse_hub_name(name) is not None
        if is_remote and not Path(name).exists() and not constants.HF_HUB_OFFLINE and hub_answers():
            plan.note(f"init: {name} is fetched when the run begins, if it is not in the cache; its fit is not checked")
            return Initialization(recipe=recipe)
        return read_initialization(recipe, session)
    return Initialization(recipe=recipe)


def _initialized_model(
    plan: Plan, initialization: Initialization, manifest: Manifest | None, session: Session
) -> nn.Module:
    """The model as the run has it; where its classes or first weights are not known, with shapes alone."""
    recipe = plan.recipe
    if recipe.masked_pretraining is not None:
        return _pretraining_model(plan, session)
    has_source = initialization.source is not None
    has_weights = has_source or recipe.init is None
    is_store = manifest is not None and manifest.layout == LAYOUT
    is_whole = manifest is not None and (has_source or (is_store and has_weights))
    num_classes = _num_classes(plan)
    with torch.device("cpu" if is_whole else "meta"):
        model = create_model(recipe.model["name"], **recipe.model_options(num_classes))
    if not is_whole:
        initialization = dataclasses.replace(initialization, source=None)
        if recipe.lora is not None:
            plan.note("lora: the adapters are not counted, because data or first weights are not there to look at")
    protocol = recipe.protocol if manifest is None else protocol_of(recipe, manifest)
    frozen = initialize_model(model, initialization, protocol, session).frozen
    if manifest is not None and is_whole:
        has_state = (plan.folder / STATE).exists()
        precision = recipe.training.precision
        check_store_training(model, recipe.model["name"], frozen, manifest, precision, has_state=has_state)
    model.train()
    for module in frozen:
        module.eval()
    return model


def _pretraining_model(plan: Plan, session: Session) -> nn.Module:
    """Encoder and decoder with shapes alone; they count what a masked step costs."""
    if plan.recipe.init is not None:
        plan.note("init: whether the first weights fit is seen when the run begins")
    with torch.device("meta"):
        return first_pretraining(dataclasses.replace(plan.recipe, init=None), session).error.train()


def _num_classes(plan: Plan) -> int:
    if plan.recipe.masked_pretraining is not None:
        return 0
    if plan.data is not None:
        return sum(plan.data.classes.values())
    number = int(model_config(plan.recipe.model["name"]).num_classes)
    plan.note(f"model: the number of classes comes from the data; counted with {number}")
    return number


def _look_at_model(plan: Plan, model: nn.Module) -> None:
    recipe = plan.recipe
    protocol, training = recipe.protocol, recipe.training
    clip: ClipShape = (protocol.num_channels, protocol.num_frames, *protocol.crop_size)
    parameters = count_parameters(model)
    plan.model = ModelPlan(
        name=recipe.model["name"],
        num_classes=_num_classes(plan),
        parameters=parameters,
        trained=sum(p.numel() for p in model.parameters() if p.requires_grad),
        groups=tuple(parameter_groups(model, recipe.optim)),
        gmacs_per_clip=count_macs(model, clip) / 1e9,
        training_gmacs_per_clip=count_training_macs(model, clip) / 1e9,
    )
    plan.memory = estimate_memory(
        model,
        clip,
        batch_size=_clips_per_step(plan),
        accumulation=training.accumulation,
        precision=training.precision,
        optim=recipe.optim,
        device=plan.device,
        gradient_checkpointing=training.gradient_checkpointing,
        num_processes=plan.num_processes,
        is_sharded=training.strategy == "fsdp",
        has_average=training.ema_decay is not None,
    )
    if training.gradient_checkpointing:
        with plan.noting_problems():
            required_blocks(model)
    if training.compile:
        with plan.noting_problems():
            check_compiler(plan.device)
    whole = count_state(model, recipe.optim)
    if training.strategy == "fsdp":
        plan.note(
            f"training.strategy=fsdp: the host of every process keeps the weights whole ({whole.weights / 2**20:,.1f} "
            "MiB); on the device they are whole only while it validates and saves"
        )
    # best, last and the state, while one of each kind is being replaced; and the latest checkpoints
    state = whole.weights + whole.optimizer + plan.memory.average
    plan.disk_bytes = (3 + training.keep_last_checkpoints) * whole.weights + 2 * state
    _check_memory(plan, plan.memory)


def _check_memory(plan: Plan, memory: MemoryEstimate) -> None:
    """Whether a step fits into the memory of the device, and into how many parts to cut the batch if not."""
    if plan.device.type == "cuda":
        there = torch.cuda.get_device_properties(plan.device).total_memory
    else:
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else memory.total
        there //= num_on_machine()
    if memory.total <= there:
        return
    per_clip = (memory.activations + memory.clips) / memory.num_clips
    left = there - (memory.total - memory.activations - memory.clips)
    advice = "it needs a smaller model, or less in a clip"
    if left >= per_clip:
        parts = -(-memory.num_clips * plan.recipe.training.accumulation // int(left / per_clip))
        advice = f"--training.accumulation {parts} keeps those of fewer clips"
        if not plan.recipe.training.gradient_checkpointing:
            advice += ", --training.gradient_checkpointing true less of each"
        if parts > plan.recipe.training.batch_size // plan.num_processes:
            advice = "it needs less in a clip, or a smaller augment.repeats"
    plan.problems.append(
        f"memory: a step of {memory.num_clips} clips keeps about {memory.total / 2**30:.1f} GiB, {plan.device} has "
        f"{there / 2**30:.1f}{' for each process' if num_on_machine() > 1 else ''}; {advice}"
    )


def _look_at_schedule(plan: Plan) -> None:
    """Steps, and the learning rate that the run's own schedule gives at points spread over them."""
    training, optim = plan.recipe.training, plan.recipe.optim
    rows = None if plan.data is None or plan.recipe.per_frame else plan.data.rows.get("train", 0)
    steps = max(1, rows // training.batch_size) if rows else None
    per_epoch = steps or _STEPS_WITHOUT_DATA
    num_steps = per_epoch * training.num_epochs
    points = learning_rates(optim, num_epochs=training.num_epochs, steps_per_epoch=per_epoch, num_points=_CURVE_POINTS)
    curve = [CurvePoint(epoch=step / per_epoch, lr=lr) for step, lr in points]
    if rows and rows < training.batch_size:
        plan.note(f"all {rows} training videos make one batch, smaller than training.batch_size={training.batch_size}")
    for line in look_at_schedule(training, optim):
        plan.note(line)
    if training.early_stopping_epochs:
        plan.note(f"training ends early when {training.early_stopping_epochs} epochs bring no better validation")
    plan.schedule = SchedulePlan(
        steps_per_epoch=steps,
        num_steps=None if steps is None else num_steps,
        clips_per_step=_clips_per_step(plan),
        curve=tuple(curve),
    )


def _look_at_folder(plan: Plan, *, is_resumed: bool) -> None:
    """Whether the run could begin or go on there, and whether its files fit on the disk."""
    folder = plan.folder
    try:
        check_path(folder)
    except ConfigError as error:
        plan.problems.append(str(error))
        return
    if (line := refusal(folder)) is not None:
        plan.problems.append(line)
    if (folder / RECIPE).is_file():
        with plan.noting_problems():
            begun = resume_recipe(folder)
            if begun != plan.recipe and is_resumed:
                before, after = begun.training.num_epochs, plan.recipe.training.num_epochs
                plan.note(f"{folder}: this run goes on from its last state, for {after} epochs in place of {before}")
            elif begun != plan.recipe:
                plan.problems.append(f"{folder}: holds a run of another recipe; give another --out")
            elif (folder / STATE).is_file():
                plan.note(f"{folder}: holds this run already, which goes on from its last state")
    elif folder.is_dir() and not is_empty(folder):
        plan.problems.append(f"{folder}: not empty and not a run; give another --out")
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    if not os.access(there, os.W_OK):
        plan.problems.append(f"{there}: nothing can be written here; give another --out")
    free = shutil.disk_usage(there).free
    if plan.disk_bytes is not None and plan.disk_bytes > free:
        plan.problems.append(
            f"disk: checkpoints and state take {plan.disk_bytes / 2**30:.1f} GiB, {there} has {free / 2**30:.1f} free"
        )
