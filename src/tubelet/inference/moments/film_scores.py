"""Probabilities of the steps of a film: windows of features through the head, blended on the film's own grid.

S  steps   n  steps of a window   D  width of a feature   K  classes
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tubelet.inference.moments.blend import blend, starts_within, window_starts
from tubelet.inference.moments.head_file import HeadRecord
from tubelet.types import FrameFeatures


def steps_needed(num_steps: int, record: HeadRecord, first: int, stop: int, shift: int = 0) -> tuple[int, int]:
    """The steps whose features the scores of ``first`` to ``stop`` (excluded) need."""
    starts = _starts(num_steps, record, first, stop, shift)
    return starts[0], min(num_steps, starts[-1] + record.window_steps)


def step_probs(
    head: nn.Module,
    record: HeadRecord,
    features: Iterable[Float[Tensor, "m D"]],
    num_steps: int,
    *,
    first: int = 0,
    stop: int | None = None,
    shift: int = 0,
    on_step: Callable[[int], None] = lambda step: None,
) -> Float[np.ndarray, "S K"]:
    """Probabilities of the steps ``first`` to ``stop`` (excluded) of a film.

    Args:
        head: in eval mode.
        features: of the steps that ``steps_needed`` names, in order and in parts.
        num_steps: of the whole film.
        stop: None means the film's end.
        shift: windows lie so many steps later.
        on_step: called with the steps that are done.
    """
    stop = num_steps if stop is None else stop
    parts = step_parts(head, record, features, num_steps, first=first, stop=stop, shift=shift, on_step=on_step)
    return np.concatenate(list(parts))


def step_parts(
    head: nn.Module,
    record: HeadRecord,
    features: Iterable[Float[Tensor, "m D"]],
    num_steps: int,
    *,
    first: int,
    stop: int,
    shift: int = 0,
    on_step: Callable[[int], None] = lambda step: None,
) -> Iterator[Float[np.ndarray, "m K"]]:
    """What ``step_probs`` gives, in order and in parts, as soon as no window can change them."""
    starts, task = _starts(num_steps, record, first, stop, shift), record.task
    device = next(head.parameters()).device

    def windows() -> Iterator[tuple[int, Float[Tensor, "n K"]]]:
        for start, vectors in _cut(features, starts, min(record.window_steps, num_steps)):
            with torch.inference_mode():
                logits = head(FrameFeatures(vectors=vectors[None].to(device)))[0]  # n K
                probs = task.probs(logits.float()).cpu()
            on_step(min(stop, start + len(vectors)) - first)
            yield start, probs

    for part in blend(windows(), first, stop):
        yield part.numpy().astype(np.float32)


def _starts(num_steps: int, record: HeadRecord, first: int, stop: int, shift: int) -> list[int]:
    starts = window_starts(num_steps, record.window_steps, record.hop_steps, shift)
    return starts_within(starts, record.window_steps, first, stop)


def _cut(
    features: Iterable[Float[Tensor, "m D"]], starts: list[int], window: int
) -> Iterator[tuple[int, Float[Tensor, "n D"]]]:
    """The features of each window; what no later window needs is forgotten."""
    parts, base = iter(features), starts[0]
    held: Tensor | None = None
    for start in starts:
        if held is not None and start > base:
            held, base = held[start - base :], start
        while held is None or len(held) < window:
            more = next(parts)
            held = more if held is None else torch.cat([held, more])
        yield start, held[:window]
