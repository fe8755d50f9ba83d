"""The per-frame head of a checkpoint: two files beside those of the backbone.

    per_frame.json          classes, features, windows, and the rules by which bouts are found
    per_frame.safetensors   weights of the head

The folder stays a checkpoint of the backbone for every command that knows nothing of these files.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from tubelet import config as config_io
from tubelet.errors import CheckpointError, ConfigError, reason
from tubelet.files import write_atomically, write_tensors
from tubelet.nn.per_frame_head import ConvPerFrameHead, LinearPerFrameHead
from tubelet.tasks.per_frame.rules import BoutRule
from tubelet.tasks.per_frame.task import PerFrame
from tubelet.weights.checkpoint.checkpoint import load_strictly

RECORD, WEIGHTS, FORMAT = "per_frame.json", "per_frame.safetensors", 1


@dataclass(frozen=True, kw_only=True)
class HeadRecord:
    """What stands in ``per_frame.json``."""

    labels: tuple[str, ...]  # classes in logit order; of one per step, the first is background
    one: bool  # behaviors exclude each other
    head: Literal["conv", "linear"]
    in_dim: int  # width of a feature
    hidden_dim: int
    num_layers: int
    features: Literal["frames", "tokens"]  # of the backbone
    window_steps: int
    hop_steps: int
    rules: tuple[BoutRule, ...] = ()  # of each class, chosen on validation films; empty means the default
    num_rule_films: int = 0  # validation films that the rules were chosen on
    format: int = FORMAT

    @property
    def task(self) -> PerFrame:
        """The task of the head."""
        return PerFrame(labels={"label": self.labels}, one=self.one)

    @property
    def bout_rules(self) -> tuple[BoutRule, ...]:
        """A rule for every class."""
        return self.rules or self.task.default_rules

    def make(self, dropout: float = 0.0) -> nn.Module:
        """The head with fresh weights."""
        if self.head == "linear":
            return LinearPerFrameHead(self.in_dim, len(self.labels), dropout=dropout)
        return ConvPerFrameHead(
            self.in_dim, len(self.labels), hidden_dim=self.hidden_dim, num_layers=self.num_layers, dropout=dropout
        )


def write_head(folder: Path, head: nn.Module, record: HeadRecord) -> None:
    """Write both files."""
    write_tensors(folder / WEIGHTS, {name: t.detach().cpu().contiguous() for name, t in head.state_dict().items()})
    write_record(folder, record)


def write_record(folder: Path, record: HeadRecord) -> None:
    """Write ``per_frame.json`` alone."""
    write_atomically(folder / RECORD, json.dumps(config_io.to_dict(record), indent=2, ensure_ascii=False) + "\n")


def has_head(folder: Path) -> bool:
    """Whether a checkpoint folder has a per-frame head."""
    return (folder / RECORD).is_file()


def read_head(folder: Path) -> tuple[nn.Module, HeadRecord]:
    """The head in eval mode on the CPU, and its record.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    if not has_head(folder):
        raise CheckpointError(
            f"{folder}: no per-frame head here (expected {RECORD}); train one: `tubelet train --task per_frame --data "
            "labels.csv`"
        )
    try:
        content: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        record = config_io.from_dict(HeadRecord, content, where=RECORD)
        state = load_file(folder / WEIGHTS)
    except (OSError, ConfigError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: the per-frame head cannot be read: {reason(error)}") from None
    if record.format != FORMAT:
        raise CheckpointError(f"{folder / RECORD}: format {record.format}; this version reads format {FORMAT}")
    head = record.make()
    load_strictly(head, state, str(folder / WEIGHTS))
    return head.eval(), record


def with_rules(record: HeadRecord, rules: tuple[BoutRule, ...], num_films: int) -> HeadRecord:
    """The record with rules that were chosen on so many films."""
    return dataclasses.replace(record, rules=rules, num_rule_films=num_films)
