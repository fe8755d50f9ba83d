"""What a checkpoint was trained on, by the content of the files: so that it is seen when it is scored on the same.

A checkpoint holds it in its provenance under ``trained_on``, and under ``init`` what its first weights were trained
on. Runs of versions before hold nothing of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.manifest.quarantine import row_path
from tubelet.data.manifest.segments import show_the_same

KEY = "trained_on"


@dataclass(frozen=True)
class TrainedOn:
    """The rows of a training split that are known by content: hash of the file and segment."""

    num_rows: int  # of the training split, known or not
    num_known: int  # of them, those whose file was read
    segments: dict[str, list[Sample]]  # of each hash; of a row only its segment counts

    @classmethod
    def of(cls, train: Manifest, contents: Mapping[str, str]) -> TrainedOn:
        """Those of a training split, given the hash of each file (``Loader.take_contents``)."""
        segments = defaultdict(list)
        for row in train.samples:
            if content := contents.get(row_path(row)):
                segments[content].append(row)
        return cls(len(train), sum(map(len, segments.values())), dict(segments))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrainedOn:
        """What ``to_dict`` gave."""
        segments = defaultdict(list)
        for word in data["contents"].split():
            content, _, bounds = word.partition("@")
            segments[content].append(_sample(bounds))
        return cls(data["num_rows"], data["num_known"], dict(segments))

    def to_dict(self) -> dict[str, Any]:
        """Plain data: a word for each row, its hash and behind @ its segment; sorted, so that it names no order."""
        words = {_word(content, row) for content, rows in self.segments.items() for row in rows}
        return {"num_rows": self.num_rows, "num_known": self.num_known, "contents": " ".join(sorted(words))}

    @classmethod
    def of_weights(cls, provenance: Mapping[str, Any]) -> TrainedOn | None:
        """What weights were trained on, and before them their first weights. None where no file of it is known."""
        recorded = [found[KEY] for found in (provenance, provenance.get("init") or {}) if found.get(KEY)]
        segments = defaultdict[str, list[Sample]](list)
        for known in map(cls.from_dict, recorded):
            for content, rows in known.segments.items():
                segments[content] += rows
        if not segments:
            return None
        num_rows, num_known = (sum(found[name] for found in recorded) for name in ("num_rows", "num_known"))
        return cls(num_rows, num_known, dict(segments))

    def seen(self, rows: Manifest, contents: Mapping[str, str]) -> list[Sample]:
        """The rows that show what the model was trained on: the same file, and half of a segment of it."""
        return [
            row
            for row in rows.samples
            if any(show_the_same(row, known) for known in self.segments.get(contents.get(row_path(row), ""), ()))
        ]


def without_contents(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The provenance of a checkpoint without the hashes of what it and its first weights were trained on."""
    bare = {**provenance}
    if KEY in bare:
        bare[KEY] = bare[KEY] | {"contents": ""}
    if bare.get("init"):
        bare["init"] = without_contents(bare["init"])
    return bare


def _word(content: str, row: Sample) -> str:
    bounds = ",".join("" if bound is None else f"{bound!r}" for bound in row.segment)
    return f"{content}@{bounds}" if row.is_segment else content


def _sample(bounds: str) -> Sample:
    start, end, first, stop = bounds.split(",") if bounds else ("",) * 4
    return Sample(
        path="",
        labels=(),
        split="train",
        start_seconds=float(start) if start else None,
        end_seconds=float(end) if end else None,
        start_frame=int(first) if first else None,
        end_frame=int(stop) if stop else None,
    )
