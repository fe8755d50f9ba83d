"""A whole film in one pass: segments with start and end, in bounded memory.

The file goes through :class:`tubelet.inference.stream.StreamingClassifier`, the code that streams use.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence

import torch

from tubelet.data.clips.fixed_rate import fixed_rate_indices
from tubelet.data.sources.dicom import DicomReader
from tubelet.data.sources.frame_folder import FrameFolderReader
from tubelet.data.video.reader import VideoReader
from tubelet.inference.predictor import Classifier
from tubelet.inference.stream import StreamingClassifier
from tubelet.inference.windows import WindowPlan
from tubelet.types import HeadScores, Segment

FRAMES_PER_BATCH = 32  # samples that go through the model together


def predict_windows(
    classifier: Classifier,
    reader: VideoReader | FrameFolderReader | DicomReader,
    plan: WindowPlan,
    *,
    top_k: int | None = None,
    on_progress: Callable[[float, float], None] = lambda done_seconds, total_seconds: None,
) -> Iterator[Segment]:
    """The windows of a file in order, as they become known. Only the sampled frames are decoded.

    Raises:
        DataError: the file cannot be read to its end, or is shorter than a window and the protocol refuses that.
    """
    stream = StreamingClassifier(classifier, plan, frames_per_batch=FRAMES_PER_BATCH, top_k=top_k)
    times = reader.timestamps
    rule = classifier.protocol.frame_at_time
    wanted = sorted(set(fixed_rate_indices(times, plan.seconds_per_sample, rule).tolist()))
    pictures = reader.frames_in_order(wanted)
    # Every frame's time is pushed, for the sampler decides by them; only those it asks for were decoded.
    for index, seconds in enumerate(times.tolist()):

        def picture(index: int = index) -> torch.Tensor:
            return next(torch.from_numpy(pixels) for decoded, pixels in pictures if decoded == index)

        yield from stream.push_one(picture, seconds)
        on_progress(seconds, reader.duration_seconds)
    yield from stream.close()
    on_progress(reader.duration_seconds, reader.duration_seconds)


def merge_neighbors(segments: Sequence[Segment]) -> list[Segment]:
    """Segments whose best label is that of the one before become one: scores are the means over its windows.

    Where windows overlap, a change of label lies half-way between the middles of the two windows.
    """
    runs: list[list[Segment]] = []
    for segment in segments:
        if runs and runs[-1][-1].top1 == segment.top1:
            runs[-1].append(segment)
        else:
            runs.append([segment])
    merged = [_mean(run) for run in runs]
    for i, (before, after) in enumerate(itertools.pairwise(runs)):
        if after[0].start_seconds < before[-1].end_seconds:
            border = (_middle(before[-1]) + _middle(after[0])) / 2
            merged[i] = dataclasses.replace(merged[i], end_seconds=border)
            merged[i + 1] = dataclasses.replace(merged[i + 1], start_seconds=border)
    return merged


def group_neighbors(segments: Sequence[Segment], number: int) -> list[Segment]:
    """So many neighboring windows become one segment, with the means of their scores."""
    if number == 1:
        return list(segments)
    return [_mean(segments[i : i + number]) for i in range(0, len(segments), number)]


def _mean(run: Sequence[Segment]) -> Segment:
    """One segment over all; of labels that are not in every window's top k, those windows count as 0."""
    mean = _mean_scores(run)
    return Segment(
        start_seconds=run[0].start_seconds,
        end_seconds=run[-1].end_seconds,
        labels=mean.labels,
        probs=mean.probs,
        heads={head: _mean_scores([segment.heads[head] for segment in run]) for head in run[0].heads},
    )


def _mean_scores(run: Sequence[Segment | HeadScores]) -> HeadScores:
    total = dict.fromkeys((label for scores in run for label in scores.labels), 0.0)
    for scores in run:
        for label, prob in zip(scores.labels, scores.probs, strict=True):
            total[label] += prob / len(run)
    best = sorted(total, key=lambda label: (-total[label], label != run[0].top1))
    return HeadScores(labels=tuple(best), probs=tuple(total[label] for label in best))


def _middle(segment: Segment) -> float:
    return (segment.start_seconds + segment.end_seconds) / 2
