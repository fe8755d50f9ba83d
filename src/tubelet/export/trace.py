"""What an exporter is given: a model whose position tables have the size of the clip, and which axes are free.

B  videos   C  channels   T, H, W  clip in frames and pixels
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tubelet.errors import ExportError, reason
from tubelet.export.taken_clips import example_inputs
from tubelet.nn.fit_tables import fit_tables_
from tubelet.weights.exported.record import TakenClips

_BATCH = 2  # of the example: batches of 1 would be taken for a constant
_EXAMPLE_FRAMES = 17


@dataclass(frozen=True, kw_only=True)
class Traceable:
    """A model for one height and width, example inputs, and the free axes of each of them."""

    model: nn.Module
    inputs: tuple[Tensor, ...]
    dynamic_shapes: tuple[dict[int, Any], ...] | dict[str, tuple[dict[int, Any], ...]]  # by argument, or by its name


def traceable(model: nn.Module, taken: TakenClips, size: tuple[int, int]) -> Traceable:
    """The model with tables of ``size``; it shares all other values with ``model``, which stays as it is."""
    frames = taken.num_frames or _example_frames(taken)
    inputs = example_inputs(model, (_BATCH, taken.num_channels, frames, *size))
    kept = {id(t): t for t in (*model.parameters(), *model.buffers())}
    fitted = copy.deepcopy(model, memo=kept)
    few = taken.num_frames or -(-taken.min_frames // taken.frame_step) * taken.frame_step
    fit_tables_(fitted, *example_inputs(model, (1, taken.num_channels, few, *size)))
    batch = torch.export.Dim("batch", min=1, max=2**20)
    axes: list[dict[int, Any]] = [{0: batch} for _ in inputs]
    if taken.num_frames is None:
        least = -(-taken.min_frames // taken.frame_step)
        steps = torch.export.Dim("frames" if taken.frame_step == 1 else "steps", min=least, max=2**20)
        free = steps if taken.frame_step == 1 else taken.frame_step * steps
        for axis, at in zip(axes, (2, 1), strict=False):  # of the clip, of frame numbers
            axis[at] = free
    return Traceable(model=fitted, inputs=inputs, dynamic_shapes=tuple(axes))


def _example_frames(taken: TakenClips) -> int:
    """So many that no axis of the example has the length 1, also behind layers that halve the frames three times."""
    wanted = max(taken.min_frames, _EXAMPLE_FRAMES)
    return -(-wanted // taken.frame_step) * taken.frame_step + taken.frame_step


@contextmanager
def explaining_trace(name: str, taken: TakenClips) -> Iterator[None]:
    """Raise ExportError, in one line, for whatever an exporter says of a model it cannot follow."""
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # torch's own classes for this are not public
        first: BaseException = error
        while first.__cause__ is not None:
            first = first.__cause__
        hint = "; give --frames N for a file with one number of frames" if taken.num_frames is None else ""
        raise ExportError(f"{name}: torch cannot export it ({reason(first)[:300]}){hint}") from error
