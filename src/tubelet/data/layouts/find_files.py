"""Finds the files of rows: annotation lists name videos by an id, by a name without suffix, or by a path.

A *frame folder* is a folder with one picture per frame of a video. One walk over the root finds everything.
"""

from __future__ import annotations

import glob
import os
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from tubelet.data.layouts.rows import LayoutRows, Row, some
from tubelet.data.sources.dicom import DICOM_SUFFIXES
from tubelet.data.sources.frame_folder import IMAGE_SUFFIXES
from tubelet.data.sources.tiff import is_stack_by_name, is_tiff
from tubelet.data.sources.volume import VOLUME_SUFFIXES, is_volume
from tubelet.data.video.formats import VIDEO_SUFFIXES
from tubelet.errors import DataError

_PICTURES = tuple(IMAGE_SUFFIXES)
FILE_SUFFIXES = VIDEO_SUFFIXES | DICOM_SUFFIXES | VOLUME_SUFFIXES - {".npz"}  # of files that are one sample
_VIDEOS = VIDEO_SUFFIXES | DICOM_SUFFIXES


def is_sample_file(name: str) -> bool:
    """Whether a file is one video or one volume, by its name."""
    suffix = Path(name).suffix.lower()
    if is_tiff(name):  # else a picture of a frame folder
        return is_stack_by_name(name)
    return suffix in _VIDEOS or (is_volume(name) and suffix != ".npz")


def is_frame_folder(folder: Path) -> bool:
    """Whether pictures lie directly in a folder."""
    if not folder.is_dir():
        return False
    with os.scandir(folder) as entries:
        return any(entry.name.lower().endswith(_PICTURES) for entry in entries if entry.name[0] != ".")


def find_files(sources: Sequence[str]) -> list[Path]:
    """Return the files that files, folders and globs name, each once, in order.

    Raises:
        DataError: a source that names nothing.
    """
    found: dict[Path, None] = {}
    for source in sources:
        path = Path(source)
        if path.is_dir():
            matches = sources_below(path)
        elif path.exists():
            matches = [path]
        else:
            found_by_glob = map(Path, glob.glob(source, recursive=True))
            matches = sorted(p for p in found_by_glob if p.is_file() or is_frame_folder(p))
        if not matches:
            what = "folder without videos or pictures of frames" if path.is_dir() else "no such file, folder or match"
            raise DataError(f"{source}: {what}; videos and volumes end in {', '.join(sorted(FILE_SUFFIXES))}")
        found |= dict.fromkeys(matches)
    return list(found)


def sources_below(folder: Path) -> list[Path]:
    """The videos, volumes and frame folders in a folder, or the folder itself if it is a frame folder; sorted.

    Pictures with a video or volume beside or below them are no frame folder. Hidden folders are left out.
    """
    found, pictures = list[Path](), list[Path]()
    for name, folders, files in os.walk(folder):
        folders[:] = [child for child in folders if not child.startswith(".")]
        shown = [file for file in files if not file.startswith(".")]
        found += (path for file in shown if is_sample_file(file) and (path := Path(name, file)).is_file())
        if any(file.lower().endswith(_PICTURES) for file in shown):
            pictures.append(Path(name))
    taken = {parent for file in found for parent in file.parents}
    return sorted(found + [path for path in pictures if path not in taken])


class FileIndex:
    """Videos and frame folders below ``root`` by their name without suffix. If several match, the first by path."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise DataError(f"{root}: no such folder; expected the folder with the videos")
        self.root = root
        self.missing: dict[str, None] = {}  # names that were asked for and not found, in that order
        self.ambiguous: dict[str, None] = {}

    def find(self, *names: str, parent: str | None = None) -> str | None:
        """The path relative to the root. None if there is no such file, which is then remembered as missing.

        Args:
            names: a file name without suffix or the name of a frame folder; the first that exists counts.
            parent: the folder it should be in, where several have that name.
        """
        name = next((name for name in names if name in self._paths), None)
        if name is None:
            self.missing[names[0]] = None
            return None
        paths = self._paths[name]
        if len(paths) > 1 and parent is not None:
            paths = [path for path in paths if Path(path).parent.name == parent] or paths
        if len(paths) > 1:
            self.ambiguous[name] = None
        return paths[0]

    def is_frames(self, path: str) -> bool:
        """Whether a found path is a frame folder."""
        return path in self._frame_folders

    @property
    def notes(self) -> list[str]:
        """Notes for the user about the names that were looked up."""
        if not self.ambiguous:
            return []
        names = list(self.ambiguous)
        return [
            f"{len(names)} names stand for several files below {self.root}, the first by path is used: {some(names)}"
        ]

    @cached_property
    def _paths(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        self._frame_folders: set[str] = set()
        seen: set[tuple[int, int]] = set()  # a link may lead back to a folder above it
        for folder, folders, files in os.walk(self.root, followlinks=True):
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen:
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            relative = Path(folder).relative_to(self.root).as_posix()
            prefix = "" if relative == "." else f"{relative}/"
            for name in sorted(files):
                stem, suffix = os.path.splitext(name)
                if suffix.lower() in _VIDEOS:
                    found[stem].append(prefix + name)
            if prefix and any(name.lower().endswith(_PICTURES) for name in files):
                found[Path(folder).name].append(relative)
                self._frame_folders.add(relative)
        return {name: sorted(paths) for name, paths in found.items()}


def existing_rows(source: Path, reading: LayoutRows, rows: list[Row], skip: bool) -> tuple[list[Row], tuple[str, ...]]:
    """The rows whose file or frame folder exists, and the names of all missing files.

    With ``skip``, rows of missing files are left out with a note.

    Raises:
        DataError: with the number of missing files and the first few names; always if no row is left.
    """
    paths = list(dict.fromkeys(row.path for row in rows))
    there = {path for path in paths if (reading.root / path).is_file() or is_frame_folder(reading.root / path)}
    missing = (*reading.missing, *(_with_target(reading.root, path) for path in paths if path not in there))
    if not there:
        raise DataError(
            f"{source}: none of its {len(missing)} files exists below {reading.root}: {some(missing)}; "
            "correct the paths or set the root folder"
        )
    if missing and not skip:
        raise DataError(
            f"{source}: {len(missing)} of its files do not exist below {reading.root}: {some(missing)}; "
            "correct the paths or set the root folder, or leave their rows out with skip_missing"
        )
    if missing:
        reading.notes.append(
            f"{len(missing)} files are missing below {reading.root}, their rows are left out: {some(missing)}"
        )
    return [row for row in rows if row.path in there], missing


def _with_target(root: Path, path: str) -> str:
    """The name of a missing file, and where it leads if it is a link."""
    link = root / path
    return f"{path} -> {link.readlink()}" if link.is_symlink() else path
