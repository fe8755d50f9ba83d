"""A probe from data to result and checkpoint: two encoders, one of them with random weights, and their heads."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tubelet.data.loading.content_hash import contents_of
from tubelet.data.manifest.groups import units_of
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.sample import Sample
from tubelet.errors import ConfigError
from tubelet.evaluation.trained_on import TrainedOn
from tubelet.files import write_atomically
from tubelet.nn.video_model import VideoModel
from tubelet.probing.clips import read_clips
from tubelet.probing.config import ProbeConfig
from tubelet.probing.features import Encoder, Features, at_rows, features_of
from tubelet.probing.figures import fold_intervals, fold_metrics
from tubelet.probing.folds import folds_without_a_class, grouped_folds
from tubelet.probing.heads import Loss, settings_of
from tubelet.probing.measure import Clips, Measured, few_shot, few_shot_notes, measure, most_chosen
from tubelet.probing.readers import with_readers
from tubelet.probing.result import Answer, Arm, ProbeResult, paired_interval
from tubelet.probing.winner import ReadingModels, check_encoder, reading_models, save_winner
from tubelet.recipe import Recipe
from tubelet.runs.initialization import InitializedModel, first_model
from tubelet.session.session import Session
from tubelet.tasks.choose import task_of
from tubelet.tasks.classification import Classification

RESULT = "probe.json"
CONTROL = "random weights"


def run_probe(recipe: Recipe, config: ProbeConfig, out: Path, features: Path, session: Session) -> ProbeResult:
    """Probe the encoder of a recipe, and write ``probe.json`` and the checkpoint ``best/`` into ``out``.

    Args:
        recipe: model, first weights, data and protocol; how it trains is not looked at.
        features: folder of stored features, which probes share.

    Raises:
        ConfigError: an encoder with parts that no weights were given for, several heads, too large features, or a
            folder with the probe of another encoder.
        DataError: the data cannot be read.
        Stopped: a signal came; what is stored stays, and the same call goes on.
    """
    _check_folder(out, recipe)
    with session.signals:
        manifest, decided = read_clips(recipe.data, config.folds, session)
        if manifest.is_numeric:
            raise ConfigError(
                "a probe is of classes, and data.manifest.numbers says that labels are numbers; train instead"
            )
        first = first_model(recipe, manifest, session)
        check_encoder(first, config)
        models = reading_models(first, config)
        control = first_model(
            dataclasses.replace(first.recipe, init=None, seed=control_seed(config.seed)), manifest, session
        )
        encoders = [_encoder(made, recipe, config) for made in (first, control)]
        found = features_of(encoders, manifest, recipe.data, features, session, max_gb=config.max_gb)
        rows = _labeled(manifest, sorted(set(found[0].rows) & set(found[1].rows)), session)
        used = manifest.with_samples([manifest.samples[row] for row in rows])
        contents = contents_of(used, lambda done, total: session.advance(done, total, "files hashed"))
        decided += _seen_by_encoder(first, used, contents, session)
        result, measured, clips = _measured(first, models, manifest, found, rows, config, session)
        result = dataclasses.replace(result, notes=(*decided, *result.notes))
        trained_on = TrainedOn.of(used, contents)
        save_winner(out / "best", first, models, trained_on, clips, measured, config, result)
    write_atomically(out / RESULT, json.dumps(result.to_dict(), indent=2) + "\n")
    return result


def _check_folder(out: Path, recipe: Recipe) -> None:
    """Refuse a folder that holds the probe of another encoder; with other clips or heads it is made anew."""
    before, name = None, CONTROL if recipe.init is None else recipe.init.source
    with suppress(OSError, ValueError, AttributeError):
        before = json.loads((out / RESULT).read_text("utf-8")).get("name")
    if before is not None and before != name:
        raise ConfigError(f"{out}: holds a probe of {before}, not of {name}; give another --out")


def control_seed(seed: int) -> int:
    """The seed of the random weights: a stream of its own, because the encoder may have begun with those of ``seed``.

    With these the comparison would be that of an encoder with its own first weights.
    """
    return int.from_bytes(hashlib.sha256(f"random weights of a probe {seed}".encode()).digest()[:4])


def _labeled(manifest: Manifest, rows: list[int], session: Session) -> list[int]:
    """The rows whose class is known."""
    if manifest.multi_label:
        return rows
    known = [row for row in rows if manifest.samples[row].labels[0] >= 0]
    if len(known) < len(rows):
        session.progress.note(f"{len(rows) - len(known)} of {len(rows)} clips have no label and are left out")
    return known


def _seen_by_encoder(
    first: InitializedModel, clips: Manifest, contents: dict[str, str], session: Session
) -> tuple[str, ...]:
    """A line where the encoder was trained on some of the clips, as far as its checkpoint holds hashes of them."""
    trained_on = None if first.provenance is None else TrainedOn.of_weights(first.provenance)
    seen = [] if trained_on is None else trained_on.seen(clips, contents)
    if not seen:
        return ()
    line = (
        f"{len(seen)} of {len(clips)} clips were in the encoder's training set: these figures do not say how it does "
        "on new clips"
    )
    session.progress.note(line)
    return (line,)


def _encoder(made: InitializedModel, recipe: Recipe, config: ProbeConfig) -> Encoder:
    return Encoder(
        model=cast(VideoModel, made.model),
        protocol=made.protocol,
        precision=recipe.training.precision,
        has_tokens=config.reads_tokens,
    )


def _measured(
    first: InitializedModel,
    models: ReadingModels,
    manifest: Manifest,
    found: list[Features],
    rows: list[int],
    config: ProbeConfig,
    session: Session,
) -> tuple[ProbeResult, Measured, Clips]:
    """Cross-validate the heads on both encoders."""
    task, samples = task_of(first.protocol), [manifest.samples[row] for row in rows]
    assert isinstance(task, Classification)  # numbers were refused
    units = units_of(samples)
    targets = _one_hot(task, [sample.labels for sample in samples])
    folds = grouped_folds(units, targets.numpy(), config.folds, config.seed)
    (names,) = manifest.class_names.values()
    notes = folds_without_a_class(folds, units, targets.numpy(), names)
    notes += [*few_shot_notes(folds, targets.numpy(), names, config), *_ungrouped(samples)]
    for line in notes:
        session.progress.note(line)
    loss: Loss = "sigmoid" if manifest.multi_label else "softmax"
    session.progress.note(f"{len(settings_of(config))} heads on {config.folds} folds, for the encoder and the control")
    used = [at_rows(features, rows) for features in found]
    all_clips = [Clips(features=of.values, targets=targets, folds=folds, loss=loss) for of in used]
    all_clips = with_readers(all_clips, used, models, config, session)
    measured = [measure(clips, config) for clips in all_clips]
    names_of_arms = (_name(first), CONTROL)
    labels = [sample.labels for sample in samples]
    arms = [_arm(name, of, task, labels, folds, units) for name, of in zip(names_of_arms, measured, strict=True)]
    winner, interval = measured[0].winner, None
    if loss == "softmax":  # the metric is a mean over clips, so that groups of clips can be drawn
        interval = paired_interval(units, _right(measured[0], targets) - _right(measured[1], targets))
    result = ProbeResult(
        metric=task.best,
        encoder=arms[0],
        random=arms[1],
        difference=float(arms[0].metrics[task.best]) - float(arms[1].metrics[task.best]),
        difference_interval=interval,
        majority=arms[0].metrics.get(task.baseline),
        num_clips=len(rows),
        num_groups=len(set(units)),
        failed=tuple(dict.fromkeys((*found[0].failed, *found[1].failed))),
        winner=str(winner),
        few_shot=few_shot(all_clips[0], measured[0].chosen, config),
        few_shot_random=few_shot(all_clips[1], measured[1].chosen, config),
        notes=(*notes, *_no_better(arms[0], task), f"chosen most often: {most_chosen(arms[0].chosen)}"),
        answers=() if manifest.multi_label else _answers(samples, units, names, measured),
    )
    return result, measured[0], all_clips[0]


def _no_better(arm: Arm, task: Classification) -> list[str]:
    """A line where the encoder is not above a model that knows nothing, whatever random weights reach."""
    value, nothing = arm.metrics[task.best], arm.metrics.get(task.baseline)
    if nothing is None or float(value) > float(nothing):
        return []
    return [
        f"the encoder's {task.best} {float(value):.3f} is not above {float(nothing):.3f} of a model that knows nothing"
    ]


def _ungrouped(samples: Sequence[Sample]) -> list[str]:
    alone = sum(sample.group is None for sample in samples)
    if not alone:
        return []
    return [
        f"{alone} of {len(samples)} clips have no group: those of one source may lie in training and test, which "
        "raises the figures (--group-column, --group-pattern)"
    ]


def _arm(
    name: str,
    measured: Measured,
    task: Classification,
    labels: Sequence[tuple[int, ...]],
    folds: Int[np.ndarray, " N"],
    units: Sequence[str],
) -> Arm:
    """The figures of one encoder."""
    probs = task.probs(measured.logits)
    metrics = fold_metrics(task, labels, probs, folds)
    shown = {cell.metric.key: cell.value for cell in task.cells("seeds", metrics) if cell.value is not None}
    return Arm(
        name=name,
        metrics=metrics,
        shown=shown,
        intervals=fold_intervals(task, labels, probs, folds, units),
        chosen=tuple(map(str, measured.chosen)),
    )


def _answers(
    samples: Sequence[Sample], units: Sequence[str], names: Sequence[str], measured: Sequence[Measured]
) -> tuple[Answer, ...]:
    encoder, random = ([names[i] for i in of.logits.argmax(-1).tolist()] for of in measured)
    return tuple(
        Answer(path=sample.entry or sample.path, group=unit, label=names[sample.labels[0]], encoder=a, random_weights=b)
        for sample, unit, a, b in zip(samples, units, encoder, random, strict=True)
    )


def _right(measured: Measured, targets: Float[Tensor, "N K"]) -> Float[Tensor, " N"]:
    """Of each clip, whether the answer is right."""
    return (measured.logits.argmax(-1) == targets.argmax(-1)).double()


def _one_hot(task: Classification, labels: list[tuple[int, ...]]) -> Float[Tensor, "N K"]:
    targets = task.targets(labels)
    if targets.ndim == 2:
        return targets.float()
    return torch.nn.functional.one_hot(targets, sum(task.head_sizes)).float()


def _name(first: InitializedModel) -> str:
    return CONTROL if first.recipe.init is None else first.recipe.init.source
