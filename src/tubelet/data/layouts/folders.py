"""Folders whose names are the classes.

    split folders    DIR/train/<class>/clip.mp4, DIR/val/<class>/..., DIR/test/<class>/...
    class folders    DIR/<class>/clip.mp4

Clips of one group (a match, a patient, a film) may lie in a folder of their own: DIR/<class>/<group>/clip.mp4. A sample
may also be a volume (``.npy``, ``.nii``, ``.nii.gz``) or a frame folder (DIR/<class>/clip/00001.jpg).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.layouts.find_files import is_frame_folder, is_sample_file
from tubelet.data.layouts.rows import SPLIT_NAMES, LayoutRows, Row, some
from tubelet.errors import DataError


def has_split_folders(folder: Path) -> bool:
    """Whether classes lie below split folders. A folder ``train`` that holds samples itself is a class."""
    return any(
        any(not is_frame_folder(child) for child in _folders(split))
        for split in _folders(folder)
        if split.name.lower() in SPLIT_NAMES
    )


def read_folders(folder: Path, config: ManifestConfig) -> LayoutRows:
    """Rows of split folders or class folders, sorted by path. A note lists ignored files.

    Raises:
        DataError: there is no class folder with a video, a volume or a frame folder, or samples lie deeper than groups.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected a folder of class folders")
    children, notes, ignored = _folders(folder), list[str](), list[str]()
    in_splits = has_split_folders(folder)
    classes: list[tuple[str | None, Path]] = []
    if in_splits:
        splits = [child for child in children if child.name.lower() in SPLIT_NAMES]
        classes += [(SPLIT_NAMES[split.name.lower()], child) for split in splits for child in _folders(split)]
        ignored += [child.name for child in children if child not in splits]
    else:
        _refuse_splits_without_classes(folder, children)
        classes += [(None, child) for child in children]
    rows: list[Row] = []
    for split, class_folder in classes:
        prefix = class_folder.relative_to(folder).as_posix()
        sample = Row(path=prefix, labels=(class_folder.name,), split=split)
        found = _rows_of_class(class_folder, sample, config, ignored)
        if not found:
            notes.append(f"folder '{prefix}' holds no videos and is left out")
        rows += found
    if not rows:
        raise DataError(
            f"{folder}: no videos or .npy volumes in class folders; expected {folder.name}/<class>/clip.mp4 "
            f"or {folder.name}/train/<class>/clip.mp4"
        )
    if ignored:
        notes.append(f"{len(ignored)} files or folders ignored, neither videos nor .npy volumes: {some(ignored)}")
    if dead := _dead_links([folder, *(child for _, child in classes), *(children if in_splits else ())]):
        shown = [f"{link.relative_to(folder)} -> {link.readlink()}" for link in dead]
        notes.append(f"{len(dead)} links lead to files or folders that do not exist: {some(shown)}")
    layout = "split folders" if in_splits else "class folders"
    grouped_by = "the folders below the classes" if any(row.group for row in rows) else None
    return LayoutRows(root=folder, rows=rows, layout=layout, notes=notes, grouped_by=grouped_by)


def _rows_of_class(folder: Path, sample: Row, config: ManifestConfig, ignored: list[str]) -> list[Row]:
    """The rows of a class folder and of the group folders in it, made from ``sample``."""
    rows, others = _rows_in(folder, sample, config, ignored)
    for group in others:
        path = f"{sample.path}/{group.name}"
        inside: list[str] = []
        found, deeper = _rows_in(group, replace(sample, path=path, group=group.name), config, inside)
        if config.split_by == "files" or not (found or deeper):
            ignored.append(path)
            continue
        for clip in (clip for below in deeper if (clip := _first_sample(below)) is not None):
            steps = clip.relative_to(group)
            raise DataError(
                f"{clip}: lies too deep: {folder} (class) / {group.name} (group) / {steps.parent} (?) / {steps.name}; "
                "expected <class>/clip.mp4 or <class>/<group>/clip.mp4"
            )
        if found and group.name.lower() in SPLIT_NAMES:
            raise DataError(
                f"{group}: is a split below a class; expected {group.name}/{folder.name}/clip.mp4 in its place"
            )
        rows += found
        ignored += inside + [f"{path}/{below.name}" for below in deeper] if found else [path]
    return rows


def _rows_in(folder: Path, sample: Row, config: ManifestConfig, ignored: list[str]) -> tuple[list[Row], list[Path]]:
    """The samples directly in a folder, and the folders in it that are none. Other files are added to ``ignored``."""
    rows, others = list[Row](), list[Path]()
    for child in sorted(folder.iterdir()):
        path = f"{sample.path}/{child.name}"
        if child.name.startswith("."):
            continue
        if is_sample_file(child.name):
            rows.append(replace(sample, path=path))
        elif is_frame_folder(child):
            rows.append(replace(sample, path=path, fps=config.frame_fps))
        elif child.is_dir():
            others.append(child)
        else:
            ignored.append(path)
    return rows, others


def _first_sample(folder: Path) -> Path | None:
    """A video, a volume or a frame folder anywhere in a folder, or the folder itself. None if there is none."""
    if is_frame_folder(folder):
        return folder
    found = (path for path in sorted(folder.rglob("*")) if is_sample_file(path.name) or is_frame_folder(path))
    return next(found, None)


def _refuse_splits_without_classes(folder: Path, children: list[Path]) -> None:
    if children and all(child.name.lower() in SPLIT_NAMES for child in children):
        raise DataError(
            f"{folder}: {children[0].name} holds no class folders; expected {children[0].name}/<class>/clip.mp4"
        )


def _dead_links(folders: list[Path]) -> list[Path]:
    """Links in these folders to what does not exist. Without a word, a class may be missing."""
    inside = (child for folder in folders for child in sorted(folder.iterdir()))
    return [child for child in inside if child.is_symlink() and not child.exists() and child.name[0] != "."]


def _folders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
