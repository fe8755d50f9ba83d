"""Comparisons carried out in the process of the test, which sees the order of the runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from tubelet.comparison.arms import Comparison
from tubelet.comparison.execute import Executed, execute
from tubelet.comparison.jobs import Job
from tubelet.comparison.materials import Materials
from tubelet.comparison.workers import Shares, Workers, make_run
from tubelet.outcome import Outcome
from tubelet.training.reporter import NoReporter

CPU = torch.device("cpu")


class InThisProcess(Workers):
    """Makes the runs one after another, here; remembers their order."""

    def __init__(self) -> None:
        super().__init__(["cpu"], 1, lambda: None)
        self.made: list[Job] = []

    def run(
        self,
        jobs: Sequence[Job],
        on_done: Callable[[Job, Outcome], None],
        on_share: Callable[[Shares], None] = lambda shares: None,
    ) -> None:
        for job in jobs:
            outcome = make_run(job, CPU, NoReporter())
            self.made.append(job)
            on_share({job.name: 0.5})
            on_done(job, outcome)


def carried_out(comparison: Comparison, out: Path) -> tuple[Executed, InThisProcess, list[str]]:
    workers, told = InThisProcess(), list[str]()
    materials = Materials(comparison, out)
    return execute(materials, workers, lambda done, total, text: told.append(text), lambda _: None), workers, told
