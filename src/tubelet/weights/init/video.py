"""A video model from a checkpoint of the same kind: other classes, frames, sizes, tubelets and channels.

Tensors of equal shape are copied. Position tables are resized (in space per frame, over time linearly, end points
aligned, as scenic does). A class token with its row is dropped or stays fresh where only one of the two models has one.
The family handles everything else that may differ. Models that interpolate their tables while they run keep them here.

Source: google-research/scenic, commit 4a38d475, ``projects/vivit/model_utils.py``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tubelet.errors import CheckpointError
from tubelet.models import family_of_model
from tubelet.nn.head import head_name
from tubelet.nn.position import PositionTable, resize_positions
from tubelet.protocol import Protocol
from tubelet.types import Grid
from tubelet.weights.mapping.digest import tensors_sha256
from tubelet.weights.mapping.rules import MappingReport, Operation, Rule, map_weights

_CLASS_TOKEN = r"(.+\.)?cls_token"


@dataclass(frozen=True, kw_only=True)
class VideoSource:
    """A video model that another one of its kind starts from."""

    model: nn.Module  # with its weights, in eval mode
    model_name: str
    model_config: Mapping[str, Any]
    protocol: Protocol  # its labels are those of the head
    name: str  # where it came from, as messages and records say it
    license: str | None = None  # of its weights, which binds what is made from them; None means not stated
    provenance: Mapping[str, Any] = field(default_factory=dict)  # of a checkpoint, as its record holds it

    @property
    def sha256(self) -> str:
        return tensors_sha256(self.model.state_dict())


def from_video(
    source: VideoSource, model: nn.Module, keep_head: bool, head_rows: Sequence[int] | None = None
) -> tuple[dict[str, Tensor], MappingReport]:
    """The state dict of ``model`` that starts from a checkpoint, and the report of the mapping.

    Args:
        keep_head: the classifier comes along too; else it keeps the model's first values.
        head_rows: for each class of ``model`` the row of the checkpoint's classifier; None means all, in their order.

    Raises:
        CheckpointError: another kind of model, or one of another width or depth; of the temporal blocks of a Model 2
            the checkpoint may have more, and the first are taken.
    """
    old = source.model
    if type(old) is not type(model):
        raise CheckpointError(
            f"{source.name} is a {source.model_name} ({type(old).__name__}), the model to train a "
            f"{type(model).__name__}: a video checkpoint starts a model of its own kind; leave --model out, or give a "
            "model of that kind (an image model, or a video model made for one frame, starts others too)"
        )
    tensors = old.state_dict()
    notes: list[str] = []
    templates = dict.fromkeys(map(_template, model.state_dict()))  # equal blocks share a rule
    picked = [] if head_rows is None or not keep_head else _head_rules(model, head_rows)
    tables = _resized_tables(old, model, notes)
    start = family_of_model(model).weights().video_start
    try:
        changed, surplus = ([], {}) if start.changes is None else start.changes(old, model, notes)
    except CheckpointError as error:
        raise CheckpointError(f"{source.name}: {error}") from None
    rules = [*tables, *changed, *picked, *(Rule(name, (name,)) for name in templates)]
    head = rf"{re.escape(head_name(model))}\..*"
    fresh = {} if keep_head else {head: "classifier: made for the new classes"}
    dropped = {} if keep_head else {head: "classifier of the checkpoint's own classes"}
    dropped |= surplus
    fresh |= {} if start.fresh is None else start.fresh(old, model)
    if _has_class_token(old) and not _has_class_token(model):
        dropped[_CLASS_TOKEN] = "class token: the model pools tokens"
    if _has_class_token(model) and not _has_class_token(old):
        fresh[_CLASS_TOKEN] = "class token: the checkpoint pools tokens and has none"
    try:
        return map_weights(tensors, model, rules, dropped, fresh, notes)
    except CheckpointError as error:
        raise CheckpointError(f"{source.name}: {error}") from None


def rows_by_name(theirs: Protocol, ours: Protocol) -> tuple[list[int], list[str]]:
    """For each of our classes the row of their classifier, and the names of those that they do not have (no row).

    Classes are told apart by head where there are several, so that a verb is no noun of the same name.
    """
    several = len(theirs.labels) > 1 or len(ours.labels) > 1
    row_of = {name: row for row, name in enumerate(_by_head(theirs, several))}
    wanted = _by_head(ours, several)
    absent = [name for head, name in wanted if (head, name) not in row_of]
    return [row_of[key] for key in wanted if key in row_of], absent


def _by_head(protocol: Protocol, several: bool) -> list[tuple[str, str]]:
    return [(head if several else "", name) for head, names in protocol.labels.items() for name in names]


def _head_rules(model: nn.Module, rows: Sequence[int]) -> list[Rule]:
    """The last layer of the classifier gives a row per class; what lies before it stays as it is."""
    name = head_name(model)
    layers = [
        (inner, layer)
        for inner, layer in model.get_submodule(name).named_modules(prefix=name)
        if isinstance(layer, nn.Linear | nn.Conv3d)
    ]
    last, layer = layers[-1]
    operation = Operation(f"{len(rows)} rows by class name", lambda x: x[list(rows)])
    return [Rule(f"{last}.{part}", (f"{last}.{part}",), operation) for part, _ in layer.named_parameters()]


def _resized_tables(old: nn.Module, new: nn.Module, notes: list[str]) -> list[Rule]:
    """Rules for position tables of another grid; ``notes`` gets a line for each."""
    rules = []
    for name, table in new.named_modules():
        if isinstance(table, PositionTable):
            before = old.get_submodule(name)
            assert isinstance(before, PositionTable)
            if (before.grid, before.num_prefix) != (table.grid, table.num_prefix):
                change = f"{_text(before.grid)} -> {_text(table.grid)}"
                rules.append(Rule(f"{name}.table", (f"{name}.table",), _positions(before, table, change)))
                notes.append(f"{name}: {change}")
    return rules


def _has_class_token(model: nn.Module) -> bool:
    return any(re.fullmatch(_CLASS_TOKEN, name) for name in model.state_dict())


def _positions(old: PositionTable, new: PositionTable, change: str) -> Operation:
    own = new.table.detach()[: new.num_prefix].clone()  # kept where the checkpoint has no class token

    def forward(table: Tensor) -> Tensor:
        prefix = table[: new.num_prefix] if old.num_prefix else own
        return torch.cat([prefix, resize_positions(table[old.num_prefix :], old.grid, new.grid, 0)])

    return Operation(f"resized {change}", forward)


def _template(name: str) -> str:
    """``blocks.3.norm.bias`` -> ``blocks.{n0}.norm.bias``."""
    numbers = itertools.count()
    return re.sub(r"(?<=\.)\d+(?=\.)", lambda _: f"{{n{next(numbers)}}}", name)


def _text(size: Grid) -> str:
    return "x".join(map(str, size))
