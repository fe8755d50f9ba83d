"""``tubelet compare``: runs arms with the same tuning budget and several seeds, and writes a report."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from tubelet import config
from tubelet.commands.compare import Options
from tubelet.commands.console import ConsoleProgress, output_console, report_take_over
from tubelet.data.medmnist import MEDMNIST3D
from tubelet.errors import ConfigError, Stopped, nearest
from tubelet.files import write_atomically
from tubelet.recipe import EMBEDDED, load_recipe
from tubelet.report.comparison_report import write_comparison_report
from tubelet.report.comparison_tables import interval as interval_text
from tubelet.report.comparison_tables import warnings
from tubelet.runs.folder import kept_rules, rules_note
from tubelet.session.device import choose_device
from tubelet.session.folder_lock import locked
from tubelet.session.session import Session
from tubelet.studies.arms import Comparison, ComparisonDataset, Fields, list_comparisons, load_comparison
from tubelet.studies.assets import Assets
from tubelet.studies.execute import Executed, execute
from tubelet.studies.folder import CONTENT, DEVICE, check_folder
from tubelet.studies.results import ComparisonResult, gather
from tubelet.studies.timing import Cost, measure_costs
from tubelet.studies.workers import Workers


def run(options: Options, argv: list[str]) -> int:
    if options.name is None:
        for name, question in list_comparisons().items():
            print(f"{name:<24}{question}")
        return 0
    comparison, devices = chosen(options), process_devices(options)
    out = options.out or Path("comparisons") / folder_name(options, comparison)
    if rules := kept_rules(out):
        print(f"note: {rules_note(out, rules)}", file=sys.stderr)
        comparison = dataclasses.replace(comparison, fields={**rules, **comparison.fields})
    assets = Assets(comparison, out)
    assets.check(generated=False)  # before anything is written
    check_folder(comparison, out, torch.device(devices[0]).type)
    if options.take_over:
        report_take_over(out)
    command = shlex.join(["tubelet", "compare", *argv])
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        write_atomically(out / DEVICE, torch.device(devices[0]).type + "\n")
        write_atomically(out / CONTENT, config.dump_yaml(config.to_dict(comparison)))
        try:
            with ConsoleProgress(out.resolve().name) as progress:
                session = Session(device=torch.device(devices[0]), progress=progress)
                with session.signals:
                    result = make_runs(assets, devices, session)
        except Stopped as stop:
            raise Stopped(f"{out}: {stop}; go on with `{command}`", stop.signal_number) from None
        content = config.to_dict(result) | {"command": command}
        write_atomically(out / "result.json", json.dumps(_finite(content), indent=2) + "\n")
        report = write_comparison_report(out, result, comparison, command=command)
    if options.json:
        print(json.dumps(_finite(content), indent=2))
    else:
        print_result(result)
    print(f"report: {report.resolve()}", file=sys.stderr)
    return 0


def chosen(options: Options) -> Comparison:
    """Return the comparison with the options of the command line."""
    if options.quick and options.full:
        raise ConfigError("--quick and --full exclude each other")
    size = "quick" if options.quick else "full" if options.full else None
    overrides: list[tuple[str, Any]] = []
    if options.folds is not None:
        if options.seeds is not None:
            raise ConfigError("--folds and --seeds exclude each other: every fold is one final run")
        overrides += [("folds", options.folds), ("num_seeds", options.folds)]
    if options.seeds is not None:
        overrides.append(("num_seeds", options.seeds))
    assert options.name is not None
    if options.data:
        overrides += _data_overrides(load_comparison(options.name), load_comparison(options.name, size=size), options)
    return load_comparison(options.name, size=size, overrides=overrides)


def make_runs(assets: Assets, devices: list[str], session: Session) -> ComparisonResult:
    """Make all runs, then measure times, on the device of the session."""
    num_threads = 1  # whatever --jobs is: numbers must not depend on it
    with Workers(devices, num_threads, session) as workers:
        executed = execute(assets, workers, session)
    costs = _costs(executed, assets.out, num_threads, session)
    return gather(assets.comparison, executed, costs)


def _costs(executed: Executed, out: Path, num_threads: int, session: Session) -> dict[str, dict[str, Cost]]:
    costs = {}
    for dataset, of_dataset in executed.choices.items():
        first = {job.arm: job for job in reversed(executed.final) if job.dataset == dataset}
        folder = out / "times" / dataset
        folder.mkdir(parents=True, exist_ok=True)
        arms = {arm: first[arm] for arm in of_dataset}
        costs[dataset] = measure_costs(arms, folder, session, num_threads=num_threads)
    return costs


def process_devices(options: Options) -> list[str]:
    """Return the device of each worker process: one per GPU or per core, or --jobs of them."""
    device = choose_device(options.device)
    if options.jobs is not None and options.jobs < 1:
        raise ConfigError(f"--jobs must be at least 1, got {options.jobs}")
    if device.type == "cuda":
        number = torch.cuda.device_count()
        return [f"cuda:{i % number}" for i in range(options.jobs or number)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return [device.type] * (options.jobs or (cores if device.type == "cpu" else 1))


def _data_overrides(whole: Comparison, sized: Comparison, options: Options) -> list[tuple[str, Any]]:
    """What makes a comparison run on the data of ``--data``.

    Args:
        whole: the comparison at its default size, which names all its datasets.
        sized: the same at the size asked for.
    """
    known = {**whole.datasets, **sized.datasets}
    templates = {_reads_volumes(whole, of): name for name, of in reversed(known.items())}  # the first of each kind
    datasets: dict[str, ComparisonDataset] = {}
    alike: dict[str, str] = {}  # dataset of the comparison that one is read like
    for word in options.data:
        name, dataset, like = (word, known[word], word) if word in known else _file_dataset(word, known, templates)
        if name in datasets:
            raise ConfigError(f"--data: two datasets are called '{name}'; rename one, or compare them one by one")
        datasets[name], alike[name] = dataset, like
    overrides: list[tuple[str, Any]] = [("datasets", config.to_dict(datasets))]
    for kind, owners in (("arms", whole.arms), ("starts", whole.starts)):
        for owner, of in owners.items():
            new = {name: of.datasets[like] for name, like in alike.items() if like in of.datasets and name not in known}
            if new:  # what an arm needs on such data
                overrides.append((f"{kind}.{owner}.datasets", {**of.datasets, **new}))
    return overrides


def _reads_volumes(comparison: Comparison, dataset: ComparisonDataset) -> bool:
    source = dataset.fields.get("data.source") or load_recipe(dataset.base or comparison.base).data.source
    return str(source).startswith(EMBEDDED)


def _file_dataset(
    word: str, known: dict[str, ComparisonDataset], templates: dict[bool, str]
) -> tuple[str, ComparisonDataset, str]:
    """Data of the user's, read as the comparison reads its own of the same kind: name, dataset, and which that is."""
    path = Path(f"{word}.npz") if word in MEDMNIST3D else Path(word)  # where `tubelet data get` puts it
    if not path.exists():
        if word in MEDMNIST3D:
            raise ConfigError(
                f"--data {word}: no {path} here; get it with `tubelet data get medmnist3d/{word}`, or give the file's "
                "path"
            )
        raise ConfigError(f"--data {word}: no such file, and no dataset of the comparison{nearest(word, known)}")
    are_volumes = path.suffix == ".npz"
    if are_volumes not in templates:
        kinds = "volumes (.npz)" if True in templates else "videos (a folder or .csv)"
        raise ConfigError(f"--data {word}: this comparison is of {kinds} and has no arms for other data")
    like = known[templates[are_volumes]]
    published = MEDMNIST3D.get(path.stem.removesuffix("_64"))
    names = None if published is None else published.class_names
    fields: Fields = {key: value for key, value in like.fields.items() if not key.startswith("data.")}
    fields["data.source"] = str(path.resolve())
    fields["data.manifest.class_names"] = {} if names is None else {"label": list(names)}
    name = re.sub(r"[^\w-]+", "_", path.resolve().stem).strip("_") or "data"  # it names folders
    return name, dataclasses.replace(like, fields=fields), templates[are_volumes]


def folder_name(options: Options, comparison: Comparison) -> str:
    """Of the comparison where --out is not given: data of another name, or another size, have another report."""
    size = "quick" if options.quick else "full" if options.full else ""
    data = list(comparison.datasets) if options.data else []
    return "-".join(part for part in (Path(options.name or "").stem, size, *data) if part)


def print_result(result: ComparisonResult) -> None:
    """Print a row per arm, a sentence per contrast, and the limits of both."""
    console = output_console()
    for protocol in result.protocols:
        table = Table(title=f"{protocol.dataset}, {protocol.protocol}: test {protocol.metric}, mean and 95 % interval")
        for heading in ("arm", "setting"):
            table.add_column(heading)
        metrics = protocol.shown_metrics
        for heading in (*metrics, "runs", "diverged", "GMACs", "ms per step"):
            table.add_column(heading, justify="right")
        for arm in protocol.arms:
            cost = result.costs[protocol.dataset][arm.arm]
            table.add_row(
                *(arm.arm, arm.setting),
                *(interval_text(arm.test.get(metric)) for metric in metrics),
                *(str(arm.num_runs), str(arm.num_diverged), f"{cost.gmacs:.4g}", f"{1000 * cost.step_seconds:.1f}"),
            )
        console.print(table)
        for line in protocol.sentences:
            console.print(f"- {line}", highlight=False, markup=False, soft_wrap=True)
    for line in warnings(result):
        console.print(f"! {line}", highlight=False, markup=False, soft_wrap=True)


def _finite(content: Any) -> Any:
    """Return plain data with null in place of NaN and infinity, which JSON cannot hold."""
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and content != content else content
