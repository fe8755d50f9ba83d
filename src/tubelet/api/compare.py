"""``tubelet.compare``: arms with the same tuning budget and several seeds, and a report."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from tubelet import config
from tubelet.api.comparison_data import data_overrides
from tubelet.errors import ConfigError
from tubelet.files import write_atomically
from tubelet.report.comparison_report import write_comparison_report
from tubelet.runs.fast_fp32 import products_of
from tubelet.runs.folder import kept_rules, rules_note
from tubelet.session.console_progress import ConsoleProgress
from tubelet.session.device import choose_device
from tubelet.session.folder_lock import locked
from tubelet.session.progress import Progress, duration
from tubelet.session.session import Session
from tubelet.studies.arms import Comparison, load_comparison
from tubelet.studies.assets import Assets
from tubelet.studies.execute import Executed, execute
from tubelet.studies.folder import CONTENT, DEVICE, check_folder
from tubelet.studies.results import ComparisonResult, gather
from tubelet.studies.timing import Cost, measure_costs
from tubelet.studies.workers import Workers
from tubelet.types import Device

RESULT = "result.json"
Size = Literal["quick", "full"]


@dataclass(frozen=True, kw_only=True)
class ComparisonOptions:
    """How large a comparison is."""

    size: Size | None = None  # None means its default size
    num_seeds: int | None = None  # final runs of each arm; None means as the comparison says
    folds: int | None = None  # cross-validation in place of seeds: each final run tests another part of the groups
    jobs: int | None = None  # runs at once; None means one per GPU, or per CPU core


def compare(
    name: str | Path,
    data: Sequence[str | Path] = (),
    *,
    out: str | Path | None = None,
    device: Device = "auto",
    progress: bool = True,
    **options: Any,
) -> ComparisonResult:
    """Run a comparison, or go on with it, and write its report.

    Runs are made by processes of their own, so that a script needs its code under ``if __name__ == "__main__":``.

    Args:
        name: a shipped comparison, or a YAML file.
        data: datasets of the comparison by name, .npz volumes, or videos. Empty means all that it names.
        out: its folder. None means ``comparisons/NAME``, with data ``comparisons/NAME-DATA``.
        device: "auto" is the first of CUDA, MPS and CPU that is there.
        progress: report on stderr.
        options: fields of :class:`ComparisonOptions`, such as ``size="quick"`` or ``jobs=2``.

    Raises:
        TubeletError: comparison, data or folder cannot be used.
        Stopped: Ctrl-C or SIGTERM; what was computed stays, and the same call goes on.
    """
    asked = config.from_dict(ComparisonOptions, options, where="compare")
    words = tuple(map(str, data))
    comparison = choose_comparison(str(name), words, asked)
    folder = Path("comparisons") / folder_name(str(name), asked, comparison, words) if out is None else Path(out)
    with ConsoleProgress(folder.resolve().name, is_quiet=not progress) as shown:
        return carry_out(comparison, folder, process_devices(device, asked.jobs), shown, "tubelet.compare(...)")


def choose_comparison(name: str, data: Sequence[str], options: ComparisonOptions) -> Comparison:
    """The comparison at the size that is asked for, on the data that are asked for."""
    overrides: list[tuple[str, Any]] = []
    if options.folds is not None:
        if options.num_seeds is not None:
            raise ConfigError("--folds and --seeds exclude each other: every fold is one final run")
        overrides += [("folds", options.folds), ("num_seeds", options.folds)]
    if options.num_seeds is not None:
        overrides.append(("num_seeds", options.num_seeds))
    if data:
        overrides += data_overrides(load_comparison(name), load_comparison(name, size=options.size), data)
    return load_comparison(name, size=options.size, overrides=overrides)


def folder_name(name: str, options: ComparisonOptions, comparison: Comparison, data: Sequence[str]) -> str:
    """Of the comparison where none is given: data of another name, or another size, have another report."""
    datasets = list(comparison.datasets) if data else []
    return "-".join(part for part in (Path(name).stem, options.size, *datasets) if part)


def process_devices(device: Device, jobs: int | None) -> list[str]:
    """The device of each worker process: one per GPU or per core, or so many."""
    chosen = choose_device(device)
    if jobs is not None and jobs < 1:
        raise ConfigError(f"--jobs must be at least 1, got {jobs}")
    if chosen.type == "cuda":
        number = torch.cuda.device_count()
        return [f"cuda:{i % number}" for i in range(jobs or number)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return [chosen.type] * (jobs or (cores if chosen.type == "cpu" else 1))


def carry_out(
    comparison: Comparison, out: Path, devices: list[str], progress: Progress, command: str
) -> ComparisonResult:
    """Make all runs in ``out``, gather what they found, and write ``result.json`` and the report.

    Args:
        devices: of the worker processes, one each.
        command: what the report says that made it.
    """
    if rules := kept_rules(out):
        progress.note(f"note: {rules_note(out, rules)}")
        comparison = dataclasses.replace(comparison, fields={**rules, **comparison.fields})
    assets = Assets(comparison, out)
    assets.check(generated=False)  # before anything is written
    check_folder(comparison, out, torch.device(devices[0]).type)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        write_atomically(out / DEVICE, torch.device(devices[0]).type + "\n")
        write_atomically(out / CONTENT, config.dump_yaml(config.to_dict(comparison)))
        session = Session(device=torch.device(devices[0]), progress=progress)
        with session.signals:
            result = make_runs(assets, devices, session)
        content = config.to_dict(result) | {"command": command}
        write_atomically(out / RESULT, json.dumps(_finite(content), indent=2) + "\n")
        write_comparison_report(out, result, comparison, command=command)
    return result


def make_runs(assets: Assets, devices: list[str], session: Session) -> ComparisonResult:
    """Make all runs, then measure times, on the device of the session."""
    num_threads = 1  # whatever --jobs is: numbers must not depend on it
    with products_of(assets.out, session):
        with Workers(devices, num_threads, session) as workers:
            executed = execute(assets, workers, session)
        costs = _costs(executed, assets.out, num_threads, session)
    result = gather(assets.comparison, executed, costs)
    return dataclasses.replace(result, notes=(*result.notes, *_time_notes(executed)))


def _time_notes(executed: Executed) -> list[str]:
    """What was expected, and what the runs that stand in the result took."""
    if executed.estimate is None:
        return []
    jobs = {job.folder: job.result for job in (*executed.starts, *executed.final, *executed.one_setting)}
    seconds = sum(result.train_seconds for result in jobs.values() if result is not None)
    return [
        f"Time. Before the first run: {executed.estimate.text}. The models to start from and the final runs took "
        f"{duration(seconds)} of training, validation included; tuning comes on top."
    ]


def _costs(executed: Executed, out: Path, num_threads: int, session: Session) -> dict[str, dict[str, Cost]]:
    costs = {}
    for dataset, of_dataset in executed.choices.items():
        first = {job.arm: job for job in reversed(executed.final) if job.dataset == dataset}
        folder = out / "times" / dataset
        folder.mkdir(parents=True, exist_ok=True)
        arms = {arm: first[arm] for arm in of_dataset}
        costs[dataset] = measure_costs(arms, folder, session, num_threads=num_threads)
    return costs


def _finite(content: Any) -> Any:
    """Return plain data with null in place of NaN and infinity, which JSON cannot hold."""
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and content != content else content
