"""The films that the app shows: videos, volumes and frame folders. Clients name a film by its id, never by a path.

An id is a hash of the film's path below its folder. Links that lead out of the folder are left out, when films are
listed and again whenever one is opened.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tubelet.app.config import MAX_FILMS
from tubelet.data.layouts.find_files import is_frame_folder, is_sample_file
from tubelet.data.video.formats import is_video_path
from tubelet.errors import TubeletError, printable


class NotThere(TubeletError):
    """A film, upload or run that does not exist (any more)."""


@dataclass(frozen=True, kw_only=True)
class FilmFile:
    """One film."""

    id: str
    name: str  # its path below its folder, in printable letters
    path: Path
    size_bytes: int
    is_uploaded: bool

    @property
    def is_video(self) -> bool:
        """Whether it is a video file, and no frame folder or volume."""
        return is_video_path(self.path) and not self.path.is_dir()

    @property
    def key(self) -> str:
        """Changes with the file: what is stored of it is found by this."""
        status = self.path.stat()
        text = f"{os.fsdecode(self.path.resolve())}\0{status.st_size}\0{status.st_mtime_ns}"
        return hashlib.sha256(os.fsencode(text)).hexdigest()[:24]


class Library:
    """The films of a folder, and those that were uploaded."""

    def __init__(self, films: Path | None, uploads: Path) -> None:
        self.films, self.uploads = films, uploads

    def all(self) -> list[FilmFile]:
        """Every film, by name."""
        found = []
        for film in self._walk():
            found.append(film)
            if len(found) == MAX_FILMS:
                break
        return sorted(found, key=lambda film: (film.is_uploaded, film.name))

    def get(self, film_id: str) -> FilmFile:
        """The film of an id. Raises NotThere."""
        for film in self._walk():
            if film.id == film_id:
                return film
        raise NotThere("there is no such film; load the page again")

    def by_path(self) -> dict[Path, FilmFile]:
        """Films by their resolved path."""
        return {film.path.resolve(): film for film in self.all()}

    def _walk(self) -> Iterator[FilmFile]:
        for root, is_uploaded in ((self.films, False), (self.uploads, True)):
            if root is None or not root.is_dir():
                continue
            inside = root.resolve()
            for folder, folders, files in os.walk(root):
                folders[:] = sorted(
                    name
                    for name in folders
                    if not name.startswith(".") and (is_uploaded or not _same(Path(folder, name), self.uploads))
                )
                shown = [Path(folder, name) for name in sorted(files) if not name.startswith(".")]
                found = [path for path in shown if is_sample_file(path.name) and _is_inside(path, inside)]
                for path in found:
                    yield _film(path, root, is_uploaded)
                # As data folders have it: pictures beside or above other films are no film of their own.
                if shown and not found and not folders and Path(folder) != root and is_frame_folder(Path(folder)):
                    yield _film(Path(folder), root, is_uploaded)


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _is_inside(path: Path, root: Path) -> bool:
    """Whether a file is one, and lies below ``root`` also where it is a link."""
    try:
        return path.is_file() and path.resolve(strict=True).is_relative_to(root)
    except OSError:
        return False


def _film(path: Path, root: Path, is_uploaded: bool) -> FilmFile:
    relative = path.relative_to(root).as_posix()
    digest = hashlib.sha256(os.fsencode(f"{is_uploaded}/{relative}")).hexdigest()
    return FilmFile(
        id=digest[:16],
        name=printable(relative),
        path=path,
        size_bytes=path.stat().st_size,
        is_uploaded=is_uploaded,
    )
