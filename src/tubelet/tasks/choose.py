"""Which task a model or a set of data is of, and what the metrics of all tasks are called."""

from __future__ import annotations

from tubelet.data.manifest.manifest import Manifest
from tubelet.errors import ConfigError, DataError, nearest
from tubelet.protocol import Protocol
from tubelet.tasks.masked_pretraining.task import MaskedPretraining
from tubelet.tasks.metric import Metric, Values
from tubelet.tasks.multi_head import MultiHead
from tubelet.tasks.multi_label import MultiLabel
from tubelet.tasks.per_frame.task import PerFrame
from tubelet.tasks.regression import Regression
from tubelet.tasks.single_label import SingleLabel
from tubelet.tasks.task import Task
from tubelet.tasks.video_task import VideoTask

TASKS: tuple[type[Task], ...] = (MaskedPretraining, PerFrame, Regression, MultiLabel, MultiHead, SingleLabel)


def task_for(protocol: Protocol, manifest: Manifest) -> VideoTask:
    """The task of a model with this protocol on a set of data that has its labels."""
    return Regression.of_data(manifest, protocol.number_scales) if manifest.is_numeric else task_of(protocol)


def task_of(what: Protocol | Manifest) -> VideoTask:
    """The task that the labels of a protocol or of a manifest ask for.

    Of a protocol alone the task of numbers knows no data, and so neither targets nor metrics (``task_for``).
    """
    if isinstance(what, Manifest) and what.is_numeric:
        return Regression.of_data(what)
    if isinstance(what, Protocol) and what.number_scales:
        return Regression(labels=what.labels, scales=what.number_scales)
    labels = what.labels if isinstance(what, Protocol) else what.class_names
    if what.multi_label:
        return MultiLabel(labels=labels)
    return MultiHead(labels=labels) if len(labels) > 1 else SingleLabel(labels=labels)


def task_of_metrics(values: Values) -> type[Task]:
    """The task that wrote a metrics.json.

    Raises:
        DataError: no task did.
    """
    for task in TASKS:
        if task.recognizes(values):
            return task
    raise DataError(f"metrics of no known task, with the entries {', '.join(values)}; run `tubelet evaluate` again")


def ranked_metrics() -> dict[str, Metric]:
    """The metrics of all tasks that may decide between checkpoints or settings, by their keys."""
    found: dict[str, Metric] = {}
    for task in reversed(TASKS):
        found |= {key: metric for key, metric in task.ranked().items() if key not in found}
    return found


def ranked_metric(key: str) -> Metric:
    """One of them.

    Raises:
        ConfigError: no task has it.
    """
    known = ranked_metrics()
    if key not in known:
        raise ConfigError(f"no metric '{key}'{nearest(key, known)}; there are {', '.join(known)}")
    return known[key]


def study_columns() -> tuple[str, ...]:
    """Keys of the metrics that sweeps write down of each run, of whatever task."""
    shown = [(metric.shows["study"].order, metric.key) for task in reversed(TASKS) for metric in task.columns("study")]
    return tuple(dict.fromkeys(key for _, key in sorted(shown, key=lambda pair: pair[0])))
