"""A video model from a checkpoint of the same kind: other classes, frames, sizes, tubelets and channels.

Everything of one shape is copied. Of a ViViT the position tables are resized (in space per frame, over time linearly,
end points aligned, as the original does between two Model 2), a class token with its row is left out or stays fresh
where only one of the two models has one, and the tubelet kernel is resampled so that a clip in which nothing moves
keeps its tokens. The other models interpolate their tables while they run and keep them here.

Source: google-research/scenic, commit 4a38d475, ``projects/vivit/model_utils.py``.
Deviation: a Model 2 with fewer temporal blocks than the checkpoint takes the first of them; the original, whose
configurations for EPIC-Kitchens and Something-Something V2 have 4 and start from one of Kinetics, which has 24, fails
at the first that is too many.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tubelet.errors import CheckpointError
from tubelet.models.vivit.config import FactorizedEncoderConfig, ViViTConfig
from tubelet.nn.head import head_name
from tubelet.nn.position import PositionTable, resize_positions
from tubelet.protocol import Protocol
from tubelet.types import Grid
from tubelet.weights.init.image_vit import tensors_sha256
from tubelet.weights.mapping.resample import adapt_channels, resample_frames, resample_patch
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
    license: str | None = None  # of its weights, which binds what is made from them; none: not stated

    @property
    def sha256(self) -> str:
        return tensors_sha256(self.model.state_dict())


def from_video(
    source: VideoSource, model: nn.Module, keep_head: bool, head_rows: Sequence[int] | None = None
) -> tuple[dict[str, Tensor], MappingReport]:
    """The state dict of ``model`` that starts from a checkpoint, and the report of the mapping.

    Args:
        keep_head: the classifier comes along too; else it keeps the model's first values.
        head_rows: for each class of ``model`` the row of the checkpoint's classifier; none: all, in their order.

    Raises:
        CheckpointError: another kind of model, or one of another width or depth; of the temporal blocks of a Model 2
            the checkpoint may have more, and the first are taken.
    """
    old = source.model
    if type(old) is not type(model):
        raise CheckpointError(
            f"{source.name} is a {source.model_name} ({type(old).__name__}), the model to train a "
            f"{type(model).__name__}: a video checkpoint starts a model of its own kind; leave --model out, or give a "
            "model of that kind (an image model, or a ViViT made for one frame, starts any ViViT)"
        )
    tensors = old.state_dict()
    notes: list[str] = []
    templates = dict.fromkeys(map(_template, model.state_dict()))  # equal blocks share a rule
    picked = [] if head_rows is None or not keep_head else _head_rules(model, head_rows)
    rules = [*_resized(old, model, notes), *picked, *(Rule(name, (name,)) for name in templates)]
    head = rf"{re.escape(head_name(model))}\..*"
    fresh = {} if keep_head else {head: "classifier: made for the new classes"}
    dropped = {} if keep_head else {head: "classifier of the checkpoint's own classes"}
    dropped |= _surplus_blocks(source, model, notes)
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


def _resized(old: nn.Module, new: nn.Module, notes: list[str]) -> list[Rule]:
    """Rules for what differs in shape; ``notes`` gets a line for each."""
    rules = []
    for name, table in new.named_modules():
        if isinstance(table, PositionTable):
            before = old.get_submodule(name)
            assert isinstance(before, PositionTable)
            if (before.grid, before.num_prefix) != (table.grid, table.num_prefix):
                change = f"{_text(before.grid)} -> {_text(table.grid)}"
                rules.append(Rule(f"{name}.table", (f"{name}.table",), _positions(before, table, change)))
                notes.append(f"{name}: {change}")
    configs = old.config, new.config
    if isinstance(configs[0], ViViTConfig) and isinstance(configs[1], ViViTConfig):
        rules += _kernel_rules(configs[0], configs[1], notes)
    return rules


def _has_class_token(model: nn.Module) -> bool:
    return any(re.fullmatch(_CLASS_TOKEN, name) for name in model.state_dict())


def _surplus_blocks(source: VideoSource, new: nn.Module, notes: list[str]) -> dict[str, str]:
    """Pattern and reason for temporal blocks of a Model 2 that the new one has no place for."""
    configs = source.model.config, new.config
    if not (isinstance(configs[0], FactorizedEncoderConfig) and isinstance(configs[1], type(configs[0]))):
        return {}
    before, after = configs[0].temporal_depth, configs[1].temporal_depth
    if after > before:
        raise CheckpointError(
            f"{source.name} has {before} temporal blocks, the model to train {after}: set model.temporal_depth to "
            f"{before} or less"
        )
    if after == before:
        return {}
    notes.append(f"temporal blocks: the first {after} of {before} are taken")
    names = "|".join(map(str, range(after, before)))
    return {rf"temporal_encoder\.blocks\.({names})\..*": f"the model has {after} temporal blocks"}


def _positions(old: PositionTable, new: PositionTable, change: str) -> Operation:
    own = new.table.detach()[: new.num_prefix].clone()  # kept where the checkpoint has no class token

    def forward(table: Tensor) -> Tensor:
        prefix = table[: new.num_prefix] if old.num_prefix else own
        return torch.cat([prefix, resize_positions(table[old.num_prefix :], old.grid, new.grid, 0)])

    return Operation(f"resized {change}", forward)


def _kernel_rules(old: ViViTConfig, new: ViViTConfig, notes: list[str]) -> list[Rule]:
    if old.tubelet_size == new.tubelet_size and old.in_channels == new.in_channels:
        return []
    if old.tubelet_size != new.tubelet_size:
        notes.append(f"tubelets: {_text(old.tubelet_size)} resampled to {_text(new.tubelet_size)}")
    if old.in_channels != new.in_channels:
        notes.append(f"channels: {old.in_channels} resampled to {new.in_channels}")
    num_frames, height, width = new.tubelet_size

    def forward(kernel: Tensor) -> Tensor:
        kernel = resample_patch(adapt_channels(kernel, new.in_channels), (height, width))
        return kernel if kernel.ndim == 4 else resample_frames(kernel, num_frames)

    name = "tokenizer.proj.weight"
    return [Rule(name, (name,), Operation("resampled kernel", forward))]


def _template(name: str) -> str:
    """``blocks.3.norm.bias`` -> ``blocks.{n0}.norm.bias``."""
    numbers = itertools.count()
    return re.sub(r"(?<=\.)\d+(?=\.)", lambda _: f"{{n{next(numbers)}}}", name)


def _text(size: Grid) -> str:
    return "x".join(map(str, size))
