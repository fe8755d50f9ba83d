"""What every converter of foreign weights takes and gives, whatever the format."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tubelet import config as config_io
from tubelet.errors import CheckpointError
from tubelet.models import MODELS, model_config
from tubelet.protocol import Protocol
from tubelet.weights.checkpoint.checkpoint import Record
from tubelet.weights.mapping.rules import MappingReport


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """What a file of weights does not say itself."""

    # Class names in the order of the logits, of several heads by head; none: of the file, else numbers.
    labels: tuple[str, ...] | dict[str, tuple[str, ...]] | None = None
    model: dict[str, Any] = field(default_factory=dict)  # name and fields, where names and shapes leave them open
    protocol: dict[str, Any] = field(default_factory=dict)  # fields in place of those that belong to the weights


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A model with its weights loaded, the record that its checkpoint will hold, and what became of every tensor."""

    model: nn.Module  # on the CPU, in eval mode
    record: Record  # provenance: source, license, the mapping report, where the labels come from
    report: MappingReport


# Reads a file or folder. Raises CheckpointError when it cannot be read or does not fit strictly.
Converter = Callable[[Path, ConvertOptions], Converted]


@dataclass(frozen=True, kw_only=True)
class Source:
    """One kind of foreign weights, as ``tubelet convert`` offers it."""

    about: str  # what it reads, one line for --help
    convert: Converter
    clip_axes: str = "B C T H W"  # the axes of a clip as the original takes it, for stored reference inputs
    # The original's logits for a clip of these axes and its name and version; none where it cannot run here.
    original: Callable[[Path, Tensor], tuple[Tensor, str] | None] | None = None


def as_converted(
    name: str, model: nn.Module, report: MappingReport, protocol: Protocol, provenance: Mapping[str, Any]
) -> Converted:
    """The outcome of a converter: the named model with its weights loaded, and the record of its own config."""
    fields: Any = model.config
    record = Record(
        model_name=name,
        model_config=config_io.to_dict(fields),
        protocol=protocol,
        provenance={**provenance, "mapping": report.to_dict()},
    )
    return Converted(model=model.eval(), record=record, report=report)


def nearest_name(model_class: type[nn.Module], fields: Mapping[str, Any]) -> str:
    """The name in ``MODELS`` of that class whose own fields agree most with ``fields``; the record holds them all."""

    def agreeing(name: str) -> int:
        own = config_io.to_dict(model_config(name))
        return sum(own.get(key) == config_io.to_dict(value) for key, value in fields.items())

    return max((name for name, (of_name, _, _) in MODELS.items() if of_name is model_class), key=agreeing)


def choose_labels(
    num_classes: int, given: Sequence[str] | Mapping[str, Sequence[str]] | None, of_file: Sequence[str] | None
) -> tuple[tuple[str, ...], str]:
    """Class names in the order of the logits, and where they come from: given, else of the file, else numbers.

    Names given by head are those of all heads, one after the other; each is distinct within its own.

    Raises:
        CheckpointError: not one distinct name for each logit.
    """
    if isinstance(given, Mapping):
        for of_head in given.values():
            choose_labels(len(of_head), of_head, None)
        all_names = tuple(name for of_head in given.values() for name in of_head)
        listed = ", ".join(f"{head} {len(of_head)}" for head, of_head in given.items())
        if len(all_names) != num_classes:
            raise CheckpointError(
                f"the lists of labels given have {len(all_names)} names ({listed}), the model has {num_classes} "
                "logits; give one for each"
            )
        return all_names, f"the lists of labels given for each head ({listed})"
    names = given if given is not None else of_file
    if names is None:
        return tuple(map(str, range(num_classes))), f"numbers 0 to {num_classes - 1}: the source names no classes"
    where = "the list of labels given" if given is not None else "the source's own list of labels"
    if len(names) != num_classes:
        raise CheckpointError(f"{where} has {len(names)} names, the model has {num_classes} logits; give one for each")
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise CheckpointError(f"{where} has '{twice}' twice; give each class its own name (--labels FILE)")
    return tuple(names), where


def protocol_with(protocol: Protocol, options: ConvertOptions, labels: tuple[str, ...]) -> Protocol:
    """The protocol that belongs to the weights, with the fields that the options set and the labels.

    Raises:
        ConfigError: an unknown or mistyped field.
    """
    heads = options.labels if isinstance(options.labels, dict) else {"label": labels}
    content = config_io.to_dict(dataclasses.replace(protocol, labels=heads))
    return config_io.from_dict(Protocol, {**content, **options.protocol}, where="protocol")
