"""Packs files into tar shards of bounded size in WebDataset's form, for file systems that are slow with small files.

    shards/train-000000.tar    a/one.mp4    the video
                               a/one.json   its label by head and its segment; only where one row shows the video

Other readers stream the samples of a shard in their order, so files are packed in the order of a hash of their paths,
which mixes the classes. tubelet itself reads any member by its position. A shard is written atomically, and only then
are its loose files removed, so that at most one shard's content exists twice at any time.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path, PurePath

from tubelet.data.manifest.labels import labels_of
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.manifest.quarantine import row_path
from tubelet.data.sources.shards import address
from tubelet.files import written_atomically

FOLDER = "shards"


@dataclass(frozen=True, kw_only=True)
class Packed:
    """The new location of a file."""

    shard: str  # relative to the folder that is packed
    entry: str  # the address of the member (``tubelet.data.sources.shards``)


def pack(
    manifest: Manifest, out: Path, targets: Mapping[str, Path], shard_bytes: int, used: Set[str]
) -> Iterator[dict[str, Packed]]:
    """Move loose files into new shards of ``out``. Yields the locations of the files of each shard.

    Args:
        manifest: the rows, with splits and labels.
        out: the folder that holds the files. ``out/shards`` is made.
        targets: ``row_path`` in the manifest: the loose file below ``out``.
        shard_bytes: a shard ends before the file that would make it larger. A larger file gets a shard of its own.
        used: shards that hold files already. Any other shard is left from an interrupted call and overwritten.
    """
    rows: dict[str, list[Sample]] = {}
    for sample in manifest.samples:
        rows.setdefault(row_path(sample), []).append(sample)
    (out / FOLDER).mkdir(exist_ok=True)
    used = set(used)
    for split in manifest.splits:
        paths = sorted((path for path in targets if rows[path][0].split == split), key=_mixed)
        names = (f"{FOLDER}/{split}-{number:06d}.tar" for number in itertools.count())
        free = (name for name in names if name not in used)
        for shard, group in zip(free, _groups(paths, targets, shard_bytes), strict=False):
            packed = {}
            with written_atomically(out / shard) as new, tarfile.open(new, "w") as archive:
                for path in group:
                    name = _member(targets[path].relative_to(out))
                    packed[path] = Packed(shard=shard, entry=_add(archive, name, targets[path].read_bytes()))
                    if len(rows[path]) == 1:
                        record = json.dumps(_record(manifest, rows[path][0]), ensure_ascii=False)
                        _add(archive, name.removesuffix(".mp4") + ".json", record.encode())
            yield packed
            for path in group:
                targets[path].unlink()


def _groups(paths: Sequence[str], targets: Mapping[str, Path], shard_bytes: int) -> Iterator[list[str]]:
    group, size = list[str](), 0
    for path in paths:
        num_bytes = targets[path].stat().st_size
        if group and size + num_bytes > shard_bytes:
            yield group
            group, size = [], 0
        group.append(path)
        size += num_bytes
    if group:
        yield group


def _mixed(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()


def _member(path: PurePath) -> str:
    """The name of a member: unique, and with no dot before ``.mp4``, because a sample's name ends at its first dot."""
    stem = path.stem
    if "." in stem:
        stem = f"{stem.replace('.', '_')}-{_mixed(path.as_posix())[:12]}"
    return (path.parent / f"{stem}.mp4").as_posix()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> str:
    """Append a member. The same content under the same name gives the same bytes."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    archive.addfile(member, io.BytesIO(content))
    blocks = -(-member.size // tarfile.BLOCKSIZE)
    member.offset_data = archive.offset - blocks * tarfile.BLOCKSIZE  # content ends, padded, where the archive does
    return address(member)


def _record(manifest: Manifest, sample: Sample) -> dict[str, object]:
    record: dict[str, object] = {}
    for head_number, (head, names) in enumerate(manifest.class_names.items()):
        labels = [names[label] for label in labels_of(sample.labels, head_number, multi_label=manifest.multi_label)]
        record[head] = "|".join(labels)  # several only if the manifest is multi-label
    for name in ("start_seconds", "end_seconds", "start_frame", "end_frame"):
        if getattr(sample, name) is not None:
            record[name] = getattr(sample, name)
    return record
