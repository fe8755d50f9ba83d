"""``tubelet.suggest``: the stretches of films that are most worth labeling."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tubelet.data.layouts.find_files import find_files
from tubelet.errors import Stopped
from tubelet.runs.per_frame.suggest import suggest_stretches
from tubelet.runs.per_frame.suggestions import Suggestions, check_new
from tubelet.session.console_progress import ConsoleProgress
from tubelet.session.device import choose_device
from tubelet.session.session import Session
from tubelet.types import Device


def suggest(
    run: str | Path,
    films: str | Path | Sequence[str | Path],
    *,
    minutes: float = 10.0,
    stretch_seconds: float = 10.0,
    out: str | Path | None = None,
    frame_fps: float | None = None,
    device: Device = "auto",
    progress: bool = True,
) -> Suggestions:
    """The stretches of films that are most worth labeling: the model is unsure, and nothing labeled is like them.

    Args:
        run: folder of a run of the task ``per_frame``.
        films: video files, folders and globs.
        minutes: how much to suggest.
        stretch_seconds: length of a stretch.
        out: folder for the project of BORIS, the table and the JSON. None means that nothing but features is written.
        frame_fps: frames per second of frame folders.
        device: "auto" is the first of CUDA, MPS and CPU that is there.
        progress: report on stderr.

    Raises:
        ConfigError: no such run, an argument out of range, or ``out`` holds suggestions.
        DataError: a source names nothing, or no film can be read.
        Stopped: Ctrl-C; what is stored stays, and the same call goes on.
    """
    named = [films] if isinstance(films, str | Path) else films
    files = find_files([str(name) for name in named])
    folder = None if out is None else Path(out)
    if folder is not None:
        check_new(folder)
    with ConsoleProgress("suggest", is_quiet=not progress) as shown:
        session = Session(device=choose_device(device), progress=shown)
        try:
            found = suggest_stretches(
                Path(run),
                files,
                session,
                minutes=float(minutes),
                stretch_seconds=float(stretch_seconds),
                frame_fps=frame_fps,
            )
        except Stopped as stop:
            raise Stopped(f"{run}: {stop}; the same call goes on", stop.signal_number) from None
    if folder is not None:
        found.write(folder)
    return found
