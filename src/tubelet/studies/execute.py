"""Carrying a comparison out: the same tuning for every arm, then the final runs, in an order that stays balanced.

First comes what the runs stand on (``assets``): generated clips, and models to start from.
Tuning goes seed by seed through all settings, datasets and arms, and final runs seed by seed through all datasets and
arms, so that whatever is done at a stop is about equally much for each arm. Everything is read back from the folders of
the runs: a comparison that goes on after a stop makes the runs that are missing and comes to the same numbers.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tubelet.errors import ConfigError, Diverged
from tubelet.runs.result import RunResult
from tubelet.session.progress import duration
from tubelet.session.session import Session
from tubelet.studies.arms import FIRST_SEED, FIRST_TUNING_SEED, Arm
from tubelet.studies.assets import Assets
from tubelet.studies.estimate import Estimate, estimate, read_estimate
from tubelet.studies.items import COMPARED, TestItem
from tubelet.studies.jobs import Job, make_job, start_job
from tubelet.studies.tuning import Choice, Setting, TuningGrid, choose, extended, settings_of
from tubelet.studies.workers import Shares, Workers


@dataclass(frozen=True, kw_only=True)
class Executed:
    """The runs of a comparison, all done."""

    fingerprints: dict[str, str]  # of the data of each dataset
    splits: dict[str, dict[str, tuple[int, int]]]  # of each dataset: items of each split, fewest and most of the arms
    grids: dict[str, TuningGrid]  # by dataset, as they were in the end
    choices: dict[str, dict[str, Choice]]  # by dataset and arm
    final: tuple[Job, ...]  # at the best setting of each arm
    one_setting: tuple[Job, ...]  # at the setting that is the same for all
    starts: tuple[Job, ...] = ()  # the models that arms start from
    groups: dict[str, dict[TestItem, str]] = field(default_factory=dict)  # of each dataset: what is drawn together
    estimate: Estimate | None = None  # of the time, before the first run


def execute(assets: Assets, workers: Workers, session: Session) -> Executed:
    """Make all runs of the comparison that are missing.

    Raises:
        TubeletError: a run failed otherwise than by diverging; what is done is kept.
    """
    return _Execution(assets, workers, session).execute()


class _Execution:
    def __init__(self, assets: Assets, workers: Workers, session: Session) -> None:
        self.assets, self.comparison, self.workers = assets, assets.comparison, workers
        self.session, self.progress = session, session.progress
        self.num_done, self.num_made, self.began = 0, 0, time.monotonic()

    def execute(self) -> Executed:
        starts, expected = self.prepare()
        fingerprints = {name: self.assets.fingerprint(name) for name in self.comparison.datasets}
        grids, choices = self.tune()
        chosen = {(dataset, arm): c.setting for dataset, of in choices.items() for arm, c in of.items()}
        final = list(self.final_jobs(chosen))
        same = dict.fromkeys(chosen, tuple((self.comparison.one_setting or {}).items()))
        at_one = [] if self.comparison.one_setting is None else list(self.final_jobs(same))
        at_one = [job for job in at_one if job.arm in self.comparison.arms_at_one_setting]
        by_seed = sorted([*final, *at_one], key=lambda job: job.seed)  # a stable sort: balanced within each seed
        num_tuned = sum(choice.num_runs for of_arms in choices.values() for choice in of_arms.values())
        self.make(by_seed, num_before=num_tuned, num_later=0, phase="final runs")
        return Executed(
            fingerprints=fingerprints,
            splits={name: self.assets.splits(name) for name in self.comparison.datasets},
            grids=grids,
            choices=choices,
            final=tuple(final),
            one_setting=tuple(at_one),
            starts=tuple(starts),
            groups={name: self.assets.groups(name) for name in self.comparison.datasets},
            estimate=expected,
        )

    def estimated(self) -> Estimate | None:
        """How long all runs take; of a comparison that goes on, as it was at first. None means that nobody asked."""
        known = read_estimate(self.assets.out)
        if known is None:
            grid = self.comparison.tuning.grid
            grids = {name: dict(grid) for name in self.comparison.datasets}
            first = tuple((key, values[0]) for key, values in grid.items())
            of_arms = {(name, arm): first for name in grids for arm in self.comparison.running}
            jobs = [*self.start_jobs(), *self.tuning_jobs(grids), *self.final_jobs(of_arms)]
            if not any(job.is_done for job in jobs):
                known = estimate(jobs, len(self.workers.devices), self.assets.out, self.session)
        if known is not None:
            self.progress.note(known.text)
        return known

    def generate(self) -> None:
        """Write the clips that the comparison generates."""
        advance = self.progress.advance
        self.assets.generate(lambda name, done, total: advance(done, total, f"generating clips: {name}"))

    def start_jobs(self) -> list[Job]:
        """The models to start from."""
        needed = ((dataset, self.assets.needed_starts(dataset)) for dataset in self.comparison.datasets)
        return [start_job(self.assets, dataset, name) for dataset, names in needed for name in names]

    def prepare(self) -> tuple[list[Job], Estimate | None]:
        """Generate clips, estimate the time, and train the models to start from.

        Raises:
            Diverged: one of these models did.
        """
        self.generate()
        for line in self.assets.check():
            self.progress.note(line)
        expected, starts = self.estimated(), self.start_jobs()
        self.make(starts, num_before=0, num_later=0, phase="models to start from")
        for job in starts:
            assert job.result is not None  # just made
            if job.result.diverged is not None:
                raise Diverged(f"{job.name}: {job.result.diverged}; set its optim.lr in starts.{job.arm}.fields")
        return starts, expected

    def tune(self) -> tuple[dict[str, TuningGrid], dict[str, dict[str, Choice]]]:
        """Grids as they have grown, and the best setting of each arm on each dataset."""
        comparison = self.comparison
        grids: dict[str, TuningGrid] = {dataset: dict(comparison.tuning.grid) for dataset in comparison.datasets}
        num_final = len(comparison.running) * len(comparison.datasets) * comparison.num_seeds
        if comparison.one_setting is not None:
            num_final += len(comparison.arms_at_one_setting) * len(comparison.datasets) * comparison.num_seeds
        while True:
            jobs = list(self.tuning_jobs(grids))
            self.make(jobs, num_before=0, num_later=num_final, phase="tuning")
            choices = {dataset: self.choices(jobs, dataset, grids[dataset]) for dataset in grids}
            grown = {d: extended(grids[d], comparison.tuning, list(choices[d].values())) for d in grids}
            if grown == grids:
                return grids, choices
            for dataset in (d for d in grids if grown[d] != grids[d]):
                self.progress.note(f"{dataset}: a best value lies at the edge of the grid, which grows for all arms")
            grids = grown

    def tuning_jobs(self, grids: dict[str, TuningGrid]) -> Iterator[Job]:
        seeds = range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + self.comparison.tuning.num_seeds)
        settings = {dataset: settings_of(grid) for dataset, grid in grids.items()}
        for seed in seeds:
            for position in range(max(map(len, settings.values()))):
                for dataset, of_dataset in settings.items():
                    for arm in self.comparison.tuned if position < len(of_dataset) else ():
                        yield self.job(dataset, arm, of_dataset[position], seed, is_tested=False)

    def final_jobs(self, settings: dict[tuple[str, str], Setting]) -> Iterator[Job]:
        for seed in range(FIRST_SEED, FIRST_SEED + self.comparison.num_seeds):
            for (dataset, arm), setting in settings.items():
                yield self.job(dataset, arm, setting, seed, is_tested=True)

    def job(self, dataset: str, arm: str, setting: Setting, seed: int, *, is_tested: bool) -> Job:
        return make_job(self.comparison, self.assets, dataset, arm, setting, seed, is_tested=is_tested)

    def choices(self, jobs: Sequence[Job], dataset: str, grid: TuningGrid) -> dict[str, Choice]:
        metric = self.comparison.metric_on(dataset)
        scores: dict[str, dict[Setting, list[float | None]]] = {arm: {} for arm in self.comparison.tuned}
        for job in (job for job in jobs if job.dataset == dataset):
            result = job.result
            assert result is not None  # just made
            value = result.metrics.get(metric)
            if value is None and result.diverged is None:
                raise ConfigError(f"{job.name}: the validation split does not have the metric {metric}")
            scores[job.arm].setdefault(job.setting, []).append(value)
        is_lower_better = COMPARED.decisive(metric).is_lower_better
        found = {arm: choose(grid, of_arm, is_lower_better=is_lower_better) for arm, of_arm in scores.items()}
        return {name: self._choice(arm, name, found) for name, arm in self.comparison.running.items()}

    @staticmethod
    def _choice(arm: Arm, name: str, found: Mapping[str, Choice]) -> Choice:
        """Of an arm that is not tuned itself that of another, for which it took no run."""
        if arm.tuned_as is None:
            return found[name]
        return dataclasses.replace(found[arm.tuned_as], num_runs=0, num_diverged=0)

    def make(self, jobs: Sequence[Job], *, num_before: int, num_later: int, phase: str) -> None:
        """Make what is missing of ``jobs``; a run that stands in it twice is made once."""
        by_folder = {job.folder: job for job in jobs}
        missing = [job for job in by_folder.values() if not job.is_done]
        self.num_done = num_before + len(by_folder) - len(missing)
        total = self.num_done + len(missing) + num_later

        def report(shares: Shares) -> None:
            running = f": {'; '.join(sorted(shares))}" if shares else ""
            done = int(self.num_done + sum(shares.values()))
            self.progress.advance(done, total, f"{phase}{running}{self.left(shares, total)}")

        def done(job: Job, result: RunResult) -> None:
            self.num_done, self.num_made = self.num_done + 1, self.num_made + 1
            metric = self.comparison.metric_on(job.dataset)
            value = result.metrics.get(metric)
            end = f"validation {metric} {value:.3f}" if value is not None else "diverged" if result.diverged else "done"
            self.progress.note(f"[{self.num_done}/{total}] {job.name}: {end}, {result.train_seconds:.0f} s")

        self.workers.run(missing, done, report)

    def left(self, shares: Shares, total: int) -> str:
        """The time left, from the runs made in this session."""
        made = self.num_made + sum(shares.values())
        if made < 0.5:
            return ""
        seconds = (time.monotonic() - self.began) / made * (total - self.num_done - sum(shares.values()))
        return f"; about {duration(seconds)} left"
