"""Several processes that each score their own rows have the metrics of the whole split, every video counted once."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch

from support import PROTOCOL, Notes, tiny_model
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.loader import Loader
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.read import read_manifest
from tubelet.errors import DataError
from tubelet.evaluation.evaluate import Evaluation, evaluate
from tubelet.session.processes import Processes
from tubelet.session.progress import NoProgress, Progress
from tubelet.session.session import Session

T = TypeVar("T")
NAMES = next(iter(PROTOCOL.labels.values()))


@pytest.fixture
def split(tmp_path: Path) -> Manifest:
    """Ten volumes, of which two cannot be read."""
    for i in range(10):
        file = tmp_path / NAMES[i % len(NAMES)] / f"{i}.npy"
        file.parent.mkdir(exist_ok=True)
        np.save(file, np.random.default_rng(i).integers(0, 256, (8, 20, 20, 3), dtype=np.uint8))
        if i in (3, 4):
            file.write_bytes(b"not a volume")
    return read_manifest(tmp_path, ManifestConfig(val_fraction=0.0, test_fraction=0.0))


def by_processes(split: Manifest, number: int, failure_budget: float = 0.2) -> tuple[list[Evaluation], list[str]]:
    """The result of each of so many processes, and what the first of them is told."""
    torch.manual_seed(0)
    model, _ = tiny_model(len(NAMES))
    dataset, parts, notes = ClipDataset(split, PROTOCOL, "views"), defaultdict[int, dict[int, Any]](dict), Notes()

    class InTurn(Processes):
        """Gathers what the processes gave in their last turns, each time that something is gathered."""

        times = 0

        def gather(self, value: T) -> list[T]:
            self.times += 1
            parts[self.times][self.rank] = value
            return [parts[self.times][other] for other in sorted(parts[self.times])]

    def one(rank: int, progress: Progress) -> Evaluation:
        return evaluate(
            model,
            Loader(dataset, 2, rank=rank, num_processes=number),
            PROTOCOL,
            Session(processes=InTurn(rank, number), progress=progress),
            split="train",
            failure_budget=failure_budget,
        )

    for rank in range(number):  # until all parts are known
        one(rank, NoProgress())
    return [one(rank, notes) for rank in range(number)], notes.notes


@pytest.mark.parametrize("number", [2, 3, 9])
def test_every_process_has_the_result_of_one(split: Manifest, number: int) -> None:
    (alone,), told = by_processes(split, 1)
    together, told_first = by_processes(split, number)
    for result in together:
        for name in ("num_videos", "num_failed", "failed", "top1", "confusion"):
            assert result.to_dict()[name] == alone.to_dict()[name]
        assert result.samples == alone.samples
        torch.testing.assert_close(result.probs, alone.probs, atol=1e-6, rtol=0)
    assert len(alone.samples) == 8
    assert sorted(told_first) == sorted(told)
    assert len(told) == 2


def test_failures_of_all_processes_count_against_the_budget_of_the_split(split: Manifest) -> None:
    with pytest.raises(DataError, match="2 of 10 videos of split 'train' cannot be read"):
        by_processes(split, 2, failure_budget=0.1)
