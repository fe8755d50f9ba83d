"""Scores of some rows of a manifest, before anything is measured: in memory, and as a part that other calls read.

scores.safetensors   probs, uncalibrated and logits [N, K], labels as in ``Batch``; absent where no row was read
rows.json            the rows, the lines of those that could not be read, and the content of their files
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tubelet.errors import reason
from tubelet.files import write_atomically, write_tensors
from tubelet.inference.view_averaging import VideoScores, joined
from tubelet.session.shards import damaged_part

SCORES, ROWS = "scores.safetensors", "rows.json"


@dataclass(frozen=True, kw_only=True)
class ScoredVideos:
    """The scores of one process: ascending rows of the manifest with their probabilities and targets."""

    rows: tuple[int, ...]
    scores: VideoScores | None  # None where there is no row
    labels: Tensor  # as in ``Batch``
    failed: dict[int, str]  # row and line of each video that could not be read


def merged(parts: Sequence[ScoredVideos]) -> ScoredVideos:
    """Several parts as one, in the order of the manifest."""
    rows = [row for part in parts for row in part.rows]
    failed = {row: line for part in parts for row, line in part.failed.items()}
    scores = [part.scores for part in parts if part.scores is not None]
    order = sorted(range(len(rows)), key=rows.__getitem__)
    return ScoredVideos(
        rows=tuple(rows[i] for i in order),
        scores=joined(scores).take(order) if scores else None,
        labels=torch.cat([part.labels for part in parts if part.rows])[order] if rows else torch.empty(0),
        failed=dict(sorted(failed.items())),
    )


def write_scored(folder: Path, scored: ScoredVideos, contents: Mapping[str, str]) -> None:
    """Write a part. ``contents`` are those of ``Loader.take_contents``."""
    if scored.scores is not None:
        tensors = {field.name: getattr(scored.scores, field.name) for field in dataclasses.fields(VideoScores)}
        whole = {name: tensor.contiguous() for name, tensor in (*tensors.items(), ("labels", scored.labels))}
        write_tensors(folder / SCORES, whole)
    failed = [[row, line] for row, line in scored.failed.items()]
    content = {"rows": list(scored.rows), "failed": failed, "contents": dict(contents)}
    write_atomically(folder / ROWS, json.dumps(content, ensure_ascii=False) + "\n")


def read_scored(folder: Path) -> tuple[ScoredVideos, dict[str, str]]:
    """What ``write_scored`` wrote.

    Raises:
        DataError: it is not there as it was written.
    """
    try:
        content = json.loads((folder / ROWS).read_text(encoding="utf-8"))
        tensors = load_file(folder / SCORES) if content["rows"] else {}
        labels = tensors.pop("labels", torch.empty(0))
        scored = ScoredVideos(
            rows=tuple(content["rows"]),
            scores=VideoScores(**tensors) if tensors else None,
            labels=labels,
            failed={int(row): str(line) for row, line in content["failed"]},
        )
        return scored, content["contents"]
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise damaged_part(folder, reason(error)) from None
