"""How a run begins: the model with its first weights, adapters and frozen parts.

A run that goes on has its weights in its state and what became of the first ones in its account; it does not read the
source again, which may be gone by then.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tubelet.data.manifest.manifest import Manifest
from tubelet.models import create_model
from tubelet.protocol import Protocol
from tubelet.recipe import Recipe
from tubelet.session.progress import Reporter
from tubelet.training.optim.freeze import freeze
from tubelet.weights.checkpoint.checkpoint import Adapter, Record
from tubelet.weights.checkpoint.lora import add_adapters
from tubelet.weights.init.initialize import initialize
from tubelet.weights.init.source import InitSource, model_fields, read_source


@dataclass(frozen=True, kw_only=True)
class Start:
    """A recipe ready to run: with the fields of the model that come along with its first weights."""

    recipe: Recipe
    source: InitSource | None = None  # to be read into the model; none: random, or in the run's state
    account: dict[str, Any] | None = None  # of an earlier session, where the run goes on
    fields: dict[str, Any] = dataclasses.field(default_factory=dict)  # of the model, those that came along


@dataclass(frozen=True, kw_only=True)
class Started:
    """What has become of a fresh model."""

    account: dict[str, Any] | None  # of the first weights (see ``initialize``), for run.json and the checkpoints
    adapter: Adapter | None
    frozen: tuple[nn.Module, ...]  # modules that stay in eval mode


@dataclass(frozen=True, kw_only=True)
class FirstModel:
    """The model that a run on some data begins with."""

    model: nn.Module
    record: Record  # for its checkpoints
    started: Started


def read_start(recipe: Recipe, account: dict[str, Any] | None, has_state: bool, reporter: Reporter) -> Start:
    """The recipe as it runs, and the model that its first weights come from.

    Args:
        account: what an earlier session of the run wrote; none: it is new.
        has_state: the run goes on from weights of its own.

    Raises:
        CheckpointError: ``init.source`` cannot be read.
    """
    if recipe.init is None:
        return Start(recipe=recipe)
    if account is not None and has_state:
        fields = account["model_fields"]
        return Start(recipe=_with_fields(recipe, fields), account=account, fields=fields)
    reporter.note(f"reading the first weights: {recipe.init.source}")
    source = read_source(recipe.init, recipe.model["name"])
    fields = model_fields(source, recipe.model)
    if account is not None:  # the recipe that was saved has them already
        fields = account["model_fields"]
    return Start(recipe=_with_fields(recipe, fields), source=source, fields=fields)


def first_model(start: Start, manifest: Manifest, reporter: Reporter) -> FirstModel:
    """The model of a recipe for the classes of the data, its random weights by the recipe's seed, and started.

    Raises:
        TubeletError: as ``start_model``, or a clip that the model cannot cut.
    """
    recipe, protocol = start.recipe, start.recipe.protocol_for(manifest)
    options = recipe.model_options(num_classes=sum(map(len, manifest.class_names.values())))
    torch.manual_seed(recipe.seed)
    model = create_model(recipe.model["name"], **options)
    started = start_model(model, start, protocol, reporter)
    record = Record(model_name=recipe.model["name"], model_config=options, protocol=protocol, adapter=started.adapter)
    return FirstModel(model=model, record=record, started=started)


def start_model(model: nn.Module, start: Start, protocol: Protocol, reporter: Reporter) -> Started:
    """Give a fresh model its first weights, adapters and frozen parts, as the recipe asks.

    Raises:
        TubeletError: weights that do not fit, a pattern that matches nothing, or nothing left to train.
    """
    recipe, account, adapter = start.recipe, start.account, None
    if start.source is not None and recipe.init is not None:
        account = initialize(model, start.source, recipe.init, protocol) | {"model_fields": start.fields}
        for line in (account["summary"], *account["notes"]):
            reporter.note(f"init: {line}")
    if recipe.lora is not None and recipe.init is not None and account is not None:
        add_adapters(model, recipe.lora, account["fresh"])
        adapter = Adapter(lora=recipe.lora, init=recipe.init, base_sha256=account["sha256"])
    frozen = freeze(model, recipe.freeze)
    total = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if trained < total:
        reporter.note(f"{trained:,} of {total:,} parameters train")
    return Started(account=account, adapter=adapter, frozen=frozen)


def _with_fields(recipe: Recipe, fields: dict[str, Any]) -> Recipe:
    """The recipe's own fields go first, also inside a group of fields such as ``trunk``."""
    model = {**fields, **recipe.model}
    for name in fields.keys() & recipe.model.keys():
        if isinstance(fields[name], dict):
            model[name] = {**fields[name], **recipe.model[name]}
    return dataclasses.replace(recipe, model=model)
