"""A picture of what a film shows, and when: a row per behavior, its labels above what a model found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from tubelet.inference.moments.film import FilmMoments
from tubelet.report.timeline import clock_text
from tubelet.tasks.per_frame.targets import Span

_MAX_COLUMNS = 2000  # of the picture; more steps are drawn as their maxima
_LABELED, _FOUND = "#1b7f5c", "#0067a3"


def write_ethogram(
    path: Path,
    moments: FilmMoments,
    labeled: Mapping[str, Sequence[Span]] | None = None,
    *,
    title: str,
    file_format: str = "png",
) -> None:
    """Write the picture: per behavior its probability over time, its bouts, and above them those that were labeled.

    Args:
        labeled: bouts of each behavior in seconds. None means that the film is not labeled.
    """
    with style.context(["default", {"font.size": 10, "svg.hashsalt": "ethogram"}]):
        height = 1.2 + (0.75 if labeled is not None else 0.55) * max(1, len(moments.labels))
        figure = Figure(figsize=(11, height), layout="constrained", dpi=110)
        axes = figure.subplots()
        edges, probs = columns_of(moments)
        for row, label in enumerate(moments.labels):
            axes.stairs(row + 0.42 - 0.36 * probs[:, row], edges, baseline=row + 0.42, fill=True, color="#bcd7ea")
            found = [(b.start, b.stop - b.start) for b in moments.bouts if b.label == label]
            axes.broken_barh(found, (row + 0.3, 0.12), facecolors=_FOUND, label="found" if not row else None)
            if labeled is not None:
                spans = [(start, stop - start) for start, stop in labeled.get(label, ())]
                axes.broken_barh(spans, (row - 0.42, 0.12), facecolors=_LABELED, label="labeled" if not row else None)
        axes.set_yticks(range(len(moments.labels)), list(moments.labels))
        axes.set_ylim(len(moments.labels) - 0.45, -0.55)
        axes.set_xlim(float(moments.edges[0]), float(moments.edges[-1]))
        axes.xaxis.set_major_locator(MaxNLocator(10))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: clock_text(value)))
        above = "" if labeled is None else "; above it: labels"
        axes.set_xlabel(f"time (minutes:seconds); height: probability from 0 to 1; dark: bouts{above}")
        axes.set_title(title, loc="left")
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(length=0)
        figure.savefig(path, format=file_format, metadata={"Software": None} if file_format == "png" else None)


def columns_of(moments: FilmMoments) -> tuple[np.ndarray, np.ndarray]:
    """Edges and probabilities, of long films the largest of neighboring steps."""
    edges, probs = moments.edges, moments.probs
    size = -(-len(probs) // _MAX_COLUMNS)
    if size == 1:
        return edges, probs
    firsts = np.arange(0, len(probs), size)
    return np.append(edges[firsts], edges[-1]), np.maximum.reduceat(probs, firsts, axis=0)
