"""WebDataset shards: tar files whose members belong together by their name up to its first dot.

    000017.mp4   the video, or 000017.npy, a volume
    000017.cls   its class: an index or a name          000017.json   or an object with the label columns

The split is that of the shard's name or of its folder (``train-000000.tar``, ``train/000000.tar``). A row addresses
shard, member and the position of its bytes, so that any row can be read without unpacking. Tar files that are
compressed as a whole have no such positions and are refused. The format is that of the webdataset documentation.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tubelet.data.layouts.config import ManifestConfig, class_list
from tubelet.data.layouts.find_files import is_sample_file
from tubelet.data.layouts.rows import (
    LayoutRows,
    Row,
    check_segment,
    parse_each,
    seconds_of,
    split_of_file,
    whole_number,
)
from tubelet.data.sources.shards import address
from tubelet.errors import DataError, reason

Members = dict[str, tarfile.TarInfo]  # of one sample, by the part of the name after the first dot


def read_webdataset(source: Path, config: ManifestConfig) -> LayoutRows:
    """Rows of one shard, or of all ``.tar`` files below a folder, in the order of names and members.

    Raises:
        DataError: no shard, a file that is no plain tar, or samples without a video or a label.
    """
    root = source.parent if source.is_file() else source
    shards = [source] if source.is_file() else sorted(source.rglob("*.tar"))
    if not shards:
        raise DataError(f"{source}: no .tar files; expected WebDataset shards such as train-000000.tar")
    notes, rows = list[str](), list[Row]()
    for shard in shards:
        split = split_of_file(shard.name) or split_of_file(shard.parent.name)
        path = shard.relative_to(root).as_posix()
        try:
            with tarfile.open(shard, "r:") as archive:
                parser = _Parser(archive, path, split, config.label_columns)
                rows += parse_each(shard, _samples(archive), parser.row, notes if config.skip_malformed else None)
        except (tarfile.TarError, OSError) as error:
            raise DataError(f"{shard}: not a plain .tar file ({reason(error)}); unpack a compressed one") from None
    names = class_list(config.class_file) if config.class_file else None
    return LayoutRows(
        root=root,
        rows=rows,
        classes=dict.fromkeys(config.label_columns, names),
        all_classes_known=names is not None,
        notes=notes,
    )


def _samples(archive: tarfile.TarFile) -> Iterator[tuple[int, tuple[str, Members]]]:
    """(Number of the sample from 1 on, (key, members)), in the order of their first members."""
    samples: dict[str, Members] = {}
    for member in archive:
        folder, slash, name = member.name.rpartition("/")
        key, dot, ending = name.partition(".")
        if member.isfile() and key and dot:
            samples.setdefault(folder + slash + key, {})[ending.lower()] = member
    yield from enumerate(samples.items(), 1)


class _Parser:
    """Rows of one shard. The "line" of a sample is its number in the shard."""

    def __init__(self, archive: tarfile.TarFile, path: str, split: str | None, heads: tuple[str, ...]) -> None:
        self.archive, self.path, self.split, self.heads = archive, path, split, heads

    def row(self, sample: tuple[str, Members]) -> Row:
        key, members = sample
        media = [ending for ending in members if is_sample_file(f"x.{ending}")]
        if len(media) != 1:
            raise ValueError(f"sample {key} holds {len(media)} videos or volumes ({', '.join(members)}), expected one")
        record = self._record(key, members)
        start, end = (
            None if record.get(name) is None else seconds_of(str(record[name]))
            for name in ("start_seconds", "end_seconds")
        )
        check_segment(start, end)
        first, stop = (
            None if record.get(name) is None else whole_number(str(record[name]), name)
            for name in ("start_frame", "end_frame")
        )
        member = members[media[0]]
        return Row(
            path=self.path,
            labels=tuple(self._label(key, record, head) for head in self.heads),
            split=self.split,
            start_seconds=start,
            end_seconds=end,
            entry=address(member),
            start_frame=first,
            end_frame=stop,
        )

    def _record(self, key: str, members: Members) -> dict[str, Any]:
        if "json" in members:
            try:
                record = json.loads(self._text(members["json"]))
            except json.JSONDecodeError as error:
                raise ValueError(f"{key}.json is not JSON: {error.msg}") from None
            if not isinstance(record, dict):
                raise ValueError(f"{key}.json holds no object with labels")
            if all(head in record for head in self.heads):
                return record
        if "cls" in members and len(self.heads) == 1:
            return {self.heads[0]: self._text(members["cls"]).strip()}
        raise ValueError(f"sample {key} has no {key}.cls, and no {key}.json with {', '.join(self.heads)}")

    def _label(self, key: str, record: dict[str, Any], head: str) -> str:
        label = str(record[head]).strip()
        if not label:
            raise ValueError(f"sample {key} has an empty label")
        return label

    def _text(self, member: tarfile.TarInfo) -> str:
        file = self.archive.extractfile(member)
        try:
            return "" if file is None else file.read().decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{member.name} is not UTF-8 text") from None
