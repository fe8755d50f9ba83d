"""What a comparison found, gathered from the folders of its runs: plain numbers, for the report and for programs.

Two protocols stand side by side where the comparison names one setting for all arms: "tuned", each arm at its own best
setting, which is what is concluded from; and "one setting", which shows what would have been concluded without tuning.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tubelet.data.manifest.failure_budget import UNREADABLE
from tubelet.data.manifest.quarantine import read_quarantine
from tubelet.errors import DataError, reason
from tubelet.studies.arms import Comparison
from tubelet.studies.convergence import area_under_curve, steps_to
from tubelet.studies.execute import Executed
from tubelet.studies.items import (
    COMPARED,
    TestItem,
    difference_name,
    kept_metrics,
)
from tubelet.studies.jobs import TEST, Job, views_file
from tubelet.studies.paired_items import paired_items
from tubelet.studies.statistics import Contrast, Interval, Pair, contrast, interval_of, sentence
from tubelet.studies.timing import Cost
from tubelet.studies.tuning import Choice, text_of
from tubelet.tasks.task import LOSS


@dataclass(frozen=True, kw_only=True)
class FinalRun:
    """One final run; of one that diverged nothing more is known."""

    seed: int
    folder: str  # below that of the comparison
    diverged: str | None
    test: dict[str, float | None] = field(default_factory=dict)  # figures of the test split
    confusion: tuple[tuple[int, ...], ...] = ()  # rows are the true class
    curve: dict[str, tuple[float, ...]] = field(default_factory=dict)  # validation: step, and the metric and loss at it
    num_steps: int = 0
    num_items: int = 0  # test items that were scored
    num_failed: int = 0  # test items that could not be read
    num_unread: int = 0  # training videos that could not be read


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """One arm on one dataset under one protocol."""

    arm: str
    about: str
    setting: str  # as text
    num_runs: int
    num_diverged: int
    test: dict[str, Interval]  # of each figure, over the seeds that did not diverge
    area: Interval  # under the validation curve of the metric
    steps_to: dict[str, tuple[int | None, ...]]  # level: steps of each sound run, none where it is not reached
    views: dict[str, Interval]  # temporal views: the metric on the test split with so many, over the seeds
    runs: tuple[FinalRun, ...]


@dataclass(frozen=True, kw_only=True)
class ProtocolResult:
    """All arms on one dataset under one protocol."""

    dataset: str
    protocol: str  # tuned, or one setting
    metric: str  # that is judged
    arms: tuple[ArmResult, ...]
    contrasts: tuple[Contrast, ...]
    sentences: tuple[str, ...]  # one per contrast

    @property
    def shown_metrics(self) -> list[str]:
        """The one that is judged, then those that are shown beside it, where every arm has them."""
        others = [metric.key for metric in COMPARED.columns("comparison") if metric.key != self.metric]
        tested = [arm for arm in self.arms if arm.test]  # not those that always diverged
        return [self.metric, *(key for key in others if tested and all(key in arm.test for arm in tested))]


@dataclass(frozen=True, kw_only=True)
class Looks:
    """What tuning an arm took."""

    dataset: str
    arm: str
    setting: str
    metric: str  # that decided
    score: float  # on the validation split, mean over the tuning seeds
    num_runs: int  # settings times seeds: how often the validation split decided between settings
    num_diverged: int
    at_edge: tuple[str, ...]  # axes whose best value is the last that was tried


@dataclass(frozen=True, kw_only=True)
class StartResult:
    """What a model that arms start from has learned."""

    dataset: str
    name: str
    about: str
    validation: dict[str, float | None]  # figures of its best checkpoint on its own validation split
    num_steps: int


@dataclass(frozen=True, kw_only=True)
class ComparisonResult:
    """Everything a comparison found."""

    question: str
    classes: dict[str, tuple[str, ...]]  # of each dataset
    splits: dict[str, dict[str, tuple[int, int]]]  # of each dataset: items of each split, fewest and most of the arms
    grids: dict[str, dict[str, tuple[float, ...]]]  # by dataset, as they had grown
    starts: tuple[StartResult, ...]
    looks: tuple[Looks, ...]
    protocols: tuple[ProtocolResult, ...]
    costs: dict[str, dict[str, Cost]]  # by dataset and arm
    num_diverged: int  # of all runs
    notes: tuple[str, ...]


def gather(comparison: Comparison, executed: Executed, costs: Mapping[str, Mapping[str, Cost]]) -> ComparisonResult:
    """The result of the runs.

    Raises:
        DataError: a file of a run is missing or damaged.
    """
    protocols = []
    for name, jobs in (("tuned", executed.final), ("one setting", executed.one_setting)):
        for dataset in comparison.datasets if jobs else ():
            of_dataset = [job for job in jobs if job.dataset == dataset]
            protocols.append(_protocol(comparison, name, dataset, of_dataset, executed.groups[dataset]))
    tuning = [choice for of_dataset in executed.choices.values() for choice in of_dataset.values()]
    # A run that both protocols share has one folder.
    final = {run.folder: run for p in protocols for arm in p.arms for run in arm.runs}
    return ComparisonResult(
        question=comparison.question,
        classes={dataset: _classes(executed, dataset) for dataset in comparison.datasets},
        splits=executed.splits,
        grids=executed.grids,
        starts=tuple(_start(comparison, job) for job in executed.starts),
        looks=tuple(
            _looks(dataset, comparison.metric_on(dataset), arm, choice)
            for dataset, of in executed.choices.items()
            for arm, choice in of.items()
            if comparison.arms[arm].tuned_as is None
        ),
        protocols=tuple(protocols),
        costs={dataset: dict(of) for dataset, of in costs.items()},
        num_diverged=sum(c.num_diverged for c in tuning) + sum(run.diverged is not None for run in final.values()),
        notes=(*comparison.notes, *_tuning_notes(comparison), *_fold_notes(comparison)),
    )


def _tuning_notes(comparison: Comparison) -> list[str]:
    taken = [f"{name} that of {arm.tuned_as}" for name, arm in comparison.running.items() if arm.tuned_as is not None]
    return [f"Not tuned themselves, these arms take the best setting of another: {', '.join(taken)}."] if taken else []


def _fold_notes(comparison: Comparison) -> list[str]:
    if not comparison.folds:
        return []
    return [
        f"Cross-validation: run s of each arm is trained without fold s of {comparison.folds} and tested on it, so "
        "that every item is tested once, and seeds stand for folds. Settings were chosen on rows of other folds, "
        "for all arms alike, which makes their figures slightly optimistic."
    ]


def _protocol(
    comparison: Comparison, name: str, dataset: str, jobs: Sequence[Job], groups: Mapping[TestItem, str]
) -> ProtocolResult:
    by_arm: dict[str, list[Job]] = {}
    for job in jobs:
        by_arm.setdefault(job.arm, []).append(job)
    metric = comparison.metric_on(dataset)
    arms = {arm: _arm(comparison, arm, of_arm) for arm, of_arm in by_arm.items()}
    judged = [(a, b) for a, b in comparison.judged if a in arms and b in arms]
    folded = comparison.folds > 0
    pairs = [_pair(metric, by_arm, (arms[a], arms[b]), groups, is_folded=folded) for a, b in judged]
    found = contrast(pairs)
    return ProtocolResult(
        dataset=dataset,
        protocol=name,
        metric=metric,
        arms=tuple(arms.values()),
        contrasts=tuple(found),
        sentences=tuple(sentence(one, difference_name(metric)) for one in found),
    )


def _arm(comparison: Comparison, arm: str, jobs: Sequence[Job]) -> ArmResult:
    metric = comparison.metric_on(jobs[0].dataset)
    runs = [_run(job, metric) for job in jobs]
    sound = [run for run in runs if run.diverged is None]
    figures = [name for name in kept_metrics() if sound and all(run.test.get(name) is not None for run in sound)]
    areas = [area_under_curve(run.curve["step"], run.curve[metric]) for run in sound]
    levels = {
        f"{level:g}": tuple(
            steps_to(
                run.curve["step"], run.curve[metric], level, is_lower_better=COMPARED.decisive(metric).is_lower_better
            )
            for run in sound
        )
        for level in comparison.levels_on(jobs[0].dataset)
    }
    return ArmResult(
        arm=arm,
        about=comparison.arms[arm].about,
        setting=text_of(jobs[0].setting),
        num_runs=len(runs),
        num_diverged=len(runs) - len(sound),
        test={name: _interval(name, [run.test[name] for run in sound]) for name in figures},
        area=_interval(metric, areas),
        steps_to=levels,
        views={str(number): _with_views(jobs, runs, number, metric) for number in jobs[0].test_views},
        runs=tuple(runs),
    )


def _with_views(jobs: Sequence[Job], runs: Sequence[FinalRun], number: int, metric: str) -> Interval:
    sound = [job for job, run in zip(jobs, runs, strict=True) if run.diverged is None]
    values = [_metrics(job, views_file(number))[metric] for job in sound]
    return _interval(metric, values)


def _interval(name: str, values: Sequence[float | None]) -> Interval:
    """Of one figure over the seeds; a mean lies within the bounds of its values."""
    found, (lowest, highest) = interval_of(np.array(values, dtype=np.float64)), COMPARED.decisive(name).bounds
    if math.isnan(found.low):
        return found
    return dataclasses.replace(found, low=max(found.low, lowest), high=min(found.high, highest))


def _run(job: Job, metric: str) -> FinalRun:
    result = job.result
    assert result is not None  # the comparison is over
    folder = "/".join(job.folder.parts[-4:])
    if result.diverged is not None:
        return FinalRun(seed=job.seed, folder=folder, diverged=result.diverged)
    content, unread = _test_metrics(job), job.folder / UNREADABLE
    return FinalRun(
        seed=job.seed,
        folder=folder,
        diverged=None,
        test={name: content.get(name) for name in kept_metrics()},
        confusion=tuple(tuple(row) for row in content["confusion"]),
        curve=_curve(job, metric),
        num_steps=result.num_steps,
        num_items=content["num_videos"],
        num_failed=content["num_failed"],
        num_unread=len(read_quarantine(unread)) if unread.is_file() else 0,
    )


def _pair(
    metric: str,
    jobs: Mapping[str, Sequence[Job]],
    arms: tuple[ArmResult, ArmResult],
    groups: Mapping[TestItem, str],
    *,
    is_folded: bool,
) -> Pair:
    """Seeds at which neither arm diverged, on the test items that all of their runs scored.

    Of a metric that is better when lower, values and differences have the other sign: larger is better for a pair.
    """
    sign = -1 if COMPARED.decisive(metric).is_lower_better else 1
    first, second = arms
    seeds = {r.seed for r in first.runs if r.diverged is None} & {r.seed for r in second.runs if r.diverged is None}
    values = [np.array([run.test[metric] for run in arm.runs if run.seed in seeds], dtype=np.float64) for arm in arms]
    differences = None
    if seeds:
        file = TEST.with_name("scores.csv")
        of_first, of_second = ([job.folder / file for job in jobs[arm.arm] if job.seed in seeds] for arm in arms)
        items = paired_items(metric, (of_first, of_second), groups, is_folded=is_folded)
        differences = items.differences
        values = values if items.values is None else list(items.values)
    return Pair(
        first=first.arm,
        second=second.arm,
        first_values=sign * values[0],
        second_values=sign * values[1],
        item_differences=None if differences is None else sign * differences,
        num_diverged=(first.num_diverged, second.num_diverged),
    )


def _start(comparison: Comparison, job: Job) -> StartResult:
    result = job.result
    assert result is not None  # the comparison is over
    return StartResult(
        dataset=job.dataset,
        name=job.arm,
        about=comparison.starts[job.arm].about,
        validation=result.metrics,
        num_steps=result.num_steps,
    )


def _looks(dataset: str, metric: str, arm: str, choice: Choice) -> Looks:
    return Looks(
        dataset=dataset,
        arm=arm,
        setting=text_of(choice.setting),
        metric=metric,
        score=choice.score,
        num_runs=choice.num_runs,
        num_diverged=choice.num_diverged,
        at_edge=choice.at_edge,
    )


def _classes(executed: Executed, dataset: str) -> tuple[str, ...]:
    for job in (job for job in executed.final if job.dataset == dataset):
        if (job.folder / TEST).is_file():
            return tuple(_test_metrics(job)["labels"])
    return ()


def _test_metrics(job: Job) -> dict[str, Any]:
    content = _metrics(job, TEST)
    if "confusion" not in content:
        raise DataError(f"{job.folder / TEST}: comparisons need one head with one label per video")
    return content


def _metrics(job: Job, name: Path) -> dict[str, Any]:
    file = job.folder / name
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{file}: cannot be read ({reason(error)}); remove {job.folder} and run the comparison again"
        ) from None
    return content


def _curve(job: Job, metric: str) -> dict[str, tuple[float, ...]]:
    """The validations of a run, those without a value left out."""
    names = ("step", *dict.fromkeys((metric, LOSS.key)))
    with (job.folder / "validation.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if all(row[name] for name in names)]
    return {name: tuple(float(row[name]) for row in rows) for name in names}
