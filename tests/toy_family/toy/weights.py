"""A toy's weights under the names of its box."""

from __future__ import annotations

from pathlib import Path

from tubelet.models.toy.model import Toy
from tubelet.models.toy.variants import MODELS

from tubelet.errors import CheckpointError
from tubelet.models.family import create, nearest_name
from tubelet.protocol import Protocol
from tubelet.weights.mapping.converter import Converted, ConvertOptions, Mapped, as_converted
from tubelet.weights.mapping.read import read_weights
from tubelet.weights.mapping.rules import Rule, map_weights


def convert(path: Path, options: ConvertOptions) -> Converted:
    weights = read_weights(path, options.which)
    source = weights.tensors
    fields = {"num_classes": len(source["box.lid.weight"]), "depth": sum("fc1.bias" in name for name in source)}
    name = nearest_name(MODELS, Toy, fields)
    model = create(MODELS, name, fields)
    rules = [Rule(f"head.{kind}", (f"box.lid.{kind}",)) for kind in ("weight", "bias")]
    rules += [Rule(target, (f"box.{target}",)) for target in model.state_dict() if not target.startswith("head.")]
    try:
        state, report = map_weights(source, model, rules)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    protocol = Protocol(num_frames=4, resize_short_side=16, crop_size=(16, 24), num_temporal_views=1)
    facts = {"source": "toybox", "original": "the box", "license": "mit"}
    mapped = Mapped(name, model, state, report)
    return as_converted(mapped, weights, options, protocol, facts, {})
