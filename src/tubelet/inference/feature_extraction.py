"""Writes a feature store: every frame of a dataset once through the per-frame stage of a model.

n  frames of a chunk   D  width of a vector
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tubelet.config import to_dict
from tubelet.data.clips.normalize import normalize
from tubelet.data.features.store import (
    FeatureFile,
    StoreRecord,
    VideoFeatures,
    file_name,
    read_store,
    write_failure,
    write_features,
)
from tubelet.data.layouts.feature_store import LAYOUT, MANIFEST, RECORD
from tubelet.data.loading.config import DECODE_TIMEOUT_SECONDS, FAILURE_BUDGET
from tubelet.data.loading.frame_chunks import (
    FrameChunk,
    FrameChunkReader,
    SourceSegments,
    read_chunks,
    sources_of,
)
from tubelet.data.loading.video_notes import VideoNotes
from tubelet.data.loading.worker_process import Failure
from tubelet.data.manifest.csv_file import write_manifest
from tubelet.data.manifest.failure_budget import UNREADABLE, FailureBudget
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.video.packet_index_store import IndexStore
from tubelet.errors import ConfigError, DataError
from tubelet.files import write_atomically
from tubelet.inference.frame_stage import check_storable, stage_sha256
from tubelet.models.stages import frame_features
from tubelet.protocol import Protocol
from tubelet.session.device import autocast
from tubelet.session.fast_fp32 import fast_fp32_in_use
from tubelet.session.session import Session
from tubelet.session.shards import Shard, missing_text
from tubelet.weights.checkpoint.checkpoint import Record


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """What a call has done."""

    written: int  # videos
    kept: int  # videos whose file was there
    failed: tuple[str, ...]  # one line per video that could not be read
    num_frames: int  # that went through the model
    num_bytes: int  # of the features of all videos of this call, those that were there too
    left: str | None = None  # what other calls have still to write, in one line; without a manifest until then


def open_store(out: Path, model: nn.Module, record: Record, manifest: Manifest, source: str) -> StoreRecord:
    """Begin a store, or go on with the one that is there.

    Raises:
        ConfigError: features of this model cannot be stored, or ``out`` holds something else.
        DataError: the store there is of another model, of other pixels or of other data.
    """
    check_storable(model, record.model_name)
    wanted = StoreRecord(
        model_name=record.model_name,
        model_config=record.model_config,
        feature_dim=_width(model, record.protocol),
        stage_sha256=stage_sha256(model),
        protocol=record.protocol,
        source=source,
        data_fingerprint=manifest.fingerprint,
        precision=record.precision,
        fast_fp32=fast_fp32_in_use(),
    )
    if not (out / RECORD).exists():
        others = out.exists() and (not out.is_dir() or any(not path.name.startswith(".") for path in out.iterdir()))
        if others and not (out / RECORD).exists():  # another call may write it just now
            raise ConfigError(f"{out}: not empty and no feature store; give another folder")
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / RECORD, json.dumps(to_dict(wanted), indent=2, ensure_ascii=False) + "\n")
        return wanted
    there = to_dict(read_store(out))
    wrong = [name for name, value in to_dict(wanted).items() if name != "source" and there[name] != value]
    if wrong:
        raise DataError(
            f"{out}: the feature store there has another {', '.join(wrong)}; give another folder, or delete this one"
        )
    return wanted


@dataclass(frozen=True, kw_only=True)
class ExtractOptions:
    """How a store is written."""

    splits: tuple[str, ...]  # those to write; what the store has of others stays in its manifest
    num_workers: int = 0  # processes that decode; 0 decodes in this process
    timeout_seconds: float = DECODE_TIMEOUT_SECONDS  # a worker that reads one chunk of a video for longer is killed
    failure_budget: float = FAILURE_BUDGET  # share of the rows that may be unreadable (``manifest.failure_budget``)
    shard: Shard = Shard()  # noqa: RUF009  # immutable  # the videos of this call; the last call writes the manifest


def extract(
    model: nn.Module,
    store: StoreRecord,
    manifest: Manifest,
    out: Path,
    options: ExtractOptions,
    session: Session,
) -> Extracted:
    """Write the files that a store lacks, then its manifest.

    A file is there whole or not at all, so that an interrupted call goes on where it was. A video that cannot be read
    keeps its row; it is tried again by the next call.

    Args:
        model: in eval mode on the session's device.
        store: from ``open_store``.
        manifest: of all splits.
        session: computes, notes each video that cannot be read, and reports how many videos are done.

    Raises:
        DataError: more videos cannot be read than the failure budget allows; what was written stays.
    """
    sources = sources_of(manifest)
    files = [out / file_name(store, source.path, source.entry, source.fps) for source in sources]
    asked = {row for row, sample in enumerate(manifest.samples) if sample.split in options.splits}
    of_all = [i for i, source in enumerate(sources) if asked.intersection(source.rows)]
    chosen = options.shard.of(of_all)
    todo = [i for i in chosen if not _is_whole(files[i], store)]
    kept, num_frames = len(chosen) - len(todo), 0
    unreadable = out / UNREADABLE if options.shard == Shard() else None  # of several calls, the last writes it
    budget = FailureBudget(manifest, options.failure_budget, "videos", file=unreadable)
    job = FrameChunkReader(manifest.root, store.protocol, IndexStore.beside(manifest.root, manifest.folder))
    notes = VideoNotes(lambda number: job.name((sources[number], 0)), (len(chosen), "videos"), session)
    results = read_chunks(job, sources, todo, options.num_workers, options.timeout_seconds)
    session.advance(kept, len(chosen))
    for done, (index, chunks) in enumerate(itertools.groupby(results, key=lambda pair: pair[0]), kept):
        report = partial(_report_frame, session, done, len(chosen), sources[index].path)
        features = _features_of(model, _noted(chunks, notes), store, session.device, report)
        if isinstance(features, Failure):
            write_failure(files[index], features.line)
            for line in set(budget.add(dict.fromkeys(sources[index].rows, features.line)).values()):
                session.progress.note(f"not used: {line}")
            budget.check()
        else:
            write_features(files[index], features)
            num_frames += len(features.vectors)
        session.advance(done + 1, len(chosen))
    notes.end()
    left = missing_text(
        options.shard, [sources[i].name for i in of_all], [files[i].is_file() for i in of_all], "videos"
    )
    if left is None and options.shard != Shard():
        _count_all_failures(manifest, options, [(sources[i], files[i]) for i in of_all], out)
    if left is None:
        _write_manifest(manifest, sources, files, out)
    failed = tuple(dict.fromkeys(budget.failed.values()))
    num_bytes = sum(files[i].stat().st_size for i in chosen)
    written = len(todo) - len(failed)
    return Extracted(written=written, kept=kept, failed=failed, num_frames=num_frames, num_bytes=num_bytes, left=left)


def _count_all_failures(
    manifest: Manifest, options: ExtractOptions, written: Sequence[tuple[SourceSegments, Path]], out: Path
) -> None:
    """Hold what all calls could not read against the budget, and list it."""
    budget = FailureBudget(manifest, options.failure_budget, "videos", file=out / UNREADABLE)
    for source, file in written:
        with FeatureFile(file) as features:
            if features.failure is not None:
                budget.add(dict.fromkeys(source.rows, features.failure))
    budget.check()


def _noted(chunks: Iterable[tuple[int, FrameChunk | Failure]], notes: VideoNotes) -> Iterator[FrameChunk | Failure]:
    """The chunks of a source, whose notes are taken."""
    for index, chunk in chunks:
        if isinstance(chunk, FrameChunk):
            notes.add(index, chunk.notes)
        yield chunk


def _report_frame(session: Session, done: int, total: int, name: str, frame: int) -> None:
    session.advance(done, total, f"{name}, frame {frame}")


@torch.inference_mode()
def _features_of(
    model: nn.Module,
    chunks: Iterator[FrameChunk | Failure],
    store: StoreRecord,
    device: torch.device,
    on_frame: Callable[[int], None],
) -> VideoFeatures | Failure:
    """The features of one source, or why there are none."""
    vectors: list[Float[Tensor, "n D"]] = []
    numbers, last = [], None
    for chunk in chunks:
        if isinstance(chunk, Failure):
            return chunk
        pixels = torch.from_numpy(chunk.pixels).transpose(0, 1)  # C n h w
        clip = normalize(pixels.to(device), store.protocol)[None]  # 1 C n h w
        with autocast(device, store.precision):
            vectors.append(frame_features(model, clip, None).vectors[0].float().cpu())
        numbers.append(torch.from_numpy(chunk.frame_numbers))
        last = chunk
        on_frame(int(chunk.frame_numbers[-1]))
    assert last is not None
    return VideoFeatures(
        vectors=torch.cat(vectors),
        frame_numbers=torch.cat(numbers).numpy(),
        timestamps=last.timestamps,
        is_video=last.is_video,
    )


@torch.inference_mode()
def _width(model: nn.Module, protocol: Protocol) -> int:
    """Width of the vectors."""
    device = next(model.parameters()).device
    frame = torch.zeros(1, protocol.num_channels, 1, *protocol.crop_size, device=device)
    return frame_features(model, frame, None).vectors.shape[-1]


def _is_whole(file: Path, store: StoreRecord) -> bool:
    """Whether a video's features are there; a failure is tried again."""
    if not file.is_file():
        return False
    try:
        with FeatureFile(file) as features:
            return features.failure is None and features.shape == (len(features.frame_numbers), store.feature_dim)
    except DataError:
        return False


def _write_manifest(manifest: Manifest, sources: tuple[SourceSegments, ...], files: list[Path], out: Path) -> None:
    """The rows whose features are there, of whatever call."""
    file_of = {row: file for source, file in zip(sources, files, strict=True) for row in source.rows}
    rows = tuple(
        dataclasses.replace(sample, path=file_of[row].relative_to(out).as_posix(), entry=None, fps=None)
        for row, sample in enumerate(manifest.samples)
        if file_of[row].is_file()
    )
    stored = dataclasses.replace(manifest, root=out, samples=rows, layout=LAYOUT, missing=())
    write_manifest(stored, out / MANIFEST)
