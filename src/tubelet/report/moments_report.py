"""The page of ``tubelet moments``: every film with its ethogram, its summary and frames where bouts begin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tubelet.data.sources.open_source import open_source
from tubelet.errors import DataError
from tubelet.files import write_atomically
from tubelet.inference.moments.film import FilmMoments
from tubelet.protocol import Protocol
from tubelet.report.film_strip import as_rgb, link_to
from tubelet.report.page import is_playable, render_page
from tubelet.report.plots import jpeg
from tubelet.report.timeline import clock_text

MAX_STARTS = 8  # bouts of a film whose first frame is shown


@dataclass(frozen=True, kw_only=True)
class Start:
    """The first frame of a bout."""

    label: str
    start: float
    stop: float
    image: str  # data address


def bout_starts(film: Path, moments: FilmMoments, protocol: Protocol, frame_fps: float | None) -> list[Start]:
    """The first frames of the surest bouts, each behavior in turn; none where they cannot be read any more."""
    ranked = sorted(zip(moments.bouts, moments.scores, strict=True), key=lambda pair: -pair[1])
    turns: dict[str, int] = {}
    order = []
    for bout, _ in ranked:
        turns[bout.label] = turns.get(bout.label, 0) + 1
        order.append((turns[bout.label], bout))
    chosen = sorted((bout for _, bout in sorted(order, key=lambda pair: pair[0])[:MAX_STARTS]), key=lambda b: b.start)
    if not chosen:
        return []
    times = moments.clock.timestamps
    frames = [int(np.searchsorted(times, bout.start - 1e-6)) for bout in chosen]
    try:
        with open_source(film, None, protocol, frame_fps) as reader:
            pixels = reader.frames_at([min(frame, len(times) - 1) for frame in frames]).pixels
    except DataError:
        return []
    pictures = as_rgb(np.asarray(pixels.permute(0, 2, 3, 1)))
    return [
        Start(label=bout.label, start=bout.start, stop=bout.stop, image=jpeg(np.ascontiguousarray(picture)))
        for bout, picture in zip(chosen, pictures, strict=True)
    ]


def write_moments_report(
    out: Path, films: Sequence[Mapping[str, Any]], *, title: str, command: str, failures: Sequence[str] = ()
) -> None:
    """Write the page.

    Args:
        films: of each its ``film.json`` (``source``, ``duration_seconds``, ``summary``, ``starts``), and ``part``, the
            folder of its files beside the page.
        failures: a line for each film that could not be read.
    """
    shown = [
        {
            **film,
            "name": Path(film["source"]).name,
            "video": link_to(Path(film["source"]), out, None, None) if is_playable(Path(film["source"])) else "",
            "length": clock_text(film["duration_seconds"]),
            "starts": [
                {
                    **start,
                    "link": link_to(Path(film["source"]), out, start["start"], start["stop"]),
                    "text": f"{start['label']} at {clock_text(start['start'])}",
                }
                for start in film["starts"]
            ],
        }
        for film in films
    ]
    page = render_page("moments.html.j2", title=title, films=shown, warnings=list(failures), command=command)
    write_atomically(out, page)
