"""Comparisons carried out in the process of the test, which sees the order of the runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from tubelet.runs.result import Outcome
from tubelet.session.progress import NoReporter
from tubelet.studies.arms import Comparison
from tubelet.studies.assets import Assets
from tubelet.studies.execute import Executed, execute
from tubelet.studies.jobs import Job
from tubelet.studies.workers import Shares, Workers, make_run

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
    assets = Assets(comparison, out)
    return execute(assets, workers, lambda done, total, text: told.append(text), lambda _: None), workers, told
