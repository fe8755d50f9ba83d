"""HuggingFace's video models by the ``model_type`` of their ``config.json``: one door for those that tubelet has."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

from torch import Tensor

from tubelet.models.timesformer import huggingface as huggingface_timesformer
from tubelet.models.vivit import huggingface
from tubelet.weights.mapping.converter import Converted, ConvertOptions

_BY_TYPE = {"vivit": huggingface, "timesformer": huggingface_timesformer}


def convert(path: Path, options: ConvertOptions) -> Converted:
    """A folder with ``config.json`` and weights, as ``save_pretrained`` writes it and the hub holds it.

    Raises:
        CheckpointError: no such folder, another model, no classifier, or weights that do not fit strictly.
    """
    converted: Converted = _module_for(path).convert(path, options)
    return converted


def original_logits(path: Path, clip: Tensor) -> tuple[Tensor, str] | None:
    """What ``transformers`` computes for a clip ``[B, T, C, H, W]``, and its version; none where it is missing."""
    answer: tuple[Tensor, str] | None = _module_for(path).original_logits(path, clip)
    return answer


def _module_for(path: Path) -> ModuleType:
    """A folder that cannot be read, or holds another model, is refused by ViViT's reader, which names both."""
    try:
        kind = json.loads((path / huggingface.CONFIG).read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, KeyError, TypeError):
        kind = "vivit"
    return _BY_TYPE.get(kind if isinstance(kind, str) else "", huggingface)
