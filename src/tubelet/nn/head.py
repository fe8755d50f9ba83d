"""Names inside a model: its classifier, and its layers.

Most models call the classifier ``head`` and a layer ``blocks.3``. A model that keeps the names of another library
states its own: ``head_name``, a module name as in ``named_modules``, and ``layer_pattern``.
"""

from __future__ import annotations

import re

from torch import nn


def head_name(model: nn.Module) -> str:
    """The name of the module that gives the logits."""
    name = getattr(model, "head_name", "head")
    assert isinstance(name, str)
    return name


def head_prefixes(model: nn.Module) -> tuple[str, ...]:
    """How the names of the head's parameters begin, with those of what the pooled vector passes before it."""
    return f"{head_name(model)}.", "pre_logits.", "fc_norm."


def layer_pattern(model: nn.Module) -> str:
    """A regular expression that matches the start of a parameter's name up to its block: ``blocks.3.``,
    ``temporal_encoder.layers.0.``, a ResNet's ``layer2.1.``."""
    pattern = getattr(model, "layer_pattern", r"(?:.*?\.)??(?:blocks|layers|layer\d+)\.\d+\.")
    assert isinstance(pattern, str)
    return pattern


def layer_of_parameters(model: nn.Module) -> dict[str, int]:
    """The layer of every parameter: 0 before the first block, then the number of blocks up to and with its own."""
    numbers: dict[str, int] = {}
    layers: dict[str, int] = {}
    pattern = re.compile(layer_pattern(model))
    for name, _ in model.named_parameters():
        block = pattern.match(name)
        if block is not None:
            numbers.setdefault(block[0], len(numbers) + 1)
            layers[name] = numbers[block[0]]
        else:
            layers[name] = len(numbers)
    return layers
