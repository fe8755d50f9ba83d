"""Heads that are trained on stored tokens or vectors of frames: V-JEPA 2's attentive probe, VTN's encoder over time.

A head is the part of an ordinary model behind its encoder, which does not run. All settings of one kind and depth are
trained in one pass: they begin with the same values and see the same clips in the same order, as the heads of V-JEPA
2's evaluation do (arXiv 2506.09985; facebookresearch/vjepa2, commit c2963a47, ``evals/video_classification_frozen``).

    N  clips   V  views   L  tokens or frames   D  width   K  classes   H  settings
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call

from tubelet.models.stages import model_inputs
from tubelet.nn.head import head_prefixes
from tubelet.nn.video_model import VideoModel
from tubelet.probing.heads import Loss, ReadingSetting

BATCH_CLIPS = 16
MIN_STEPS = 100  # of training on few clips
_WARMUP = 0.1  # share of the steps in which the rate grows
_TIMED_STEPS = 3
_SCORED_CLIPS = 64  # at once

Parameters = dict[str, Tensor]


class Reader(nn.Module):
    """The parts of a model behind its encoder, with their first values.

    Where the features first enter a linear layer (``VideoModel.reading_layer``, unless their width needs none), it
    takes standardized ones, and ``put`` writes the standardization into that layer.
    """

    def __init__(self, model: VideoModel) -> None:
        super().__init__()
        self.model = model
        name = model.reading_layer
        is_linear = name is not None and isinstance(model.get_submodule(name), nn.Linear)
        self.linear_layer = name if is_linear else None
        parts = (*(f"{part}." for part in model.reading_parts), *head_prefixes(model))
        self.first = {
            f"model.{name}": p.detach().clone() for name, p in model.named_parameters() if name.startswith(parts)
        }

    def forward(self, tokens: Float[Tensor, "B L D"], position: Int[Tensor, "B L"] | None) -> Float[Tensor, "B K"]:
        logits: Tensor
        if self.model.reading_layer is None:
            logits = self.model.forward_head(tokens)
        else:
            logits = self.model(*model_inputs(self.model, tokens, position))
        return logits

    def fresh(self, device: torch.device) -> Parameters:
        """The first values, ready to train."""
        return {name: p.to(device, copy=True).requires_grad_() for name, p in self.first.items()}

    def put(self, parameters: Parameters, scale: Scale) -> None:
        """Give the model trained values, for features as they are."""
        state = {name.removeprefix("model."): value for name, value in parameters.items()}
        if (layer := self.linear_layer) is not None:
            weight = state[f"{layer}.weight"] / scale.std
            state |= {f"{layer}.weight": weight, f"{layer}.bias": state[f"{layer}.bias"] - weight @ scale.mean}
        with torch.no_grad():
            for name, value in state.items():
                self.model.get_parameter(name).copy_(value)


@dataclass(frozen=True)
class Scale:
    """Mean and deviation of every channel over training clips, or 0 and 1."""

    mean: Float[Tensor, " D"]
    std: Float[Tensor, " D"]

    @classmethod
    def of(cls, tokens: Float[Tensor, "N L D"], reader: Reader) -> Scale:
        if reader.linear_layer is None:
            return cls(torch.zeros(tokens.shape[-1]), torch.ones(tokens.shape[-1]))
        flat = tokens.flatten(0, 1)
        return cls(flat.mean(0), flat.std(0, correction=0).clamp_min(1e-6))

    def __call__(self, tokens: Float[Tensor, "N L D"]) -> Float[Tensor, "N L D"]:
        return (tokens - self.mean) / self.std


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """Stored tokens or vectors of frames of all clips, and what reads them."""

    tokens: Float[Tensor, "N V L D"]
    position: Int[Tensor, "N V L"] | None
    readers: Mapping[tuple[str, int], Reader]  # by kind and depth
    epochs: int
    seed: int
    device: torch.device  # that trains
    advance: Callable[[int], None] = lambda steps: None  # told how many steps were made; may raise Stopped

    def views(self, rows: Int[Tensor, " M"]) -> tuple[Tensor, Tensor | None]:
        """Every view of these clips as a clip of its own."""
        position = None if self.position is None else self.position[rows].flatten(0, 1)
        return self.tokens[rows].flatten(0, 1), position


def num_steps(num_clips: int, epochs: int) -> int:
    """Steps of training on so many clips and views."""
    return max(MIN_STEPS, math.ceil(num_clips / BATCH_CLIPS) * epochs)


def train_reading(
    data: Sequences, rows: Int[Tensor, " M"], targets: Float[Tensor, "M K"], settings: list[ReadingSetting], loss: Loss
) -> tuple[list[Parameters], Scale]:
    """Parameters of every setting, which are of one kind and depth, after training on some of the clips."""
    reader = data.readers[settings[0].kind, settings[0].depth]
    tokens, position = data.views(rows)
    scale = Scale.of(tokens, reader)
    targets = targets.repeat_interleave(data.tokens.shape[1], 0)
    steps = num_steps(len(tokens), data.epochs)
    heads = [reader.fresh(data.device) for _ in settings]
    optimizers = [_optimizer(head, setting) for head, setting in zip(heads, settings, strict=True)]
    rng = torch.Generator().manual_seed(data.seed)
    reader.to(data.device).train()
    with torch.random.fork_rng():
        torch.manual_seed(data.seed)  # of dropout
        for step, batch in enumerate(_batches(len(tokens), steps, rng)):
            inputs, wanted = _inputs(data, scale(tokens[batch]), position, batch), targets[batch].to(data.device)
            for head, optimizer, setting in zip(heads, optimizers, settings, strict=True):
                for group in optimizer.param_groups:
                    group["lr"] = setting.rate * _share_of_rate(step, steps)
                optimizer.zero_grad()
                _mean_loss(functional_call(reader, head, inputs), wanted, loss).backward()
                optimizer.step()
            data.advance(len(settings))
    return [{name: p.detach().cpu() for name, p in head.items()} for head in heads], scale


def reading_logits(
    data: Sequences, rows: Int[Tensor, " M"], setting: ReadingSetting, head: Parameters, scale: Scale
) -> Float[Tensor, "M K"]:
    """The mean logits of the views of some clips."""
    reader = data.readers[setting.kind, setting.depth].to(data.device).eval()
    head, found = {name: p.to(data.device) for name, p in head.items()}, []
    with torch.inference_mode():
        for part in rows.split(_SCORED_CLIPS):
            tokens, position = data.views(part)
            logits = functional_call(reader, head, _inputs(data, scale(tokens), position))  # MV K
            found.append(logits.unflatten(0, (len(part), -1)).mean(1).cpu())
    return torch.cat(found).clone()


def seconds_of_a_step(data: Sequences, targets: Float[Tensor, "N K"], setting: ReadingSetting, loss: Loss) -> float:
    """How long a training step of one head takes here."""
    reader = data.readers[setting.kind, setting.depth]
    tokens, position = data.views(torch.arange(min(BATCH_CLIPS, len(data.tokens))))
    batch = torch.arange(min(BATCH_CLIPS, len(tokens)))
    inputs = _inputs(data, tokens[batch], position, batch)
    wanted = targets.repeat_interleave(data.tokens.shape[1], 0)[batch].to(data.device)
    head = reader.to(data.device).fresh(data.device)
    optimizer, took = _optimizer(head, setting), []
    reader.train()
    with torch.random.fork_rng():
        for _ in range(_TIMED_STEPS):
            began = time.perf_counter()
            _mean_loss(functional_call(reader, head, inputs), wanted, loss).backward()
            optimizer.step()
            took.append(time.perf_counter() - began)
    return min(took)


def _inputs(
    data: Sequences, tokens: Tensor, position: Tensor | None, batch: Int[Tensor, " B"] | None = None
) -> tuple[Tensor, Tensor | None]:
    """What a reader takes, on the device; ``position`` of these clips, where it is of more."""
    if position is not None:
        position = (position if batch is None else position[batch]).to(data.device)
    return tokens.to(data.device), position


def _batches(num_clips: int, steps: int, rng: torch.Generator) -> Iterator[Int[Tensor, " B"]]:
    """So many batches; clips come in a new order in every pass."""
    made = 0
    while True:
        for batch in torch.randperm(num_clips, generator=rng).split(BATCH_CLIPS):
            if made == steps:
                return
            made += 1
            yield batch


def _optimizer(head: Parameters, setting: ReadingSetting) -> torch.optim.AdamW:
    """AdamW; only matrices decay."""
    groups: list[dict[str, Any]] = [
        {"params": [p for p in head.values() if p.ndim > 1], "weight_decay": setting.weight_decay},
        {"params": [p for p in head.values() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=setting.rate)


def _share_of_rate(step: int, steps: int) -> float:
    """Of the peak rate: linear growth, then half a cosine to 0."""
    warmup = max(1, round(_WARMUP * steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _mean_loss(logits: Float[Tensor, "B K"], targets: Float[Tensor, "B K"], loss: Loss) -> Float[Tensor, ""]:
    if loss == "softmax":
        return -(logits.log_softmax(-1) * targets).sum(-1).mean()
    return F.binary_cross_entropy_with_logits(logits, targets)


def by_model(settings: Sequence[ReadingSetting]) -> list[list[ReadingSetting]]:
    """The settings that are trained in one pass: those of one kind and depth."""
    groups: dict[tuple[str, int], list[ReadingSetting]] = {}
    for setting in settings:
        groups.setdefault((setting.kind, setting.depth), []).append(setting)
    return list(groups.values())
