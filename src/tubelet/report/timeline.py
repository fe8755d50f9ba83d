"""A picture of what is in a film, and when: a row per label, darker where it is likelier."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import style
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from tubelet.types import Segment

MAX_LABELS = 12  # rows of the picture: the labels that hold the most time


def write_timeline(
    path: Path, segments: Sequence[Segment], duration_seconds: float, *, title: str, file_format: str = "png"
) -> None:
    """Write the picture.

    Overlapping segments are drawn from half-way to the one before to half-way to the one behind, so that each moment
    has one color; a line above marks the best label.
    """
    labels, spans = labels_by_time(segments), shown_spans(segments)
    with style.context(["default", {"font.size": 10}]):
        figure = Figure(figsize=(10, 1.4 + 0.32 * max(1, len(labels))), layout="constrained", dpi=120)
        axes = figure.subplots()
        if segments:
            edges, probs = cells(segments, spans, labels)
            rows = np.arange(len(labels) + 1) - 0.5
            mesh = axes.pcolormesh(edges, rows, probs, cmap="Blues", vmin=0.0, vmax=1.0, rasterized=True)
            figure.colorbar(mesh, ax=axes, format=FuncFormatter(lambda value, _: f"{value:.0%}"), pad=0.01)
            best = [
                ((start, labels.index(s.top1) - 0.44), (end, labels.index(s.top1) - 0.44))
                for s, (start, end) in zip(segments, spans, strict=True)
                if s.top1 in labels
            ]
            axes.add_collection(LineCollection(best, colors="#d1495b", linewidths=2.5, capstyle="butt"))
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.set_xlim(0, max(duration_seconds, *(end for _, end in spans), 1e-3) if spans else duration_seconds)
        axes.xaxis.set_major_locator(MaxNLocator(10))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: clock_text(value)))
        axes.set_xlabel("time (minutes:seconds); a red line marks the best label")
        axes.set_title(title, loc="left")
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(length=0)
        figure.savefig(path, format=file_format)


def cells(
    segments: Sequence[Segment], spans: Sequence[tuple[float, float]], labels: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Edges along time and the probability of each label between them; NaN where no segment is."""
    edges, columns = [spans[0][0]], []
    for segment, (start, end) in zip(segments, spans, strict=True):
        if start > edges[-1]:
            columns.append([np.nan] * len(labels))
            edges.append(start)
        by_label = dict(zip(segment.labels, segment.probs, strict=True))
        columns.append([by_label.get(label, 0.0) for label in labels])
        edges.append(end)
    return np.array(edges), np.array(columns).T


def labels_by_time(segments: Sequence[Segment]) -> list[str]:
    """Those that hold the most probability times seconds, in the order in which they first lead."""
    held: dict[str, float] = {}
    for segment, (start, end) in zip(segments, shown_spans(segments), strict=True):
        for label, prob in zip(segment.labels, segment.probs, strict=True):
            held[label] = held.get(label, 0.0) + prob * (end - start)
    most = set(sorted(held, key=lambda label: -held[label])[:MAX_LABELS])
    leading = dict.fromkeys(s.top1 for s in segments)
    return [label for label in (*leading, *(label for label in held if label not in leading)) if label in most]


def shown_spans(segments: Sequence[Segment]) -> list[tuple[float, float]]:
    """The stretch each segment is drawn over."""
    middles = [(s.start_seconds + s.end_seconds) / 2 for s in segments]
    spans = []
    for i, segment in enumerate(segments):
        start, end = segment.start_seconds, segment.end_seconds
        if i and segments[i - 1].end_seconds > start:
            start = max(start, (middles[i - 1] + middles[i]) / 2)
        if i + 1 < len(segments) and segments[i + 1].start_seconds < end:
            end = min(end, (middles[i] + middles[i + 1]) / 2)
        spans.append((start, end))
    return spans


def clock_text(seconds: float) -> str:
    """A time of a film: 2:03.5, 1:02:03."""
    minutes, rest = divmod(round(max(seconds, 0), 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    tail = f"{rest:02.0f}" if rest == int(rest) else f"{rest:04.1f}"
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"
