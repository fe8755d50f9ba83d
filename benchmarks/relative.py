"""Time measured against a matrix product of the same moment, so that a busy or throttled machine cancels out.

Each run stands between two measurements of one large product. Its *cost* is the number of multiply-adds which that
product would have done in the time of the run: the ratio of two costs compares two runs, and the multiply-adds of a
model over its cost are the share of the product's rate that it reaches.

Time is the CPU time of this process, for one thread on an idle machine the same as the time on the clock: what other
processes take is not counted. Runs of several threads are timed on the clock (``clock=time.perf_counter``).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from rich.progress import track

PRODUCT = (3137, 768, 3072)  # rows x inner x columns: the first MLP layer of ViViT-B/16x2 on 32 x 224 x 224
PRODUCTS_PER_MEASUREMENT = 5


@dataclass(frozen=True, kw_only=True)
class Runs:
    """All repetitions of one contestant, in order."""

    seconds: tuple[float, ...]  # of CPU time, or on the clock that was asked for
    product_rates: tuple[float, ...]  # multiply-adds per second of the matrix product around each run

    @property
    def costs(self) -> list[float]:
        """Multiply-adds that the matrix product would have done in the time of each run."""
        return [seconds * rate for seconds, rate in zip(self.seconds, self.product_rates, strict=True)]

    def product_shares(self, macs: int) -> list[float]:
        """The share of the matrix product's rate that each run reaches, a run being ``macs`` multiply-adds."""
        return [macs / cost for cost in self.costs]


def measure_interleaved(
    contestants: Mapping[str, Callable[[], object]], repetitions: int, clock: Callable[[], float] = time.process_time
) -> dict[str, Runs]:
    """Run every contestant in turn, ``repetitions`` times after one round that is not counted."""
    product = _MatrixProduct(clock)
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for round_number in track(range(repetitions + 1), description=" | ".join(contestants)):
        for name, run in contestants.items():
            before = product.rate()
            elapsed = _seconds_of(run, clock)
            after = product.rate()
            if round_number > 0:
                seconds[name].append(elapsed)
                rates[name].append((before + after) / 2)
    return {name: Runs(seconds=tuple(seconds[name]), product_rates=tuple(rates[name])) for name in contestants}


def speedup(ours: Runs, other: Runs) -> float:
    """How many times as fast ours is: the median over rounds of the other's cost over ours."""
    return statistics.median(theirs / mine for theirs, mine in zip(other.costs, ours.costs, strict=True))


class _MatrixProduct:
    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        rows, inner, columns = PRODUCT
        self.macs = rows * inner * columns
        self.left, self.right = torch.randn(rows, inner), torch.randn(inner, columns)
        self.result = torch.empty(rows, columns)

    def rate(self) -> float:
        """Multiply-adds per second, median of a few products.

        They write to one result: allocating a new one takes up to a tenth longer, depending on what ran before.
        """
        return self.macs / statistics.median(
            _seconds_of(self._run, self.clock) for _ in range(PRODUCTS_PER_MEASUREMENT)
        )

    def _run(self) -> None:
        torch.mm(self.left, self.right, out=self.result)


def _seconds_of(run: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    run()
    return clock() - start
