"""What every converter of foreign weights takes and gives, whatever the format."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tubelet import config as config_io
from tubelet.errors import CheckpointError, ConfigError
from tubelet.protocol import Protocol
from tubelet.types import WhichWeights
from tubelet.weights.mapping.format import Format
from tubelet.weights.mapping.rules import MappingReport
from tubelet.weights.mapping.training_state import Weights


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """What a file of weights does not say itself."""

    # Class names in the order of the logits, of several heads by head; None means those of the
    # file, else numbers.
    labels: tuple[str, ...] | dict[str, tuple[str, ...]] | None = None
    model: dict[str, Any] = field(default_factory=dict)  # name and fields, where names and shapes leave them open
    protocol: dict[str, Any] = field(default_factory=dict)  # fields in place of those that belong to the weights
    which: WhichWeights | None = None  # averaged or raw weights of a file with both; None means the averaged ones


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A model with its weights loaded, and what its checkpoint will say of it."""

    model: nn.Module  # on the CPU, in eval mode; its config has every field
    name: str  # of the model
    protocol: Protocol  # that belongs to the weights, with the labels
    provenance: Mapping[str, Any]  # source, license, the mapping report, where the labels come from
    report: MappingReport  # what became of every tensor


# Reads a file or folder. Raises CheckpointError when it cannot be read or does not fit strictly.
Converter = Callable[[Path, ConvertOptions], Converted]
# The original's logits for a clip in the original's axes, and its name and version; None where it cannot run here.
Original = Callable[[Path, Tensor], tuple[Tensor, str] | None]


@dataclass(frozen=True, kw_only=True)
class Source:
    """One kind of foreign weights, as ``tubelet convert`` offers it."""

    format: Format
    convert: Converter
    original: Original | None = None


@dataclass(frozen=True, kw_only=True)
class HuggingFaceFolder:
    """What a folder that ``transformers`` loads holds, and what of the checkpoint it cannot hold."""

    config: Mapping[str, Any]  # config.json
    preprocessor: Mapping[str, Any]  # preprocessor_config.json
    tensors: Mapping[str, Tensor]
    notes: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class HuggingFaceModel:
    """A model of ``transformers`` that tubelet reads and writes, clips ``[B, T, C, H, W]``."""

    about: str  # which of tubelet's models it is
    convert: Converter
    original: Original
    # Raises CheckpointError for a model or a protocol that transformers does not have.
    write: Callable[[nn.Module, Protocol], HuggingFaceFolder]


@dataclass(frozen=True)
class Mapped:
    """A fresh model, the tensors that foreign weights give it, and the report of the mapping."""

    name: str
    model: nn.Module  # whose config has ``num_classes``
    state: Mapping[str, Tensor]
    report: MappingReport


def as_converted(
    mapped: Mapped,
    weights: Weights,
    options: ConvertOptions,
    protocol: Protocol,
    facts: dict[str, Any],
    notes: dict[str, Any],
    labels_of_file: Sequence[str] | None = None,
) -> Converted:
    """The model with its weights loaded, in eval mode, with labels, protocol and provenance.

    Args:
        weights: the file; what of it the mapping did not see is added to the report.
        protocol: that belongs to the weights, to which the options come.
        facts: of the provenance: source, original, license.
        notes: of the provenance: lists of lines.

    Raises:
        CheckpointError: not one distinct label for each logit.
        ConfigError: a field of the protocol that is unknown or mistyped.
    """
    model: Any = mapped.model
    model.load_state_dict(mapped.state)
    labels, labels_from = choose_labels(model.config.num_classes, options.labels, labels_of_file)
    dropped = {**mapped.report.dropped, **weights.left_out}
    report = dataclasses.replace(mapped.report, dropped=dropped, notes=(*weights.notes, *mapped.report.notes))
    return Converted(
        model=model.eval(),
        name=mapped.name,
        protocol=protocol_with(protocol, options, labels),
        provenance={**facts, "labels_from": labels_from, **notes, "mapping": report.to_dict()},
        report=report,
    )


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
    if names is None and not num_classes:
        return (), "none: the source has no classifier"
    if names is None:
        return tuple(map(str, range(num_classes))), f"numbers 0 to {num_classes - 1}: the source names no classes"
    where = "the list of labels given" if given is not None else "the source's own list of labels"
    if len(names) != num_classes:
        raise CheckpointError(f"{where} has {len(names)} names, the model has {num_classes} logits; give one for each")
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise CheckpointError(f"{where} has '{twice}' twice; give each class its own name (--labels FILE)")
    return tuple(names), where


def refuse_model_fields(options: ConvertOptions) -> None:
    """Refuse fields of the model where the folder of ``transformers`` states all of them.

    Raises:
        ConfigError: the first field that is not the model's name.
    """
    field_name = next((name for name in options.model if name != "name"), None)
    if field_name is not None:
        raise ConfigError(f"--model.{field_name}: a HuggingFace folder says itself what its model is")


def protocol_with(protocol: Protocol, options: ConvertOptions, labels: tuple[str, ...]) -> Protocol:
    """The protocol that belongs to the weights, with the fields that the options set and the labels.

    Raises:
        ConfigError: an unknown or mistyped field.
    """
    one_head = {"label": labels} if labels else {}
    heads = options.labels if isinstance(options.labels, dict) else one_head
    content = config_io.to_dict(dataclasses.replace(protocol, labels=heads))
    return config_io.from_dict(Protocol, {**content, **options.protocol}, where="protocol")
