"""The model that a run begins with: first weights, adapters and frozen modules.

A resumed run has its weights in its state and the provenance of the first ones in ``run.json``. It does not read the
source again, which may be gone by then.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tubelet.config import to_dict
from tubelet.data.manifest.manifest import Manifest
from tubelet.evaluation.trained_on import KEY, TrainedOn
from tubelet.inference.frame_stage import check_store_training
from tubelet.models import create_model
from tubelet.protocol import Protocol
from tubelet.recipe import Recipe
from tubelet.runs.data import protocol_of
from tubelet.session.session import Session
from tubelet.training.optim.groups import freeze
from tubelet.weights.checkpoint.checkpoint import Adapter, Record
from tubelet.weights.checkpoint.lora import add_adapters
from tubelet.weights.init.initialize import initialize
from tubelet.weights.init.source import InitSource, model_fields, read_source


@dataclass(frozen=True, kw_only=True)
class Initialization:
    """Where the first weights come from, and the recipe with the model fields that come along with them."""

    recipe: Recipe
    source: InitSource | None = None  # read into the model; None means random weights, or those of the run's state
    provenance: dict[str, Any] | None = None  # that an earlier session of the run recorded
    fields: dict[str, Any] = dataclasses.field(default_factory=dict)  # of the model, those that came along


@dataclass(frozen=True, kw_only=True)
class InitializedModel:
    """A model that is ready to train."""

    model: nn.Module
    recipe: Recipe  # as it runs, with the model fields that came along with the first weights
    protocol: Protocol  # with the labels of the data
    provenance: dict[str, Any] | None  # of the first weights (see ``initialize``), for run.json and the checkpoints
    adapter: Adapter | None
    frozen: tuple[nn.Module, ...]  # modules that stay in eval mode

    def record(self, provenance: dict[str, Any] | None = None) -> Record:
        """What a checkpoint of the model holds beside the weights."""
        return Record(
            model_name=self.recipe.model["name"],
            model_config=to_dict(self.model.config),
            protocol=self.protocol,
            precision=self.recipe.training.precision,
            adapter=self.adapter,
            provenance=provenance or {},
        )


def first_model(
    recipe: Recipe,
    manifest: Manifest,
    session: Session,
    *,
    provenance: dict[str, Any] | None = None,
    has_state: bool = False,
) -> InitializedModel:
    """Create the model of a recipe for the classes of the data and initialize it.

    Args:
        provenance: of the first weights, as an earlier session of the run recorded it. None means a new run.
        has_state: the run goes on from weights of its own.

    Raises:
        TubeletError: The source cannot be read or does not fit, the model cannot cut such clips, or it cannot train on
            such stored features.
    """
    initialization = read_initialization(recipe, session, provenance=provenance, has_state=has_state)
    recipe = initialization.recipe
    protocol = protocol_of(recipe, manifest)
    torch.manual_seed(recipe.seed)  # because the same seed must give the same random weights
    model = create_model(recipe.model["name"], **recipe.model_options(num_classes=_num_classes(protocol)))
    first = initialize_model(model, initialization, protocol, session)
    precision = recipe.training.precision
    check_store_training(model, recipe.model["name"], first.frozen, manifest, precision, has_state=has_state)
    return first


def read_initialization(
    recipe: Recipe, session: Session, *, provenance: dict[str, Any] | None = None, has_state: bool = False
) -> Initialization:
    """Read the source of the first weights, and complete the recipe with the model fields that come along with it.

    Raises:
        CheckpointError: ``init.source`` cannot be read.
    """
    if recipe.init is None:
        return Initialization(recipe=recipe)
    if provenance is not None and has_state:
        fields = provenance["model_fields"]
        return Initialization(recipe=_with_fields(recipe, fields), provenance=provenance, fields=fields)
    session.progress.note(f"reading the first weights: {recipe.init.source}")
    source = read_source(recipe.init, recipe.model["name"])
    # A saved recipe has the fields already, and would look as if it had asked for them itself.
    fields = model_fields(source, recipe.model) if provenance is None else provenance["model_fields"]
    return Initialization(recipe=_with_fields(recipe, fields), source=source, fields=fields)


def initialize_model(
    model: nn.Module, initialization: Initialization, protocol: Protocol, session: Session
) -> InitializedModel:
    """Give a fresh model its first weights, adapters and frozen modules.

    Raises:
        TubeletError: The weights do not fit, a pattern matches nothing, or nothing is left to train.
    """
    recipe, provenance, adapter = initialization.recipe, initialization.provenance, None
    if initialization.source is not None and recipe.init is not None:
        provenance = initialize(model, initialization.source, recipe.init, protocol)
        provenance |= {"model_fields": initialization.fields}
        if (trained_on := TrainedOn.of_weights(initialization.source.provenance)) is not None:
            provenance[KEY] = trained_on.to_dict()
        for line in (provenance["summary"], *provenance["notes"]):
            session.progress.note(f"init: {line}")
    if recipe.lora is not None and recipe.init is not None and provenance is not None:
        add_adapters(model, recipe.lora, provenance["fresh"])
        adapter = Adapter(lora=recipe.lora, init=recipe.init, base_sha256=provenance["sha256"])
    frozen = freeze(model, recipe.freeze)
    total = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if trained < total:
        session.progress.note(f"{trained:,} of {total:,} parameters train")
    return InitializedModel(
        model=model, recipe=recipe, protocol=protocol, provenance=provenance, adapter=adapter, frozen=frozen
    )


def _num_classes(protocol: Protocol) -> int:
    return sum(map(len, protocol.labels.values()))


def _with_fields(recipe: Recipe, fields: dict[str, Any]) -> Recipe:
    """The recipe's own fields take precedence, also inside a group of fields such as ``trunk``."""
    model = {**fields, **recipe.model}
    for name in fields.keys() & recipe.model.keys():
        if isinstance(fields[name], dict):
            model[name] = {**fields[name], **recipe.model[name]}
    return dataclasses.replace(recipe, model=model)
