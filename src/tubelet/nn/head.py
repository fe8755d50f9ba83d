"""Names inside a model: its classifier, and its layers.

Most models call the classifier ``head`` and a layer ``blocks.3``. A model that keeps the names of another library
states its own: ``head_name``, a module name as in ``named_modules``, and ``layer_pattern``.
"""

from __future__ import annotations

from torch import nn


def head_name(model: nn.Module) -> str:
    """The name of the module that gives the logits."""
    name = getattr(model, "head_name", "head")
    assert isinstance(name, str)
    return name


def layer_pattern(model: nn.Module) -> str:
    """A regular expression that matches the start of a parameter's name up to its block: ``blocks.3.``,
    ``temporal_encoder.layers.0.``, a ResNet's ``layer2.1.``."""
    pattern = getattr(model, "layer_pattern", r"(?:.*?\.)??(?:blocks|layers|layer\d+)\.\d+\.")
    assert isinstance(pattern, str)
    return pattern
