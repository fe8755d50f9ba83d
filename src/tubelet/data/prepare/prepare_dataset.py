"""Transcodes the videos of a manifest once, so that training decodes them many times faster, and writes a manifest.

The results are small pictures in H.264 without its slow parts (CABAC, the deblocking filter), with a key frame every
16 frames and, between any two other frames, one B-frame on which nothing depends: a reader of every second frame
skips it. ``benchmarks/decode.py`` measures the gain on eight 720p clips of ten seconds. Every shown frame is kept,
upright, at its time. Sound is left out. A file is done when its line in ``prepared.jsonl`` names the same source and
settings, so an interrupted call can go on. With ``shards``, files are then packed into tar files
(``tubelet.data.prepare.pack_shards``). A file that is transcoded again later goes into another shard, and its old
bytes stay there unused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any

from tubelet.data.layouts.rows import some
from tubelet.data.loading.index_videos import index_files
from tubelet.data.loading.worker_process import Failure
from tubelet.data.manifest.csv_file import write_manifest
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.manifest.quarantine import row_path
from tubelet.data.prepare.config import PrepareConfig
from tubelet.data.prepare.made_from import LEDGER, location_fields
from tubelet.data.prepare.pack_shards import pack
from tubelet.data.prepare.transcode_pool import SourceFile, line_of, transcoded
from tubelet.data.scan.scan_file import fingerprint
from tubelet.data.sources.dicom import is_dicom
from tubelet.data.sources.shards import is_shard, is_volume_row, member_name, member_range
from tubelet.data.video.formats import is_video_path
from tubelet.data.video.packet_index_store import IndexStore
from tubelet.errors import DataError
from tubelet.files import appended_lines, json_lines, write_atomically

MANIFEST = "manifest.csv"
_NOTE = "prepared from data with fingerprint"  # in the manifest of prepared files
_VERSION = 1  # goes up when the same settings give other files


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The result of ``prepare``."""

    manifest: Path
    num_files: int
    num_made: int  # the others were done before
    source_bytes: int  # of the files that are prepared
    prepared_bytes: int
    failures: dict[str, str]  # path in the source's manifest: one line
    notes: dict[str, list[str]]  # path: what the user should know of the source, which its copy does not say


def prepare(
    manifest: Manifest,
    out: Path,
    config: PrepareConfig,
    on_file: Callable[[int, int], None] = lambda done, total: None,
) -> Prepared:
    """Transcode every video of a manifest into ``out`` and write ``out/manifest.csv`` with the same rows.

    Args:
        manifest: the rows. A file with several segments is transcoded once.
        out: the folder. It is made if missing.
        config: size, quality, shards and processes.
        on_file: called with how many files are done, and how many there are.

    Raises:
        DataError: rows are no video files, no video could be prepared, or ``out`` cannot be written.
    """
    files = source_files(manifest, out, config)
    out.mkdir(parents=True, exist_ok=True)
    done = {path: line for path, line in ledger(out / LEDGER).items() if is_done(out, files.get(path), line)}
    todo = {path: file for path, file in files.items() if path not in done}
    failures: dict[str, str] = {}
    on_file(len(done), len(files))
    with appended_lines(out / LEDGER) as append:
        for path, result in transcoded(todo, config.encoding, config.num_workers):
            if isinstance(result, Failure):
                failures[path] = line_of(result)
            else:
                done[path] = {"path": path, "mark": todo[path].mark, **result}
                append(done[path])
            on_file(len(done) + len(failures), len(files))
    return finish(manifest, out, config, files, done, failures, len(todo) - len(failures))


def finish(
    manifest: Manifest,
    out: Path,
    config: PrepareConfig,
    files: dict[str, SourceFile],
    done: dict[str, dict[str, Any]],
    failures: dict[str, str],
    num_made: int,
) -> Prepared:
    """Pack the files of all calls if asked, index them, and write their manifest.

    Args:
        files: all sources, by path (``source_files``).
        done: the line in the ledger of each file that is there, by path.
        failures: the line of each that could not be transcoded.
        num_made: files that this call has transcoded.
    """
    if config.shards is not None:
        with appended_lines(out / LEDGER) as append:
            _pack(manifest, out, files, done, append, config.shards * 10**6)
    if not done:
        raise DataError(f"{manifest.root}: no video could be prepared; the first: {next(iter(failures.values()))}")
    locations = {path: _location(out, files[path], line) for path, line in done.items()}
    videos = [(out / location, entry) if entry else out / location for location, entry in locations.values()]
    index_files(IndexStore.beside(out), videos, config.num_workers)
    listed = [line | location_fields(*locations[path]) for path, line in done.items()]
    write_atomically(out / LEDGER, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in listed))
    notes = {path: line["notes"] for path, line in done.items() if "notes" in line}
    _write_manifest(manifest, out, locations, len(failures), notes)
    return Prepared(
        manifest=out / MANIFEST,
        num_files=len(files),
        num_made=num_made,
        source_bytes=sum(files[path].num_bytes for path in done),
        prepared_bytes=sum(line["bytes"] for line in done.values()),
        failures=failures,
        notes=notes,
    )


def is_prepared(manifest: Manifest) -> bool:
    """Whether ``prepare`` made the files of a manifest."""
    return any(note.startswith(_NOTE) for note in manifest.notes)


def source_files(manifest: Manifest, out: Path, config: PrepareConfig) -> dict[str, SourceFile]:
    """The videos of a manifest by ``row_path``, each once, in its order.

    Raises:
        DataError: rows that cannot be prepared, or a frame folder with two rates.
    """
    _refuse_others(manifest)
    settings = json.dumps({"version": _VERSION, **asdict(config.encoding)}, sort_keys=True)
    files, names = dict[str, SourceFile](), dict[str, str]()
    for sample in manifest.samples:
        source, path = manifest.path_of(sample), row_path(sample)
        if path not in files:
            rate = () if sample.fps is None else (f"{sample.fps!r} fps",)
            entry = () if sample.entry is None else (sample.entry,)
            mark = hashlib.sha256(" ".join((fingerprint(source), *entry, *rate, settings)).encode()).hexdigest()[:32]
            files[path] = SourceFile(source, Path(), mark, entry=sample.entry, fps=sample.fps)
            names[path] = path if sample.entry is None else f"{sample.path[:-4]}/{member_name(sample.entry)}"
        elif files[path].fps != sample.fps:
            raise DataError(f"{path}: has rows of {files[path].fps} and of {sample.fps} frames per second; give it one")
    return {path: dataclasses.replace(files[path], target=out / target) for path, target in _targets(names).items()}


def other_kind(manifest: Manifest, sample: Sample) -> str | None:
    """The kind of a row that cannot be prepared. None for a video, also in a shard, and a frame folder with a rate."""
    source = manifest.path_of(sample)
    if is_volume_row(sample.path, sample.entry):
        return "volumes"
    if source.is_dir():
        return "frame folders of unknown rate" if sample.fps is None else None
    if is_dicom(source):
        return "DICOM files"
    name = member_name(sample.entry) if is_shard(source) and sample.entry else source
    return None if is_video_path(name) else "no videos by their names"


def _refuse_others(manifest: Manifest) -> None:
    kinds: dict[str, list[str]] = {}
    for sample in manifest.samples:
        if (kind := other_kind(manifest, sample)) is not None:
            kinds.setdefault(kind, []).append(row_path(sample))
    if kinds:
        found = ", ".join(f"{len(paths)} are {kind} (first: {paths[0]})" for kind, paths in kinds.items())
        raise DataError(
            f"{manifest.root}: prepare makes H.264 files of videos and of frame folders whose rate is known "
            f"(--manifest.frame_fps), but of {len(manifest)} rows {found}; values of volumes and DICOM files would "
            "not stay as they are: prepare a list of the other rows alone, and train on these as they are"
        )


def _targets(names: Mapping[str, str]) -> dict[str, PurePath]:
    """The path of each prepared file, none twice: a second source of a name has a hash of its path in it.

    Names are told apart as file systems do that know no case and write accents in one form only. A name that is also
    that of a folder of others is taken as well.
    """
    named = {path: _target(name) for path, name in names.items()}
    taken = {_folded(folder) for target in named.values() for folder in target.parents}
    targets: dict[str, PurePath] = {}
    for path in sorted(named, key=lambda path: (named[path].as_posix() != path, path)):  # a file keeps its own name
        target = named[path]
        if _folded(target) in taken:
            target = target.with_name(f"{target.stem}-{_hash(path)}{target.suffix}")
        taken.add(_folded(target))
        targets[path] = target
    return {path: targets[path] for path in named}


def _folded(path: PurePath) -> str:
    return unicodedata.normalize("NFC", path.as_posix()).casefold()


def _hash(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()[:12]


def _target(path: str) -> PurePath:
    """The path of a prepared file: that of its source. Files from outside the dataset go to a folder of their own."""
    name = path if path.lower().endswith(".mp4") else f"{path}.mp4"
    pure = PurePath(name)
    if pure.is_absolute() or ".." in pure.parts:
        return PurePath("outside", f"{_hash(path)}-{pure.name}")
    return pure


def ledger(path: Path) -> dict[str, dict[str, Any]]:
    """The lines of earlier calls by path."""
    lines: dict[str, dict[str, Any]] = {}
    for line in json_lines(path):
        if isinstance(line, dict) and isinstance(line.get("path"), str):
            lines[line["path"]] = line
    return lines


def is_done(out: Path, file: SourceFile | None, line: dict[str, Any]) -> bool:
    """Whether what a line of the ledger tells of is there, and of the same source and settings."""
    if file is None or line.get("mark") != file.mark:
        return False
    if "shard" not in line:
        return file.target.is_file() and file.target.stat().st_size == line.get("bytes")
    try:
        member_range(out / line["shard"], line["entry"])
    except DataError:
        return False
    file.target.unlink(missing_ok=True)  # packed, and interrupted before it was removed
    return True


def _location(out: Path, file: SourceFile, line: dict[str, Any]) -> tuple[str, str | None]:
    """The path below the output folder, and the address if the path is a shard."""
    return (line["shard"], line["entry"]) if "shard" in line else (file.target.relative_to(out).as_posix(), None)


def _pack(
    manifest: Manifest,
    out: Path,
    files: dict[str, SourceFile],
    done: dict[str, dict[str, Any]],
    append: Callable[..., None],
    shard_bytes: int,
) -> None:
    """Move loose files into shards, and record that in ``done`` and in the ledger."""
    loose = {path: files[path].target for path, line in done.items() if "shard" not in line}
    used = {line["shard"] for line in done.values() if "shard" in line}
    for packed in pack(manifest, out, loose, shard_bytes, used):
        for path, location in packed.items():
            done[path] |= asdict(location)
        append(*(done[path] for path in packed))


def _write_manifest(
    manifest: Manifest,
    out: Path,
    locations: dict[str, tuple[str, str | None]],
    num_failed: int,
    notes_of_files: dict[str, list[str]],
) -> None:
    def moved(sample: Sample) -> Sample:
        path, entry = locations[row_path(sample)]
        return dataclasses.replace(sample, path=path, entry=entry, fps=None)  # a video carries its own times

    samples = tuple(moved(sample) for sample in manifest.samples if row_path(sample) in locations)
    notes = [f"{_NOTE} {manifest.fingerprint}"]
    if num_failed:
        left_out = len(manifest) - len(samples)
        notes.append(f"{left_out} rows left out: {num_failed} files could not be transcoded")
    lines = [f"{path}: {note}" for path, found in notes_of_files.items() for note in found]
    if lines:
        notes.append(f"of {len(notes_of_files)} sources there was to say: {some(lines, '; ')}")
    prepared = dataclasses.replace(manifest, root=out, samples=samples, notes=(*manifest.notes, *notes))
    write_manifest(prepared, out / MANIFEST)
