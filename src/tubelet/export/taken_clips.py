"""Which clips a model takes, found out by asking it: a copy without values computes shapes alone.

B  videos   C  channels   T, H, W  clip in frames and pixels
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from tubelet.errors import ExportError, TubeletError, reason
from tubelet.export.config import ExportConfig
from tubelet.models.stages import takes_frame_numbers
from tubelet.protocol import Protocol
from tubelet.weights.exported.record import TakenClips


def taken_clips(model: nn.Module, name: str, protocol: Protocol, config: ExportConfig) -> TakenClips:
    """The clips that an exported file of ``model`` will take.

    Raises:
        ExportError: the model does not take the sizes or the number of frames that are asked for.
    """
    sizes = config.sizes or (protocol.crop_size,)
    probe = without_values(model)
    usual = config.num_frames or protocol.num_frames
    for size in sizes:
        if (why := _refusal(probe, protocol.num_channels, usual, size)) is not None:
            raise ExportError(f"{name}: takes no clips of {usual}x{size[0]}x{size[1]}: {why}")
    step, fewest = 1, 1
    if config.num_frames is None:
        step, fewest = _free_frames(probe, name, protocol, sizes[0])
    own: Any = model
    return TakenClips(
        num_channels=protocol.num_channels,
        sizes=sizes,
        num_frames=config.num_frames,
        min_frames=fewest,
        frame_step=step,
        frame_numbers=getattr(own.config, "frame_step", 1) if takes_frame_numbers(model) else None,
    )


def without_values(model: nn.Module) -> nn.Module:
    """A copy whose tensors have shapes alone."""
    tensors = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, memo={id(t): _meta(t) for t in tensors}).eval()


def _meta(tensor: Tensor) -> Tensor:
    bare = tensor.detach().to("meta")
    return nn.Parameter(bare, requires_grad=False) if isinstance(tensor, nn.Parameter) else bare


def example_inputs(model: nn.Module, shape: tuple[int, int, int, int, int], device: str = "cpu") -> tuple[Tensor, ...]:
    """A clip of zeros ``[B, C, T, H, W]``, and the numbers of its frames where the model takes them."""
    clip = torch.zeros(shape, device=device)
    if not takes_frame_numbers(model):
        return (clip,)
    return clip, torch.arange(shape[2], device=device).repeat(shape[0], 1)


@torch.no_grad()
def _refusal(probe: nn.Module, channels: int, frames: int, size: tuple[int, int]) -> str | None:
    """Why the model takes no clip of these sizes. None means that it does."""
    try:
        probe(*example_inputs(probe, (1, channels, frames, *size), "meta"))
    except TubeletError as error:
        return reason(error)
    except Exception as error:  # timm's and torchvision's networks have their own ways to say so
        return reason(error)[:200]
    return None


def _free_frames(probe: nn.Module, name: str, protocol: Protocol, size: tuple[int, int]) -> tuple[int, int]:
    """The step and the least of the numbers of frames that the model takes."""
    usual, channels = protocol.num_frames, protocol.num_channels
    taken = [t for t in range(1, usual + 1) if _refusal(probe, channels, t, size) is None]
    if _refusal(probe, channels, 2 * usual, size) is not None:
        raise ExportError(
            f"{name}: takes clips of {usual} frames and not of {2 * usual}, so that no file of it can follow T; "
            f"give --frames {usual}"
        )
    if len(taken) > 1 and taken[0] == 1 and math.gcd(*taken[1:]) > 1:
        taken = taken[1:]  # a single picture that the model repeats
    own: Any = probe
    fewest = getattr(own.config, "num_sampled_frames", None) or taken[0]  # of fewer frames other ones are sampled
    return math.gcd(*taken), max(fewest, taken[0])
