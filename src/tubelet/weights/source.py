"""What every converter of foreign weights takes and gives, whatever the format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from tubelet.weights.checkpoint import Record
from tubelet.weights.convert import MappingReport


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """What a file of weights does not say itself."""

    labels: tuple[str, ...] | None = None  # class names in the order of the logits; none: of the file, else numbers
    model: dict[str, Any] = field(default_factory=dict)  # name and fields, where names and shapes leave them open


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A model with its weights loaded, the record that its checkpoint will hold, and what became of every tensor."""

    model: nn.Module  # on the CPU, in eval mode
    record: Record  # provenance: source, license, the mapping report, where the labels come from
    report: MappingReport


# Reads a file or folder. Raises CheckpointError when it cannot be read or does not fit strictly.
Converter = Callable[[Path, ConvertOptions], Converted]
