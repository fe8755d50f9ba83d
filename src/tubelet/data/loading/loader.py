"""Batches of a dataset, read by worker processes. Their order depends on (seed, epoch) alone."""

from __future__ import annotations

import itertools
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

from tubelet.data.clips.keyed_random import keyed_generator
from tubelet.data.clips.pixel_augmentation import UnaugmentedBatch
from tubelet.data.loading.balanced_sampler import balanced_shares, draw_balanced
from tubelet.data.loading.config import DECODE_TIMEOUT_SECONDS, Sampling
from tubelet.data.loading.dataset import Dataset, Item
from tubelet.data.loading.one_row import ClipReader, IndexedRow
from tubelet.data.loading.worker_pool import RowInProgress, WorkerPool
from tubelet.data.loading.worker_process import Failure
from tubelet.data.manifest.quarantine import row_path
from tubelet.errors import ConfigError, DataError
from tubelet.types import Batch

ItemOrFailure = Item | Failure
Targets = Callable[[Sequence[tuple[int, ...]]], Tensor]  # from the labels of the rows to those of the batch


class Loader:
    """Reads batches. For the same dataset and seed they are equal bit by bit, whatever the number of workers.

    Args:
        dataset: the rows to read.
        batch_size: videos of one batch. A training batch holds each of them ``augment.repeats`` times: all of them
            once, then all of them again.
        num_workers: reader processes. 0 reads in this process. The loader reads one batch ahead.
        seed: keys the order of training, together with the epoch.
        sampling: "natural" reads every row once per epoch. "balanced" draws as many rows, so that each class comes
            equally often.
        timeout_seconds: a worker that reads one row for longer is killed and replaced, and the row counts as failed.
            Without workers nothing can end a decoder that hangs.
        rank: number of this process, where several read one dataset together. Each reads its own rows of every
            training batch, and every ``num_processes``-th row in ``eval_batches``. The clip of a row does not depend
            on it.
        num_processes: number of processes that read together.
        targets: those of the task (``tubelet.tasks.task``). None means class indices.

    Use as a context manager, or call ``close``. A row that cannot be read keeps its place in the batch with zero
    pixels and weight 0, and one line in ``Batch.failures``.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        num_workers: int = 0,
        seed: int = 0,
        timeout_seconds: float = DECODE_TIMEOUT_SECONDS,
        sampling: Sampling = "natural",
        rank: int = 0,
        num_processes: int = 1,
        targets: Targets | None = None,
    ) -> None:
        if batch_size < 1 or num_workers < 0:
            raise ConfigError(f"batch_size must be positive and num_workers not negative: {batch_size}, {num_workers}")
        if targets is None and dataset.manifest.multi_label:
            raise ValueError("rows with several labels have no class index: give the targets of their task")
        self.targets = targets or class_indices
        self._rank, self._num_processes = rank, num_processes
        self.dataset, self.batch_size, self.num_workers, self.seed = dataset, batch_size, num_workers, seed
        self._shares = balanced_shares(dataset.manifest) if sampling == "balanced" else None
        self._reader, self._contents = ClipReader(dataset), dict[str, str]()
        self._hashed: set[str] | None = None  # files whose hash is known; None means that none is asked for
        self.wait_seconds = 0.0  # spent waiting for batches so far, all iterators together
        self._pool = WorkerPool(self._reader, num_workers, timeout_seconds) if num_workers else None
        # Ends the processes even if the loader is garbage-collected without ``close``.
        self._close = weakref.finalize(self, self._pool.close) if self._pool else None

    def __enter__(self) -> Loader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes. A second call does nothing."""
        if self._close is not None:
            self._close()

    def hash_files(self) -> None:
        """Hash every file with the first row that is read of it, from the first batch on, for ``take_contents``."""
        self._hashed = set()

    def take_contents(self) -> dict[str, str]:
        """The hashes of the files that were read since the last call, by the file of their rows (``row_path``)."""
        taken, self._contents = self._contents, {}
        return taken

    @property
    def num_videos(self) -> int:
        """Rows of the dataset."""
        return len(self.dataset)

    @property
    def num_eval_videos(self) -> int:
        """Rows that ``eval_batches`` reads in this process."""
        return len(range(self._rank, len(self.dataset), self._num_processes))

    @property
    def clips_per_step(self) -> int:
        """Clips of one training batch, all processes together."""
        return min(self.batch_size, len(self.dataset)) * self.dataset.augment.repeats

    @property
    def steps_per_epoch(self) -> int:
        """Training batches of one epoch. A batch that is not full is left out, unless it is the only one."""
        return max(1, len(self.dataset) // self.batch_size)

    def train_batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch in random order, with the rows of this process.

        Args:
            epoch: counted from 0. Each epoch has its own order, clips and crops.
            start: number of batches to skip at the beginning without reading them, for a run that resumes.
        """
        # Every process draws the same order and reads its slice of each batch, so that the clips of a step do not
        # depend on the number of processes.
        rng = keyed_generator(self.seed, epoch)
        if self._shares is None:
            order = rng.permutation(len(self.dataset))
        else:
            order = draw_balanced(self._shares, rng, self.dataset.augment.repeats)
        copies = np.arange(self.dataset.augment.repeats)[:, None] * len(self.dataset)
        own = rows_of_process(self.clips_per_step, self._rank, self._num_processes)

        def group(step: int) -> list[int]:
            rows = order[step * self.batch_size : (step + 1) * self.batch_size]
            indices: list[int] = (copies + rows).reshape(-1)[own].tolist()
            return indices

        return self._batches(range(start, self.steps_per_epoch), group, epoch)

    def eval_batches(self) -> Iterator[Batch]:
        """All rows of this process in order. The last batch may be smaller."""
        rows = range(self._rank, len(self.dataset), self._num_processes)
        size = self.batch_size
        return self._batches(range(0, len(rows), size), lambda first: list(rows[first : first + size]), epoch=0)

    def rows_in_progress(self) -> list[RowInProgress]:
        """The row of each busy worker, and how long it has taken."""
        return self._pool.rows_in_progress() if self._pool else []

    def kill(self, row: RowInProgress) -> bool:
        """Kill the process that reads this row. The row becomes a failure and a new process takes over.

        Returns:
            False if the row was done in the meantime; then nothing is killed.
        """
        return self._pool.kill(row) if self._pool else False

    def _batches(self, steps: range, group_of: Callable[[int], list[int]], epoch: int) -> Iterator[Batch]:
        """The batches of groups of rows, which are asked for twice: when they are sent and when they arrive."""
        with closing(self._results(itertools.chain.from_iterable(map(group_of, steps)), epoch)) as results:
            for group in map(group_of, steps):
                began = time.perf_counter()
                batch = self._collate(group, list(itertools.islice(results, len(group))))
                self.wait_seconds += time.perf_counter() - began
                yield batch

    def _results(self, indices: Iterable[int], epoch: int) -> Generator[ItemOrFailure, None, None]:
        """Rows in the order of ``indices``; workers read one batch and one row per worker ahead.

        Taking the results in the order of submission makes batches independent of which worker is faster.
        """
        if self._pool is None:
            yield from (_read_or_fail(self._reader, self._row(index, epoch)) for index in indices)
            return
        ahead: deque[Future[ItemOrFailure]] = deque()
        try:
            for index in indices:
                ahead.append(self._pool.submit(self._row(index, epoch)))
                if len(ahead) > self._clips_ahead:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:  # the caller may stop early: rows that it does not take need not be read
            for future in ahead:
                future.cancel()

    def _row(self, index: int, epoch: int) -> IndexedRow:
        """A row with all that a process needs to read it."""
        sample = self.dataset.manifest.samples[index % len(self.dataset)]
        is_hashed = self._hashed is not None and row_path(sample) not in self._hashed
        return IndexedRow(index, epoch, sample, is_hashed)

    @property
    def _clips_ahead(self) -> int:
        batch = self.batch_size if self.dataset.mode == "views" else self.clips_per_step // self._num_processes
        return batch + self.num_workers

    def _collate(self, group: Sequence[int], results: Sequence[ItemOrFailure]) -> Batch:
        clips = torch.zeros(len(group), *self.dataset.item_shape, dtype=self.dataset.item_dtype)
        numbers = torch.zeros(len(group), *self.dataset.numbers_shape, dtype=torch.int64)
        read = [result if isinstance(result, Item) else None for result in results]
        for row, item in enumerate(read):
            if item is not None:
                clips[row], numbers[row] = item.pixels, item.frame_numbers
        samples, group = self.dataset.manifest.samples, [index % len(self.dataset) for index in group]
        contents = {
            row_path(samples[index]): item.content
            for index, item in zip(group, read, strict=True)
            if item and item.content
        }
        self._contents |= contents
        if self._hashed is not None:
            self._hashed.update(contents)
        labels = [item.labels if item else samples[index].labels for index, item in zip(group, read, strict=True)]
        batch = Batch(
            clips=clips,
            labels=self.targets(labels),
            weight=torch.tensor([float(item is not None) for item in read]),
            frame_numbers=numbers,
            index=tuple(group),
            failures=tuple(result.line for result in results if isinstance(result, Failure)),
            notes=tuple(item.notes if item else () for item in read),
            seconds_covered=tuple(item.seconds_covered if item else 0.0 for item in read),
        )
        if not any(item and item.augmentation for item in read):
            return batch
        return UnaugmentedBatch(
            **vars(batch), augmentations=tuple(item.augmentation if item else None for item in read)
        )


def class_indices(labels: Sequence[tuple[int, ...]]) -> Tensor:
    """One class per video, or a column of classes per head; -1 where one is not known."""
    heads = torch.tensor(labels, dtype=torch.int64)
    return heads[:, 0] if heads.shape[1] == 1 else heads


def _read_or_fail(reader: ClipReader, row: IndexedRow) -> ItemOrFailure:
    """Read one row in this process."""
    try:
        return reader.run(row, lambda seconds: None)
    except DataError as error:
        return Failure(str(error))


def rows_of_process(num_rows: int, rank: int, num_processes: int) -> slice:
    """The rows of a batch that belong to one process. Shares differ by one row at most."""
    share, rest = divmod(num_rows, num_processes)
    start = rank * share + min(rank, rest)
    return slice(start, start + share + (rank < rest))
