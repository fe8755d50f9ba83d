"""HuggingFace's video models by the ``model_type`` of their ``config.json``: the ones that the families have."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from tubelet.models import FAMILIES
from tubelet.weights.mapping.converter import Converted, ConvertOptions, HuggingFaceModel
from tubelet.weights.mapping.huggingface import read_config

MODELS: dict[str, HuggingFaceModel] = {
    kind: model for family in FAMILIES for kind, model in family.weights().huggingface.items()
}


def convert(path: Path, options: ConvertOptions) -> Converted:
    """A folder with ``config.json`` and weights, as ``save_pretrained`` writes it and the hub holds it.

    Raises:
        CheckpointError: no such folder, another model, no classifier, or weights that do not fit strictly.
    """
    return _model_of(path).convert(path, options)


def original_logits(path: Path, clip: Tensor) -> tuple[Tensor, str] | None:
    """What ``transformers`` computes for a clip ``[B, T, C, H, W]``, and its version; None where it is missing."""
    return _model_of(path).original(path, clip)


def _model_of(path: Path) -> HuggingFaceModel:
    return MODELS[read_config(path, MODELS)["model_type"]]
