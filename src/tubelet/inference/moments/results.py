"""The folder of results of ``tubelet moments``: which part each film has, and what the part is of.

A part is of one film, as it was, with its labels. Films of earlier calls keep their parts, and films that share a stem
have different ones. ``film.json`` of a part says what it is of.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tubelet.data.layouts.bouts.bout import LabeledFilm
from tubelet.data.manifest.same_file import content_of
from tubelet.session.shards import part_names

FILM = "film.json"


def read_part(out: Path, name: str) -> dict[str, Any]:
    """``film.json`` of a part; empty where there is none that can be read."""
    try:
        content: dict[str, Any] = json.loads((out / name / FILM).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content


def parts_in(out: Path) -> list[str]:
    """The parts of a folder, sorted."""
    return sorted(file.parent.name for file in out.glob(f"[!.]*/{FILM}"))


def names_in(out: Path, files: Sequence[Path]) -> list[str]:
    """The part of each film: the one that it has, else a new one with its stem that no other film has.

    Calls that share films and a folder find the same, whichever parts are there already.
    """
    known = {read_part(out, name).get("source"): name for name in parts_in(out)}
    new = [file for file in files if str(file.resolve()) not in known]
    taken = [path.name for path in out.iterdir() if path.is_dir()] if out.is_dir() else []
    fresh = dict(zip(new, part_names(new, taken), strict=True))
    return [fresh[file] if file in fresh else known[str(file.resolve())] for file in files]


def what_of(file: Path, frame_fps: float | None, film: LabeledFilm | None) -> dict[str, Any]:
    """What a part is of.

    Raises:
        OSError: the film cannot be read.
    """
    return {**_at_a_glance(file, frame_fps, film), "content": content_of(file)}


def changes(part: Mapping[str, Any], file: Path, frame_fps: float | None, film: LabeledFilm | None) -> list[str]:
    """What is not as it was when a part was written, in words. A file of the same size and time has its content."""
    there, now = part.get("of"), _at_a_glance(file, frame_fps, film)
    if there is None:
        return ["version of tubelet"]
    found = [word for word in ("frame_fps", "labels") if there.get(word) != now[word]]
    same_file = file.is_file() and all(there.get(word) == now[word] for word in ("size", "modified"))
    if not same_file and there.get("content") != content_of(file):
        found.append("film")
    return found


def _at_a_glance(file: Path, frame_fps: float | None, film: LabeledFilm | None) -> dict[str, Any]:
    status, labels = file.stat(), None
    if film is not None:
        drawn = sorted((b.label, b.start, b.stop, b.unit, b.rounding) for b in film.bouts)
        labels = hashlib.sha256(repr((drawn, film.num_frames)).encode()).hexdigest()[:16]
    return {"size": status.st_size, "modified": status.st_mtime_ns, "frame_fps": frame_fps, "labels": labels}
