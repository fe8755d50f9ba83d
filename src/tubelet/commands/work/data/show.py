"""``tubelet data show``: contact sheets of the very clips that training and prediction read."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tubelet.commands.data.show import MAX_CLIPS, Options
from tubelet.data.features.make_dataset import make_dataset
from tubelet.data.layouts.find_files import is_frame_folder, is_sample_file
from tubelet.data.layouts.rows import some
from tubelet.data.layouts.tools.recognize import recognized
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.manifest.read import read_manifest
from tubelet.data.shown_clips import ShownClip, show_clips, spread_rows
from tubelet.errors import ConfigError, DataError
from tubelet.files import write_atomically, written_atomically
from tubelet.recipe import DEFAULT_RECIPE, Recipe, load_recipe
from tubelet.report.contact_sheet import contact_sheet
from tubelet.runs.data import protocol_of
from tubelet.session.console_progress import ConsoleProgress


def run(options: Options, overrides: list[tuple[str, str]]) -> int:
    _check(options)
    source = [("data.source", json.dumps(options.data))]
    recipe = load_recipe(options.recipe or DEFAULT_RECIPE, [*source, *overrides])
    out = options.out or Path("runs") / f"show-{Path(options.data).resolve().stem}.png"
    torch.set_num_threads(1)
    with ConsoleProgress("show") as progress:
        manifest = _manifest(options, recipe)
        for note in manifest.notes:
            progress.note(note)
        if manifest.missing:
            progress.note(
                f"{len(manifest.missing)} files are missing, their rows are left out: {some(manifest.missing)}"
            )
        dataset, rows = _dataset(options, recipe, manifest), spread_rows(manifest, options.num, recipe.seed)
        clips = list(show_clips(dataset, rows, all_views=options.all_views, on_row=progress.advance))
    if len(clips) > MAX_CLIPS:
        raise ConfigError(f"{len(clips)} clips do not fit on a sheet, expected at most {MAX_CLIPS}; lower --num")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, contact_sheet(clips, _title(options, recipe, clips)))
    if options.npz is not None:
        _write_npz(options.npz, clips)
    failed, flagged = sum(clip.error is not None for clip in clips), sum(bool(clip.flags) for clip in clips)
    summary = f"{len(clips)} clips, {failed} cannot be read, {flagged} flagged; sheet: {out}"
    if options.json:
        content = {"sheet": str(out), "num_failed": failed, "num_flagged": flagged, "clips": [*map(_as_dict, clips)]}
        print(json.dumps(content, indent=2, ensure_ascii=False))
        print(summary, file=sys.stderr)
        return 0
    for clip in clips:
        for line in [*clip.flags, *([] if clip.error is None else [clip.error])]:
            print(f"{clip.name}: {line}" if clip.name not in line else line)
    print(summary)
    return 0


def _check(options: Options) -> None:
    if not 1 <= options.num <= MAX_CLIPS:
        raise ConfigError(f"--num must be from 1 to {MAX_CLIPS}, got {options.num}")
    if options.augmented and options.all_views:
        raise ConfigError("--all-views has no meaning with --augmented, which reads one clip of a row; leave it out")
    if options.out is not None and options.out.suffix.lower() != ".png":
        raise ConfigError(f"--out {options.out}: the name must end in .png")
    for name, file in (("--out", options.out), ("--npz", options.npz)):
        if file is not None and not file.parent.is_dir():
            raise ConfigError(f"{name} {file}: there is no folder {file.parent}; make it first")


def _manifest(options: Options, recipe: Recipe) -> Manifest:
    """The rows to choose from; of files without classes, one for each."""
    path, config = recipe.data.path, options.columns.applied_to(recipe.data.manifest)
    files = _files_without_classes(path) if path.is_file() or recognized(path, config) is None else []
    if files and options.split is None:
        samples = tuple(
            Sample(path=file.name, labels=(), split="test", fps=config.frame_fps if file.is_dir() else None)
            for file in files
        )
        return Manifest(root=files[0].parent, samples=samples, class_names={}, layout="files")
    manifest = read_manifest(path, config, is_checked=False, makes_splits=options.split is not None)
    if not len(manifest):
        missing = (
            f": none of {len(manifest.missing)} files is there: {some(manifest.missing)}" if manifest.missing else ""
        )
        raise DataError(f"{path}: no row to show{missing}; correct the names or set the root folder")
    if options.split is not None:
        return manifest.split(options.split)
    return manifest.split("train") if options.augmented and "train" in manifest.splits else manifest


def _files_without_classes(path: Path) -> list[Path]:
    """A video, volume or frame folder itself, or those that lie directly in a folder."""
    if (path.is_file() and is_sample_file(path.name)) or is_frame_folder(path):
        return [path]
    return sorted(child for child in path.iterdir() if is_sample_file(child.name)) if path.is_dir() else []


def _dataset(options: Options, recipe: Recipe, manifest: Manifest) -> ClipDataset:
    protocol = protocol_of(recipe, manifest)
    if options.augmented:
        dataset = make_dataset(manifest, protocol, "train", recipe.augment, recipe.seed, augment_later=True)
    else:
        dataset = make_dataset(manifest, protocol, "views", seed=recipe.seed)
    if not isinstance(dataset, ClipDataset):
        raise ConfigError(
            f"{options.data}: is a feature store, which holds no pixels; show the videos it was made from"
        )
    return dataset


def _title(options: Options, recipe: Recipe, clips: Sequence[ShownClip]) -> str:
    protocol = recipe.protocol
    pace = f"{protocol.target_fps:g} per second" if protocol.target_fps else f"every {protocol.frame_stride}"
    sampling = pace if protocol.sampling == "dense" else protocol.sampling
    height, width = protocol.crop_size
    what = "training clips, augmented" if options.augmented else "views of evaluation"
    return (
        f"{options.data}: {len(clips)} {what}; {protocol.num_frames} frames ({sampling}) of {height} x {width} pixels"
    )


def _write_npz(file: Path, clips: Sequence[ShownClip]) -> None:
    """Clips that could be read. Texts are of fixed width, so that nothing is pickled."""
    read = [clip for clip in clips if clip.pixels is not None]
    if not read:
        raise ConfigError(f"--npz {file}: no clip could be read, so there is nothing to write")
    with written_atomically(file) as new, new.open("wb") as stream:
        np.savez_compressed(
            stream,
            pixels=np.stack([clip.pixels.permute(0, 2, 3, 1).numpy() for clip in read if clip.pixels is not None]),
            labels=np.array([clip.label for clip in read]),
            paths=np.array([clip.name for clip in read]),
            seconds=np.array([clip.seconds for clip in read]),
        )


def _as_dict(clip: ShownClip) -> dict[str, Any]:
    return {name: value for name, value in vars(clip).items() if name != "pixels"}
