"""From sampled frames to the logits of windows: features of each tubelet computed once, or whole clips in batches.

    T  frames of a window   K  classes   h, w  pixels that enter the model

Both stages take samples one by one and hold no more than a window and a batch need, however long the source is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from tubelet.data.clips.normalize import normalize
from tubelet.inference.feature_slices import (
    counted_from_first,
    cut_features,
    join_in_batch,
    join_in_time,
    take_features,
)
from tubelet.inference.predictor import Classifier
from tubelet.inference.windows import WindowPlan
from tubelet.models.stages import frame_features, model_inputs
from tubelet.types import FrameFeatures

# Through the temporal stage together: so many windows, of so many values of the per-frame stage at most.
_WINDOWS_AT_ONCE, _VALUES_AT_ONCE = 16, 8_000_000
_PARTS_AT_ONCE = 16  # results of the per-frame stage that may lie apart in memory
_EARLY_SAMPLES = 256  # kept of a source that may turn out shorter than its window: 38 MB at 224 x 224

WindowLogits = list[tuple[int, Float[Tensor, " K"]]]  # first sample of a window, its logits


@dataclass(frozen=True, kw_only=True)
class SampledFrame:
    """What a point of the grid got."""

    pixels: UInt8[Tensor, "C h w"]
    number: int  # of the frame in its source, from 0


class SharedFrames:
    """Features of each tubelet, computed once and kept until the last window that holds them has been scored."""

    def __init__(self, classifier: Classifier, plan: WindowPlan, tubelet: int, frames_per_batch: int) -> None:
        self.classifier, self.tubelet = classifier, tubelet
        self.model: Any = classifier.model
        self.length, self.hop = plan.num_frames // tubelet, plan.hop // tubelet
        self.batch = max(tubelet, frames_per_batch // tubelet * tubelet)
        self.pending: list[SampledFrame] = []  # samples that are not encoded yet
        self.early: list[SampledFrame] = []  # the first ones, which a source that ends inside a tubelet loops
        self.newest: SampledFrame | None = None
        self.parts: list[FrameFeatures] = []  # of the tubelets from ``base`` on, one behind the other
        self.base = self.count = self.next = self.scored_until = 0  # tubelets; next: first of the window to score

    def add(self, sample: SampledFrame) -> WindowLogits:
        """The windows that this sample completes."""
        self.pending.append(sample)
        self.newest = sample
        if self.tubelet > 1 and self.count < self.length and len(self.early) < _EARLY_SAMPLES:
            self.early.append(sample)
        return self._encode_pending() if len(self.pending) >= self.batch else []

    def flush(self) -> WindowLogits:
        """The windows of all whole tubelets so far."""
        return self._encode_pending()

    def last_window(self) -> WindowLogits:
        """The window that ends with the last tubelet, unless one does already."""
        if self.scored_until == self.count or self.count < self.length:
            return []
        return self._score([self.count - self.length])

    @torch.inference_mode()
    def short_source(self, how: Literal["loop", "hold"]) -> Float[Tensor, " K"]:
        """Logits of a source that ended inside its first window. Only tubelets that it did not show are computed.

        Of a source of more than 256 samples that ends inside a tubelet, whole tubelets are looped.
        """
        self._encode_pending()
        have = self.count * self.tubelet + len(self.pending)
        if how == "loop" and self.pending and have > len(self.early):
            have = self.count * self.tubelet
        rows = [i % have if how == "loop" else min(i, have - 1) for i in range(self.length * self.tubelet)]
        wanted = [tuple(rows[i : i + self.tubelet]) for i in range(0, len(rows), self.tubelet)]
        place = {tuple(range(k * self.tubelet, (k + 1) * self.tubelet)): k for k in range(self.count)}
        fresh = [tubelet for tubelet in dict.fromkeys(wanted) if tubelet not in place]
        assert self.newest is not None
        frames = {have - 1: self.newest, **dict(enumerate(self.early))}
        frames |= dict(enumerate(self.pending, self.count * self.tubelet))
        for start in range(0, len(fresh), self.batch // self.tubelet):
            some = fresh[start : start + self.batch // self.tubelet]
            self.parts.append(self._features([frames[i] for tubelet in some for i in tubelet]))
        place |= {tubelet: self.count + k for k, tubelet in enumerate(fresh)}
        window = take_features(join_in_time(self.parts), [place[tubelet] for tubelet in wanted])
        return self._logits(window)[0]

    @torch.inference_mode()
    def _encode_pending(self) -> WindowLogits:
        whole = len(self.pending) // self.tubelet * self.tubelet
        if not whole:
            return []
        self.parts.append(self._features(self.pending[:whole]))
        if len(self.parts) == _PARTS_AT_ONCE:  # small pieces between large passing ones keep the heap from shrinking
            self.parts = [join_in_time(self.parts)]
        self.count += whole // self.tubelet
        del self.pending[:whole]
        if self.count >= self.length:
            self.early = []
        firsts = list(range(self.next, self.count - self.length + 1, self.hop))
        found = self._score(firsts)
        if firsts:
            self.next = firsts[-1] + self.hop
        keep = max(0, min(self.next, self.count - self.length))
        if keep > self.base:
            self.parts = [cut_features(join_in_time(self.parts), keep - self.base, self.count - self.base)]
            self.base = keep
        return found

    def _features(self, samples: Sequence[SampledFrame]) -> FrameFeatures:
        clip = torch.stack([sample.pixels for sample in samples], dim=1)  # C n h w
        pixels = normalize(clip.to(self.classifier.device), self.classifier.protocol)
        numbers = torch.tensor([[sample.number for sample in samples]])  # 1 n
        with self.classifier.autocast():
            return frame_features(self.model, pixels[None], numbers)

    @torch.inference_mode()
    def _score(self, firsts: Sequence[int]) -> WindowLogits:
        if not firsts:
            return []
        self.parts = [join_in_time(self.parts)]
        found: WindowLogits = []
        for some in self._batches(firsts):
            cuts = [cut_features(self.parts[0], f - self.base, f - self.base + self.length) for f in some]
            logits = self._logits(join_in_batch(cuts))
            found += [(first * self.tubelet, row) for first, row in zip(some, logits, strict=True)]
            self.scored_until = some[-1] + self.length
        return found

    def _batches(self, firsts: Sequence[int]) -> Iterator[Sequence[int]]:
        features = self.parts[0]
        values = sum(x[0, 0].numel() for x in (features.vectors, *features.tokens)) * self.length  # of one window
        size = max(1, min(_WINDOWS_AT_ONCE, _VALUES_AT_ONCE // values))
        for start in range(0, len(firsts), size):
            yield firsts[start : start + size]

    def _logits(self, features: FrameFeatures) -> Float[Tensor, "n K"]:
        with self.classifier.autocast():
            logits: Tensor = self.model.encode_time(counted_from_first(features))
        return logits.float().cpu()


class WholeClips:
    """Windows of a model without a per-frame stage: the samples of the latest window, and batches of clips."""

    def __init__(self, classifier: Classifier, plan: WindowPlan, frames_per_batch: int) -> None:
        self.classifier, self.plan = classifier, plan
        self.at_once = max(1, frames_per_batch // plan.num_frames)
        self.latest: deque[SampledFrame] = deque(maxlen=plan.num_frames)
        self.ready: list[tuple[int, list[SampledFrame]]] = []  # first sample and samples of windows to score
        self.count = self.next = self.scored_until = 0

    def add(self, sample: SampledFrame) -> WindowLogits:
        """The windows that this sample completes."""
        self.latest.append(sample)
        self.count += 1
        if self.count == self.next + self.plan.num_frames:
            self._make_ready()
            self.next += self.plan.hop
        return self.flush() if len(self.ready) >= self.at_once else []

    def flush(self) -> WindowLogits:
        """The windows that are whole and not scored yet."""
        firsts, clips = [first for first, _ in self.ready], [samples for _, samples in self.ready]
        self.ready = []
        return list(zip(firsts, self._logits(clips), strict=True)) if clips else []

    def last_window(self) -> WindowLogits:
        """The window that ends with the last sample, unless one does already."""
        if self.scored_until == self.count or self.count < self.plan.num_frames:
            return []
        self._make_ready()
        return self.flush()

    def short_source(self, how: Literal["loop", "hold"]) -> Float[Tensor, " K"]:
        """Logits of a source that ended inside its first window."""
        have = self.count
        rows = [i % have if how == "loop" else min(i, have - 1) for i in range(self.plan.num_frames)]
        return self._logits([[self.latest[i] for i in rows]])[0]

    def _make_ready(self) -> None:
        self.ready.append((self.count - self.plan.num_frames, list(self.latest)))
        self.scored_until = self.count

    @torch.inference_mode()
    def _logits(self, windows: Sequence[Sequence[SampledFrame]]) -> Float[Tensor, "n K"]:
        clips = torch.stack([torch.stack([sample.pixels for sample in window], dim=1) for window in windows])
        pixels = normalize(clips.to(self.classifier.device), self.classifier.protocol)
        numbers = torch.tensor([[sample.number for sample in window] for window in windows])  # n T
        numbers -= numbers.amin(1, keepdim=True)
        with self.classifier.autocast():
            logits: Tensor = self.classifier.model(*model_inputs(self.classifier.model, pixels, numbers))
        return logits.float().cpu()
