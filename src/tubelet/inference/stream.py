"""Classification of frames as they come: a window's scores as soon as its last frame is known, in constant memory.

Films go through the same code (``tubelet.inference.long_video``), so that a stream and a file give the same numbers.

    T  frames of a window   K  classes   h, w  pixels that enter the model
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from jaxtyping import UInt8
from torch import Tensor

from tubelet.data.clips.fixed_rate import FixedRateSampler
from tubelet.data.clips.resize_crop import crop_frames, resize_frames, view_geometry
from tubelet.errors import DataError
from tubelet.inference.predictor import Classifier
from tubelet.inference.window_stages import SampledFrame, SharedFrames, WholeClips
from tubelet.inference.windows import WindowPlan
from tubelet.tasks.choose import task_of
from tubelet.types import Segment

Picture = Callable[[], UInt8[Tensor, "C H W"]]  # made only if a sample falls on the frame
_Numbered = tuple[int, Picture]  # with the number of the frame in the source


class StreamingClassifier:
    """Push frames with their times, get segments with labels and scores.

    Every window is one centered view. Where the model has a per-frame stage, each frame goes through it once,
    however many windows share it. Scores are those of the same window cut out and predicted alone.

    Args:
        plan: from :func:`tubelet.inference.windows.plan_windows`.
        frames_per_batch: samples that go through the model together. 1 gives every window as soon as it is whole;
            more is faster for footage that is there already.
        top_k: labels per segment. None means all.
    """

    def __init__(
        self, classifier: Classifier, plan: WindowPlan, *, frames_per_batch: int = 1, top_k: int | None = None
    ) -> None:
        self.classifier, self.plan, self.top_k = classifier, plan, top_k
        shared = getattr(classifier.model, "frames_per_feature", None)
        self._stage = (
            SharedFrames(classifier, plan, shared, frames_per_batch)
            if shared is not None
            else WholeClips(classifier, plan, frames_per_batch)
        )
        self._sampler: FixedRateSampler[_Numbered] = FixedRateSampler(
            plan.seconds_per_sample, classifier.protocol.frame_at_time
        )
        self._next_number = 0  # of the frame that comes next
        self._prepared: SampledFrame | None = None  # the latest sample, for it may fall on several points
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

    def push_one(self, picture: Picture, seconds: float, number: int | None = None) -> list[Segment]:
        """As :meth:`push`, for one frame whose pixels are made only if they are wanted.

        ``number`` is that of the frame in its source, where some were left out. None means the next one.
        """
        if self._closed:
            raise DataError("the stream is closed; make a new StreamingClassifier for another one")
        number = self._next_number if number is None else number
        try:
            samples = list(self._sampler.push(seconds, (number, picture)))
        except ValueError as error:
            raise DataError(str(error)) from None
        self._next_number = number + 1
        return self._take(samples)

    def close(self) -> list[Segment]:
        """What is still open when the source ends: the last whole windows, one that ends with the last sample where
        that is not covered, or the one window of a source shorter than it."""
        if self._closed:
            return []
        found = self._take(self._sampler.close())
        self._closed = True
        if 0 < self.num_samples < self.plan.num_frames:
            return self._segments([(0, self._short_source())])
        return found + self._segments(self._stage.flush()) + self._segments(self._stage.last_window())

    def _take(self, samples: Iterable[_Numbered]) -> list[Segment]:
        found: list[Segment] = []
        for number, picture in samples:
            if self._prepared is None or self._prepared.number != number:
                self._prepared = SampledFrame(pixels=self._prepare(picture()), number=number)
            found += self._segments(self._stage.add(self._prepared))
        return found

    def _prepare(self, picture: UInt8[Tensor, "C H W"]) -> UInt8[Tensor, "C h w"]:
        if picture.shape[0] != self.classifier.protocol.num_channels:
            raise DataError(f"a frame of shape {tuple(picture.shape)} came; expected (channels, height, width) in RGB")
        protocol = self.classifier.protocol
        geometry = view_geometry(picture.shape[-2], picture.shape[-1], protocol)
        crops = crop_frames(resize_frames(picture[None], geometry), geometry)
        return crops[len(crops) // 2][0].contiguous()  # the centered one of 1 or 3

    def _short_source(self) -> Tensor:
        """Logits of a source shorter than a window: looped or held, as the protocol says."""
        how = self.classifier.protocol.short_video
        if how == "error":
            raise DataError(
                f"the source has {self.num_samples} samples where a window takes {self.plan.num_frames}; give a "
                "shorter window, or set short_video to loop or hold"
            )
        return self._stage.short_source(how)

    def _segments(self, scored: Iterable[tuple[int, Tensor]]) -> list[Segment]:
        """``scored`` are pairs of a window's first sample and its logits ``[K]``."""
        step, begin = self.plan.seconds_per_sample, self._sampler.first_seconds or 0.0
        task, found = task_of(self.classifier.protocol), []
        for first, logits in scored:
            seconds = self.plan.window_seconds
            if self.num_samples < self.plan.num_frames:  # the source ended inside its first window
                seconds = min(seconds, self._sampler.end_seconds or step)
            probs = task.probs(task.tempered(logits, self.classifier.record.calibration.temperatures))
            best = self.classifier.rank(probs, logits, self.top_k)
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
