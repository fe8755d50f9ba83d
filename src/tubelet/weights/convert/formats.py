"""The kinds of foreign weights that ``tubelet convert`` reads and writes, as the families of models say."""

from __future__ import annotations

from tubelet import config as config_io
from tubelet.models import FAMILIES
from tubelet.weights.checkpoint.checkpoint import Record
from tubelet.weights.convert import huggingface
from tubelet.weights.mapping.converter import Converted, Source

_HUGGINGFACE = Source(
    about=f"a folder of transformers' {' or '.join(model.architecture for model in huggingface.MODELS.values())}",
    convert=huggingface.convert,
    clip_axes="B T C H W",
    original=huggingface.original_logits,
)
_OF_FAMILIES = {name: source for family in FAMILIES for name, source in family.sources.items()}
SOURCES: dict[str, Source] = dict(sorted({"huggingface": _HUGGINGFACE, **_OF_FAMILIES}.items()))


def record_of(converted: Converted) -> Record:
    """The record of a converted model, with every field of its config."""
    return Record(
        model_name=converted.name,
        model_config=config_io.to_dict(converted.model.config),
        protocol=converted.protocol,
        provenance=dict(converted.provenance),
    )
