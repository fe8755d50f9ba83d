"""Batches of a dataset, read by worker processes, in an order that depends on nothing but (seed, epoch)."""

from __future__ import annotations

import itertools
import time
import weakref
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from types import TracebackType

import torch

from tubelet.data.dataset import ClipDataset, Item, keyed_generator
from tubelet.data.workers import Failure, Result, WorkerPool, read_or_fail
from tubelet.errors import ConfigError
from tubelet.types import Batch


class Loader:
    """Reads batches; with the same dataset and seed they are bit-equal for any number of workers.

    Args:
        dataset: what to read.
        batch_size: rows of one batch.
        num_workers: reader processes; 0 reads in this process. One batch is read ahead.
        seed: with the epoch it keys the order of training.

    Use as a context manager, or call ``close``. A row that cannot be read keeps its place in the batch with zero
    pixels and weight 0, and one line in ``Batch.failures``.
    """

    def __init__(self, dataset: ClipDataset, batch_size: int, num_workers: int = 0, seed: int = 0) -> None:
        if batch_size < 1 or num_workers < 0:
            raise ConfigError(f"batch_size must be positive and num_workers not negative: {batch_size}, {num_workers}")
        self.dataset, self.batch_size, self.num_workers, self.seed = dataset, batch_size, num_workers, seed
        self.wait_seconds = 0.0  # spent so far until batches were ready, all iterators together
        self._pool = WorkerPool(dataset, num_workers) if num_workers else None
        self._close = weakref.finalize(self, self._pool.close) if self._pool else None

    def __enter__(self) -> Loader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the worker processes. Calling it again does nothing."""
        if self._close is not None:
            self._close()

    @property
    def num_videos(self) -> int:
        """Rows of the dataset."""
        return len(self.dataset)

    @property
    def steps_per_epoch(self) -> int:
        """Training batches of one epoch: full ones only, unless all rows together do not fill one."""
        return max(1, len(self.dataset) // self.batch_size)

    def train_batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch in their random order.

        Args:
            epoch: counted from 0; another epoch has another order, other clips and other crops.
            start: batches to leave out at the beginning, without reading them.
        """
        order = keyed_generator(self.seed, epoch).permutation(len(self.dataset)).tolist()
        groups = _grouped(order, self.batch_size)[: self.steps_per_epoch]
        return self._batches(groups[start:], epoch)

    def eval_batches(self) -> Iterator[Batch]:
        """All rows in order; the last batch may be smaller."""
        return self._batches(_grouped(list(range(len(self.dataset))), self.batch_size), epoch=0)

    def reading(self) -> dict[int, tuple[str, float]]:
        """What each busy worker reads, and for how many seconds."""
        return self._pool.reading() if self._pool else {}

    def kill(self, worker: int) -> None:
        """Kills the process of a worker; the row it was reading becomes a failure and another process takes over."""
        if self._pool:
            self._pool.kill(worker)

    def _batches(self, groups: Sequence[Sequence[int]], epoch: int) -> Iterator[Batch]:
        with closing(self._results([index for group in groups for index in group], epoch)) as results:
            for group in groups:
                began = time.perf_counter()
                batch = self._collate(group, list(itertools.islice(results, len(group))))
                self.wait_seconds += time.perf_counter() - began
                yield batch

    def _results(self, indices: Sequence[int], epoch: int) -> Generator[Result, None, None]:
        """Rows in the order asked for; with workers, one batch and one row per worker ahead."""
        if self._pool is None:
            yield from (read_or_fail(self.dataset, index, epoch) for index in indices)
            return
        ahead: deque[Future[Result]] = deque()
        try:
            for index in indices:
                ahead.append(self._pool.submit(index, epoch))
                if len(ahead) > self.batch_size + self.num_workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()

    def _collate(self, group: Sequence[int], results: Sequence[Result]) -> Batch:
        clips = torch.zeros(len(group), *self.dataset.item_shape, dtype=torch.uint8)
        read = [result if isinstance(result, Item) else None for result in results]
        for row, item in enumerate(read):
            if item is not None:
                clips[row] = item.pixels
        samples = self.dataset.manifest.samples
        labels = [item.labels if item else samples[index].labels for index, item in zip(group, read, strict=True)]
        heads = torch.tensor(labels, dtype=torch.int64)
        return Batch(
            clips=clips,
            labels=heads[:, 0] if heads.shape[1] == 1 else heads,
            weight=torch.tensor([float(item is not None) for item in read]),
            index=tuple(group),
            failures=tuple(result.line for result in results if isinstance(result, Failure)),
            notes=tuple(item.notes if item else () for item in read),
            seconds_covered=tuple(item.seconds_covered if item else 0.0 for item in read),
        )


def _grouped(order: list[int], size: int) -> list[list[int]]:
    return [order[start : start + size] for start in range(0, len(order), size)]
