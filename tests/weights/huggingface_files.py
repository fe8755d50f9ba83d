"""Tiny ViViTs as ``transformers`` saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import VivitConfig, VivitForVideoClassification, VivitImageProcessor

LABELS = {0: "wave", 1: "clap", 2: "jump"}


def huggingface_model(**options: Any) -> VivitForVideoClassification:
    fields: dict[str, Any] = {
        "image_size": 32,
        "num_frames": 4,
        "tubelet_size": [2, 16, 16],
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 40,
        "id2label": LABELS,
        "label2id": {name: i for i, name in LABELS.items()},
    }
    model = VivitForVideoClassification(VivitConfig(**{**fields, **options}))
    for parameter in model.parameters():  # biases and norms included, which start at 0 and 1
        torch.nn.init.normal_(parameter, std=0.6)  # large enough for exact and approximate GELU to differ
    return model.eval()


def saved(folder: Path, processor: dict[str, Any] | None = None, **options: Any) -> VivitForVideoClassification:
    """A folder as ``transformers`` writes it."""
    model = huggingface_model(**options)
    model.save_pretrained(folder)
    if processor is not None:
        sizes = {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}}
        VivitImageProcessor(**{**sizes, **processor}).save_pretrained(folder)
    return model
