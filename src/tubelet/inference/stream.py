"""Classification of frames as they come: a window's scores as soon as its last frame is known, in constant memory.

Films go through the same code (``tubelet.inference.long_video``), so that a stream and a file give the same numbers.

    T  frames of a window   K  classes   h, w  pixels that enter the model
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

import torch
from jaxtyping import UInt8
from torch import Tensor

from tubelet.data.grid import GridSampler
from tubelet.data.transforms import crop_frames, normalize, resize_frames, view_geometry
from tubelet.errors import DataError
from tubelet.inference.features import cut_features, join_in_batch, join_in_time
from tubelet.inference.heads import class_probs, rank
from tubelet.inference.predictor import Classifier
from tubelet.inference.windows import WindowPlan
from tubelet.types import FrameFeatures, Segment

_WINDOWS_AT_ONCE = 16  # through the temporal stage
Picture = Callable[[], UInt8[Tensor, "C H W"]]  # made only if a sample falls on the frame


class StreamingClassifier:
    """Push frames with their times, get segments with labels and scores.

    Every window is one centered view. Where the model has a per-frame stage, each frame goes through it once,
    however many windows share it. Scores are those of the same window cut out and predicted alone.

    Args:
        plan: from :func:`tubelet.inference.windows.plan_windows`.
        frames_per_batch: samples that go through the model together. 1 gives every window as soon as it is whole;
            more is faster for footage that is there already.
        top_k: labels per segment; none: all.
    """

    def __init__(
        self, classifier: Classifier, plan: WindowPlan, *, frames_per_batch: int = 1, top_k: int | None = None
    ) -> None:
        self.classifier, self.plan, self.top_k = classifier, plan, top_k
        shared = getattr(classifier.model, "frames_per_feature", None)
        self._stage: _SharedFrames | _WholeClips = (
            _SharedFrames(classifier, plan, shared, frames_per_batch)
            if shared is not None
            else _WholeClips(classifier, plan, frames_per_batch)
        )
        self._sampler: GridSampler[Picture] = GridSampler(plan.seconds_per_sample)
        self._prepared: tuple[Picture, Tensor] | None = None
        self._short: list[Tensor] | None = []  # all samples, until they fill a window
        self._closed = False

    @property
    def num_samples(self) -> int:
        """Samples taken so far."""
        return self._sampler.num_samples

    def push(self, frames: UInt8[Tensor, "n C H W"], seconds: Sequence[float]) -> list[Segment]:
        """The segments that these frames complete.

        Args:
            frames: RGB pixels as shown; they may be of another size each time.
            seconds: time of each frame, ascending over all calls; any origin.

        Raises:
            DataError: times that do not ascend, another number of channels, or a frame smaller than the crop.
        """
        if len(frames) != len(seconds):
            raise DataError(f"{len(frames)} frames came with {len(seconds)} times; give one for each")
        found: list[Segment] = []
        for frame, at in zip(frames, seconds, strict=True):
            found += self.push_one(lambda frame=frame: frame, at)  # type: ignore[misc]
        return found

    def push_one(self, picture: Picture, seconds: float) -> list[Segment]:
        """As :meth:`push`, for one frame whose pixels are made only if they are wanted."""
        if self._closed:
            raise DataError("the stream is closed; make a new StreamingClassifier for another one")
        try:
            samples = list(self._sampler.push(seconds, picture))
        except ValueError as error:
            raise DataError(str(error)) from None
        return self._take(samples)

    def close(self) -> list[Segment]:
        """What is still open when the source ends: the last whole windows, one that ends with the last sample where
        that is not covered, or the one window of a source shorter than it."""
        if self._closed:
            return []
        found = self._take(self._sampler.close())
        self._closed = True
        if self._short is not None:
            return self._segments([(0, self._short_clip(self._short))]) if self._short else []
        return found + self._segments(self._stage.flush()) + self._segments(self._stage.last_window())

    def _take(self, samples: Iterable[Picture]) -> list[Segment]:
        found: list[Segment] = []
        for picture in samples:
            if self._prepared is None or self._prepared[0] is not picture:
                self._prepared = picture, self._prepare(picture())
            pixels = self._prepared[1]
            if self._short is not None:
                self._short = [*self._short, pixels] if len(self._short) + 1 < self.plan.num_frames else None
            found += self._segments(self._stage.add(pixels))
        return found

    def _prepare(self, picture: UInt8[Tensor, "C H W"]) -> UInt8[Tensor, "C h w"]:
        if picture.shape[0] != self.classifier.protocol.num_channels:
            raise DataError(f"a frame of shape {tuple(picture.shape)} came; expected (channels, height, width) in RGB")
        protocol = self.classifier.protocol
        geometry = view_geometry(picture.shape[-2], picture.shape[-1], protocol)
        crops = crop_frames(resize_frames(picture[None], geometry), geometry)
        return crops[len(crops) // 2][0].contiguous()  # the centered one of 1 or 3

    def _short_clip(self, samples: Sequence[Tensor]) -> Tensor:
        """Logits of a source shorter than a window: looped or held, as the protocol says."""
        need, have = self.plan.num_frames, len(samples)
        how = self.classifier.protocol.short_video
        if how == "error":
            raise DataError(
                f"the source has {have} samples where a window takes {need}; give a shorter window, or set "
                "short_video to loop or hold"
            )
        rows = [i % have if how == "loop" else min(i, have - 1) for i in range(need)]
        return _logits_of_clips(self.classifier, [torch.stack([samples[i] for i in rows], dim=1)])[0]

    def _segments(self, scored: Iterable[tuple[int, Tensor]]) -> list[Segment]:
        """``scored`` are pairs of a window's first sample and its logits ``[K]``."""
        step, begin = self.plan.seconds_per_sample, self._sampler.first_seconds or 0.0
        found = []
        for first, logits in scored:
            seconds = self.plan.window_seconds
            if self._short is not None:  # the source ended inside its first window
                seconds = min(seconds, self._sampler.end_seconds or step)
            best = rank(class_probs(logits, self.classifier.protocol), self.classifier.protocol, self.top_k)
            found.append(
                Segment(
                    start_seconds=begin + first * step,
                    end_seconds=begin + first * step + seconds,
                    labels=best.labels,
                    probs=best.probs,
                    heads=best.heads,
                )
            )
        return found


class _SharedFrames:
    """Features of each tubelet, computed once and kept until the last window that holds them has been scored."""

    def __init__(self, classifier: Classifier, plan: WindowPlan, tubelet: int, frames_per_batch: int) -> None:
        self.classifier, self.tubelet = classifier, tubelet
        self.length, self.hop = plan.num_frames // tubelet, plan.hop // tubelet
        self.batch = max(tubelet, frames_per_batch // tubelet * tubelet)
        self.pending: list[Tensor] = []  # samples that are not encoded yet
        self.features: FrameFeatures | None = None  # of the tubelets from ``base`` on
        self.base = self.count = self.next = self.scored_until = 0  # tubelets; next: first of the window to score

    def add(self, pixels: Tensor) -> list[tuple[int, Tensor]]:
        self.pending.append(pixels)
        return self._encode() if len(self.pending) >= self.batch else []

    def flush(self) -> list[tuple[int, Tensor]]:
        whole = len(self.pending) // self.tubelet * self.tubelet
        del self.pending[whole:]
        return self._encode() if self.pending else []

    def last_window(self) -> list[tuple[int, Tensor]]:
        """The window that ends with the last tubelet, unless one does already."""
        if self.scored_until == self.count or self.count < self.length:
            return []
        return self._score([self.count - self.length])

    @torch.inference_mode()
    def _encode(self) -> list[tuple[int, Tensor]]:
        clip = torch.stack(self.pending, dim=1)  # C n h w
        pixels = normalize(clip.to(self.classifier.device), self.classifier.protocol)
        new: FrameFeatures = self.classifier.model.encode_frames(pixels[None])  # type: ignore[operator]
        self.count += len(self.pending) // self.tubelet
        self.pending = []
        self.features = new if self.features is None else join_in_time([self.features, new])
        firsts = list(range(self.next, self.count - self.length + 1, self.hop))
        found = self._score(firsts)
        if firsts:
            self.next = firsts[-1] + self.hop
        keep = max(0, min(self.next, self.count - self.length))
        if keep > self.base:
            self.features = cut_features(self.features, keep - self.base, self.count - self.base)
            self.base = keep
        return found

    @torch.inference_mode()
    def _score(self, firsts: Sequence[int]) -> list[tuple[int, Tensor]]:
        assert self.features is not None or not firsts
        found: list[tuple[int, Tensor]] = []
        for start in range(0, len(firsts), _WINDOWS_AT_ONCE):
            some = firsts[start : start + _WINDOWS_AT_ONCE]
            cuts = [cut_features(self.features, f - self.base, f - self.base + self.length) for f in some]  # type: ignore[arg-type]
            logits = self.classifier.model.encode_time(join_in_batch(cuts)).float().cpu()  # type: ignore[operator]
            found += [(first * self.tubelet, row) for first, row in zip(some, logits, strict=True)]
            self.scored_until = some[-1] + self.length
        return found


class _WholeClips:
    """Windows of a model without a per-frame stage: the samples of the latest window, and batches of clips."""

    def __init__(self, classifier: Classifier, plan: WindowPlan, frames_per_batch: int) -> None:
        self.classifier, self.plan = classifier, plan
        self.at_once = max(1, frames_per_batch // plan.num_frames)
        self.latest: deque[Tensor] = deque(maxlen=plan.num_frames)
        self.ready: list[tuple[int, Tensor]] = []  # first sample and clip of windows to score
        self.count = self.next = self.scored_until = 0

    def add(self, pixels: Tensor) -> list[tuple[int, Tensor]]:
        self.latest.append(pixels)
        self.count += 1
        if self.count == self.next + self.plan.num_frames:
            self._make_ready()
            self.next += self.plan.hop
        return self.flush() if len(self.ready) >= self.at_once else []

    def flush(self) -> list[tuple[int, Tensor]]:
        firsts, clips = [first for first, _ in self.ready], [clip for _, clip in self.ready]
        self.ready = []
        return list(zip(firsts, _logits_of_clips(self.classifier, clips), strict=True)) if clips else []

    def last_window(self) -> list[tuple[int, Tensor]]:
        """The window that ends with the last sample, unless one does already."""
        if self.scored_until == self.count or self.count < self.plan.num_frames:
            return []
        self._make_ready()
        return self.flush()

    def _make_ready(self) -> None:
        self.ready.append((self.count - self.plan.num_frames, torch.stack(list(self.latest), dim=1)))
        self.scored_until = self.count


@torch.inference_mode()
def _logits_of_clips(classifier: Classifier, clips: Sequence[Tensor]) -> Tensor:
    """Logits ``[n, K]`` of uint8 clips ``[C, T, h, w]``."""
    pixels = normalize(torch.stack(list(clips)).to(classifier.device), classifier.protocol)
    logits: Tensor = classifier.model(pixels)
    return logits.float().cpu()
