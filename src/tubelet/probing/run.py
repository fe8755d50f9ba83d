"""A probe from data to result and checkpoint: two encoders, one of them with random weights, and their heads."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tubelet.config import to_dict
from tubelet.data.loading.content_hash import contents_of
from tubelet.data.manifest.groups import units_of
from tubelet.data.manifest.manifest import Manifest
from tubelet.errors import ConfigError
from tubelet.evaluation.trained_on import KEY, TrainedOn
from tubelet.files import write_atomically
from tubelet.nn.head import head_prefixes
from tubelet.nn.video_model import VideoModel
from tubelet.probing.clips import read_clips
from tubelet.probing.config import ProbeConfig
from tubelet.probing.features import Encoder, Features, features_of
from tubelet.probing.figures import fold_intervals, fold_metrics
from tubelet.probing.folds import folds_without_a_class, grouped_folds
from tubelet.probing.heads import LinearSetting, Loss, Setting, Standardization, folded, settings_of, train_linear
from tubelet.probing.measure import Clips, Measured, choose, few_shot, measure, most_chosen
from tubelet.probing.result import Arm, ProbeResult, paired_interval
from tubelet.recipe import Recipe
from tubelet.runs.initialization import InitializedModel, first_model
from tubelet.session.session import Session
from tubelet.tasks.choose import task_of
from tubelet.tasks.classification import Classification
from tubelet.weights.checkpoint.checkpoint import save_checkpoint

RESULT = "probe.json"
CONTROL = "random weights"


def run_probe(recipe: Recipe, config: ProbeConfig, out: Path, features: Path, session: Session) -> ProbeResult:
    """Probe the encoder of a recipe, and write ``probe.json`` and the checkpoint ``best/`` into ``out``.

    Args:
        recipe: model, first weights, data and protocol; how it trains is not looked at.
        features: folder of stored features, which probes share.

    Raises:
        ConfigError: an encoder with parts that no weights were given for, several heads, or too large features.
        DataError: the data cannot be read.
        Stopped: a signal came; what is stored stays, and the same call goes on.
    """
    with session.signals:
        manifest, decided = read_clips(recipe.data, config.folds, session)
        if manifest.is_numeric:
            raise ConfigError(
                "a probe is of classes, and data.manifest.numbers says that labels are numbers; train instead"
            )
        first = first_model(recipe, manifest, session)
        _check_encoder(first)
        control = first_model(
            dataclasses.replace(first.recipe, init=None, seed=control_seed(config.seed)), manifest, session
        )
        found = [_features(model, recipe, manifest, features, config, session) for model in (first, control)]
        rows = _labeled(manifest, sorted(set(found[0].rows) & set(found[1].rows)), session)
        used = manifest.with_samples([manifest.samples[row] for row in rows])
        contents = contents_of(used, lambda done, total: session.advance(done, total, "files hashed"))
        decided += _seen_by_encoder(first, used, contents, session)
        result, clips = _measured(first, manifest, found, rows, config, session)
        result = dataclasses.replace(result, notes=(*decided, *result.notes))
        _save(out / "best", first, TrainedOn.of(used, contents), clips, config, result)
    write_atomically(out / RESULT, json.dumps(result.to_dict(), indent=2) + "\n")
    return result


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


def _check_encoder(first: InitializedModel) -> None:
    """Refuse an encoder without weights, or with layers that they do not fill."""
    if first.provenance is None:
        raise ConfigError("a probe needs an encoder with weights: random ones are what it is compared with")
    head = head_prefixes(first.model)
    fresh = [name for name in first.provenance["fresh"] if not name.startswith(head)]
    if fresh:
        raise ConfigError(
            f"{len(fresh)} tensors of the encoder are fresh ({fresh[0]}, ...), and a frozen encoder never learns them; "
            "choose a model that the weights fill, or train"
        )


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


def _features(
    made: InitializedModel, recipe: Recipe, manifest: Manifest, folder: Path, config: ProbeConfig, session: Session
) -> Features:
    encoder = Encoder(model=cast(VideoModel, made.model), protocol=made.protocol, precision=recipe.training.precision)
    return features_of(encoder, manifest, recipe.data, folder, session, max_gb=config.max_gb)


def _measured(
    first: InitializedModel,
    manifest: Manifest,
    found: list[Features],
    rows: list[int],
    config: ProbeConfig,
    session: Session,
) -> tuple[ProbeResult, Clips]:
    """Cross-validate the heads on both encoders."""
    task, samples = task_of(first.protocol), [manifest.samples[row] for row in rows]
    assert isinstance(task, Classification)  # numbers were refused
    units = units_of(samples)
    targets = _one_hot(task, [sample.labels for sample in samples])
    folds = grouped_folds(units, targets.numpy(), config.folds, config.seed)
    (names,) = manifest.class_names.values()
    notes = folds_without_a_class(folds, units, targets.numpy(), names)
    for line in notes:
        session.progress.note(line)
    loss: Loss = "sigmoid" if manifest.multi_label else "softmax"
    session.progress.note(f"{len(settings_of(config))} heads on {config.folds} folds, for the encoder and the control")
    all_clips = [Clips(features=_values(features, rows), targets=targets, folds=folds, loss=loss) for features in found]
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
        notes=(*notes, f"most folds chose {most_chosen(arms[0].chosen)}"),
    )
    return result, all_clips[0]


def _values(features: Features, rows: list[int]) -> Float[Tensor, "N V D"]:
    """The features of some rows of the manifest."""
    place = {row: i for i, row in enumerate(features.rows)}
    return features.values[[place[row] for row in rows]]


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


def _save(
    path: Path, first: InitializedModel, trained_on: TrainedOn, clips: Clips, config: ProbeConfig, result: ProbeResult
) -> None:
    """Train the best linear head on all clips, and write it with its encoder as an ordinary checkpoint."""
    linear: list[Setting] = [s for s in settings_of(config) if isinstance(s, LinearSetting)]
    if not linear:
        linear = [LinearSetting(penalty=penalty) for penalty in config.penalties]
    setting = choose(clips, linear)
    assert isinstance(setting, LinearSetting)
    by = Standardization.of(clips.features)
    weight, bias = train_linear(by(clips.features), clips.targets, [setting], clips.loss)
    head = cast(VideoModel, first.model).get_classifier()
    if not isinstance(head, nn.Linear):
        raise ConfigError(f"the head of {first.recipe.model['name']} is no linear layer (set model.head_dim none)")
    own_weight, own_bias = folded(weight[0], bias[0], by)
    with torch.no_grad():
        head.weight.copy_(own_weight)
        head.bias.copy_(own_bias)
    facts = {
        "recipe": to_dict(first.recipe),
        "init": first.provenance,
        "probe": {"head": str(setting), **result.to_dict()},
        KEY: trained_on.to_dict(),
    }
    save_checkpoint(path, first.model, first.record(facts))
