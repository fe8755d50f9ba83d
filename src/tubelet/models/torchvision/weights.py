"""torchvision's own weights of its video networks, with the protocol that they were tested with.

Source: torchvision 0.29, ``torchvision/models/video``: pixel range, sizes and class names from the entries of its
weights, which need no download; frames per second, frames and clips as their documentation states them; the averaging
of scores from its ``references/video_classification``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import get_model_weights

from tubelet.errors import CheckpointError, ConfigError
from tubelet.models.family import config_of, create
from tubelet.models.torchvision.model import TorchvisionVideo
from tubelet.models.torchvision.variants import MODELS
from tubelet.protocol import Protocol
from tubelet.weights.mapping.converter import Converted, ConvertOptions, Mapped, as_converted
from tubelet.weights.mapping.read import read_weights
from tubelet.weights.mapping.rules import MappingReport, Rule, map_weights

_PREFIX = "network."
# Frames per second, frames of a clip and clips of a video of each network's test.
_TEST = {
    **dict.fromkeys(("r3d_18", "mc3_18", "r2plus1d_18"), (15.0, 16, 5)),
    "s3d": (15.0, 128, 1),
    **dict.fromkeys(("mvit_v1_b", "mvit_v2_s"), (7.5, 16, 5)),
    **dict.fromkeys(("swin3d_t", "swin3d_s", "swin3d_b"), (15.0, 32, 12)),
}
# The layers behind which the number of classes stands.
_HEADS = ("fc.weight", "classifier.1.weight", "head.1.weight", "head.weight")


def convert(path: Path, options: ConvertOptions) -> Converted:
    """A file of torchvision (``r3d_18-b3b3357e.pth``), which names and shapes tell apart.

    Raises:
        CheckpointError: unreadable, none of torchvision's video networks, or weights that do not fit strictly.
    """
    weights = read_weights(path, options.which)
    source = weights.tensors
    unknown = [name for name in options.model if name != "name"]
    if unknown:
        raise ConfigError(f"--model.{unknown[0]}: a file of torchvision says itself what its network is")
    try:
        num_classes = _num_classes(source)
        name = options.model.get("name") or _network_of(source, num_classes)
        if name not in MODELS or MODELS[name][0]() is not TorchvisionVideo:
            raise ConfigError(f"--model.name {name}: expected one of {', '.join(MODELS)}")
        model = create(MODELS, name, {"num_classes": num_classes})
        state, report = from_torchvision(source, model)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    config = config_of(MODELS, name, {"num_classes": num_classes})
    categories = _entry(config.network).meta["categories"]
    protocol = protocol_of(config.network)
    facts = {
        "source": "torchvision",
        "original": f"torchvision {config.network}",
        "license": "unknown: torchvision states none for its weights",
    }
    lines = {
        "protocol_notes": ["views and frames per second: as torchvision documents the test of its Kinetics weights"],
    }
    mapped = Mapped(name, model, state, report)
    return as_converted(
        mapped, weights, options, protocol, facts, lines, categories if len(categories) == num_classes else None
    )


def from_torchvision(source: Mapping[str, Tensor], model: nn.Module) -> tuple[dict[str, Tensor], MappingReport]:
    """The state dict of an adapter from torchvision's, whose names it keeps.

    Raises:
        CheckpointError: any tensor is missing, left over, not finite or of another shape.
    """
    rules = [Rule(name, (name.removeprefix(_PREFIX),)) for name in model.state_dict()]
    return map_weights(source, model, rules)


def protocol_of(network: str) -> Protocol:
    """How torchvision tested its Kinetics weights of a network."""
    preset: Any = _entry(network).transforms()
    frames_per_second, num_frames, num_clips = _TEST[network]
    return Protocol(
        num_frames=num_frames,
        frame_stride=None,
        target_fps=frames_per_second,
        resize_short_side=min(preset.resize_size),
        crop_size=tuple(preset.crop_size),
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        num_temporal_views=num_clips,
        num_spatial_crops=1,
        averaging="probs",
    )


def _entry(network: str) -> Any:
    return next(iter(get_model_weights(network)))


def _num_classes(source: Mapping[str, Tensor]) -> int:
    head = next((name for name in _HEADS if name in source), None)
    if head is None:
        raise CheckpointError(f"none of torchvision's video networks: found {', '.join(list(source)[:3])}, ...")
    return len(source[head])


def _network_of(source: Mapping[str, Tensor], num_classes: int) -> str:
    """The name of the network with these names and shapes."""
    shapes = {name: tensor.shape for name, tensor in source.items()}
    for name in MODELS:
        with torch.device("meta"):
            expected = create(MODELS, name, {"num_classes": num_classes}).state_dict()
        if {n.removeprefix(_PREFIX): t.shape for n, t in expected.items()} == shapes:
            return name
    raise CheckpointError("names and shapes are those of none of torchvision's video networks; give --model.name")
