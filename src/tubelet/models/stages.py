"""What loops hand to a model beside the clip. They ask here, and never for a model's name.

A model whose class says ``takes_frame_numbers = True`` takes the numbers of the clip's frames behind the clip, in
``forward`` and in ``encode_frames`` (VTN, whose positions are those of the source). One whose class says
``takes_targets = True`` takes the targets of the batch behind the clip (masked pre-training, whose targets say which
tokens are hidden).

    B  videos   T  frames   K  classes
"""

from __future__ import annotations

import dataclasses
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tubelet.errors import ConfigError
from tubelet.protocol import Protocol
from tubelet.types import FrameFeatures


def model_inputs(
    model: nn.Module,
    clip: Float[Tensor, "B *clip"],
    frame_numbers: Int[Tensor, "B T"] | None,
    targets: Int[Tensor, "B *targets"] | None = None,
) -> tuple[Any, ...]:
    """The arguments of ``model``'s forward for clips on its device.

    Args:
        clip: pixels ``[B, C, T, H, W]``, or vectors ``[B, T, D]`` of the model's per-frame stage.
        frame_numbers: as in ``Batch``, wherever they are; None means that a model that takes them assumes its own.
        targets: those of the clips, wherever they are; None means that a model that takes them assumes its own.
    """
    if targets is not None and getattr(model, "takes_targets", False):
        return clip, targets.to(clip.device, non_blocking=True)
    if clip.ndim == 3:
        position = None if frame_numbers is None else frame_numbers.to(clip.device, non_blocking=True)
        return (FrameFeatures(vectors=clip, position=position),)
    if frame_numbers is None or not takes_frame_numbers(model):
        return (clip,)
    return clip, frame_numbers.to(clip.device, non_blocking=True)


def frame_features(
    model: nn.Module, clip: Float[Tensor, "B *clip"], frame_numbers: Int[Tensor, "B T"] | None
) -> FrameFeatures:
    """The per-frame stage of a model that has the two stages; arguments as of ``model_inputs``.

    The result holds no more memory than its values, so that it can be kept: the vector that a ViT pools is a row of the
    tokens of its frame, and a film of them would keep every token.
    """
    two_stages: Any = model
    features: FrameFeatures = two_stages.encode_frames(*model_inputs(model, clip, frame_numbers))
    return dataclasses.replace(
        features, vectors=_alone(features.vectors), tokens=tuple(_alone(layer) for layer in features.tokens)
    )


def encode_time(model: nn.Module, features: FrameFeatures) -> Float[Tensor, "B K"]:
    """The temporal stage of a model that has the two stages."""
    two_stages: Any = model
    logits: Tensor = two_stages.encode_time(features)
    return logits


def takes_frame_numbers(model: nn.Module) -> bool:
    """Whether ``forward`` reads which frames of the source those of the clip are."""
    while isinstance(model, DistributedDataParallel):
        model = model.module
    return bool(getattr(model, "takes_frame_numbers", False))


def check_segments(model: nn.Module, protocol: Protocol) -> None:
    """Raise ConfigError where the protocol puts segments of a video into one clip that the model would not tell apart.

    A model without a config, such as an exported one, is not looked at.
    """
    config = getattr(model, "config", None)
    taken, pooled = protocol.num_segments, getattr(config, "num_segments", 1)
    if taken > 1 and config is not None and taken != pooled:
        raise ConfigError(
            f"the protocol takes {taken} segments of a video, the model pools {pooled} at once; set "
            f"protocol.num_segments to {pooled}"
        )


def _alone(values: Tensor) -> Tensor:
    """The same values, copied if they are a part of something larger."""
    is_part = values.untyped_storage().nbytes() > values.numel() * values.element_size()
    return values.clone() if is_part else values
