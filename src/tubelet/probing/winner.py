"""The models of a probe's heads: those whose layers read stored features, and the winner as an ordinary checkpoint."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import cast

import torch
from torch import nn

from tubelet.config import to_dict
from tubelet.errors import ConfigError
from tubelet.evaluation.trained_on import KEY, TrainedOn
from tubelet.models import create_model
from tubelet.nn.head import head_prefixes
from tubelet.nn.video_model import VideoModel
from tubelet.probing.config import READING, ProbeConfig
from tubelet.probing.heads import (
    LinearSetting,
    NeighborSetting,
    ReadingSetting,
    Standardization,
    folded,
    settings_of,
    train_linear,
)
from tubelet.probing.measure import Clips, Measured, choose
from tubelet.probing.reading import Reader, train_reading
from tubelet.probing.result import ProbeResult
from tubelet.runs.initialization import InitializedModel
from tubelet.weights.checkpoint.checkpoint import save_checkpoint

ReadingModels = dict[tuple[str, int], InitializedModel]


def check_encoder(first: InitializedModel, config: ProbeConfig) -> None:
    """Refuse an encoder without weights, or with layers that neither they nor the heads fill."""
    if first.provenance is None:
        raise ConfigError("a probe needs an encoder with weights: random ones are what it is compared with")
    model = cast(VideoModel, first.model)
    own = tuple(f"{part}." for part in model.reading_parts)
    trained = head_prefixes(model) if set(config.heads) - set(READING) else (*head_prefixes(model), *own)
    fresh = [name for name in first.provenance["fresh"] if not name.startswith(trained)]
    if not fresh:
        return
    hint = "--heads attentive trains them, or " if own and all(name.startswith(own) for name in fresh) else ""
    raise ConfigError(
        f"{len(fresh)} tensors of the encoder are fresh ({fresh[0]}, ...), and a frozen encoder never learns them; "
        f"{hint}choose a model that the weights fill, or train"
    )


def reading_models(first: InitializedModel, config: ProbeConfig) -> ReadingModels:
    """A model with the encoder's weights for each kind and depth of layers that read its features.

    Raises:
        ConfigError: the encoder's family has no such head.
    """
    found: ReadingModels = {}
    for setting in settings_of(config):
        if isinstance(setting, ReadingSetting):
            key = setting.kind, setting.depth
            found[key] = found[key] if key in found else _reading_model(first, setting)
    return found


def _reading_model(first: InitializedModel, setting: ReadingSetting) -> InitializedModel:
    encoder = cast(VideoModel, first.model)
    fields = {**first.recipe.model, **encoder.reading_fields(setting.kind, setting.depth)}
    recipe = dataclasses.replace(first.recipe, model=fields)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)  # because the same seed must give the same first values
        options = recipe.model_options(num_classes=sum(map(len, first.protocol.labels.values())))
        model = cast(VideoModel, create_model(fields["name"], **options))
    parts = (*(f"{part}." for part in model.reading_parts), *head_prefixes(model))
    given, state = encoder.state_dict(), model.state_dict()
    model.load_state_dict({name: state[name] if name.startswith(parts) else given[name] for name in state})
    return dataclasses.replace(first, model=model.eval(), recipe=recipe)


def save_winner(
    path: Path,
    first: InitializedModel,
    models: ReadingModels,
    trained_on: TrainedOn,
    clips: Clips,
    measured: Measured,
    config: ProbeConfig,
    result: ProbeResult,
) -> None:
    """Train the best head that a model can hold on all clips, and write it with its encoder as an ordinary checkpoint.

    Votes of neighbors are no layer of a model: where they are best, it is the best of the others.
    """
    held = {setting: loss for setting, loss in measured.losses.items() if not isinstance(setting, NeighborSetting)}
    setting = min(held, key=held.__getitem__) if held else _best_linear(clips, config)
    if isinstance(setting, ReadingSetting):
        first = models[setting.kind, setting.depth]
        _put_reading(first, clips, setting)
    else:
        assert isinstance(setting, LinearSetting)
        _put_linear(first, clips, setting)
    facts = {
        "recipe": to_dict(first.recipe),
        "init": first.provenance,
        "probe": {"head": str(setting), **result.to_dict(), "answers": []},  # which probe.json holds
        KEY: trained_on.to_dict(),
    }
    save_checkpoint(path, first.model, first.record(facts))


def _best_linear(clips: Clips, config: ProbeConfig) -> LinearSetting:
    setting = choose(clips, [LinearSetting(penalty=penalty) for penalty in config.penalties])
    assert isinstance(setting, LinearSetting)
    return setting


def _put_linear(first: InitializedModel, clips: Clips, setting: LinearSetting) -> None:
    by = Standardization.of(clips.features)
    weight, bias = train_linear(by(clips.features), clips.targets, [setting], clips.loss)
    head = cast(VideoModel, first.model).get_classifier()
    if not isinstance(head, nn.Linear):
        raise ConfigError(f"the head of {first.recipe.model['name']} is no linear layer (set model.head_dim none)")
    own_weight, own_bias = folded(weight[0], bias[0], by)
    with torch.no_grad():
        head.weight.copy_(own_weight)
        head.bias.copy_(own_bias)


def _put_reading(made: InitializedModel, clips: Clips, setting: ReadingSetting) -> None:
    assert clips.sequences is not None
    (parameters,), scale = train_reading(clips.sequences, clips.index, clips.targets, [setting], clips.loss)
    reader: Reader = clips.sequences.readers[setting.kind, setting.depth]
    reader.put(parameters, scale)
    made.model.eval()
