"""What reads each kind of foreign weights."""

from __future__ import annotations

from tubelet import config as config_io
from tubelet.models import FAMILIES
from tubelet.weights.checkpoint.checkpoint import Record
from tubelet.weights.convert import huggingface
from tubelet.weights.convert.formats import FORMATS
from tubelet.weights.mapping.converter import Converted, Source

_CONVERTERS = {name: convert for family in FAMILIES for name, convert in family.weights().converters.items()}
SOURCES: dict[str, Source] = {
    "huggingface": Source(
        format=FORMATS["huggingface"], convert=huggingface.convert, original=huggingface.original_logits
    ),
    **{name: Source(format=FORMATS[name], convert=convert) for name, convert in _CONVERTERS.items()},
}


def record_of(converted: Converted) -> Record:
    """The record of a converted model, with every field of its config."""
    return Record(
        model_name=converted.name,
        model_config=config_io.to_dict(converted.model.config),
        protocol=converted.protocol,
        provenance=dict(converted.provenance),
    )
