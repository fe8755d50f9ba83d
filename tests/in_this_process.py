"""Comparisons carried out in the process of the test, which sees the order of the runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tubelet.runs.result import RunResult
from tubelet.session.progress import NoProgress
from tubelet.session.session import Session
from tubelet.studies.arms import Comparison
from tubelet.studies.assets import Assets
from tubelet.studies.execute import Executed, execute
from tubelet.studies.jobs import Job
from tubelet.studies.workers import Shares, Workers, make_run


class InThisProcess(Workers):
    """Makes the runs one after another, here; remembers their order."""

    def __init__(self) -> None:
        super().__init__(["cpu"], 1, Session())
        self.made: list[Job] = []

    def run(
        self,
        jobs: Sequence[Job],
        on_done: Callable[[Job, RunResult], None],
        on_share: Callable[[Shares], None] = lambda shares: None,
    ) -> None:
        for job in jobs:
            result = make_run(job, Session())
            self.made.append(job)
            on_share({job.name: 0.5})
            on_done(job, result)


def carried_out(comparison: Comparison, out: Path) -> tuple[Executed, InThisProcess, list[str]]:
    workers, told = InThisProcess(), list[str]()

    class Texts(NoProgress):
        def advance(self, done: int, total: int, text: str = "") -> None:
            told.append(text)

    return execute(Assets(comparison, out), workers, Session(progress=Texts())), workers, told
