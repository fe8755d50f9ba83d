"""The fields of a recipe that a user names: data, model and first weights by one word each, all others by name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tubelet.errors import ConfigError, nearest
from tubelet.recipe import SHORT_NAMES, Recipe, load_recipe
from tubelet.tasks.masked_pretraining.pretrain_on_config import LAYER_DECAY
from tubelet.weights.config import InitConfig
from tubelet.weights.init.source import InitSource, read_source, resolve_source
from tubelet.weights.init.suggest import suggested_recipe

Field = tuple[str, str]  # dotted name and value as YAML, as ``load_recipe`` takes them


def data_field(data: str | Path) -> Field:
    """The data, by an absolute path, so that the recipe holds in every folder."""
    return "data.source", json.dumps(str(Path(data).resolve()))


def first_weights(init: str, *, suggests: bool, prefers_copy: bool = False) -> list[Field]:
    """The first weights; with ``suggests`` also the model and the pixels that they were made for.

    With ``prefers_copy`` the hub is not asked for what is here, as where a run goes on that began with it.

    Raises:
        CheckpointError: they cannot be read, or no model starts from them.
    """
    source = resolve_source(init)
    if not suggests:
        return [("init.source", json.dumps(source))]
    return suggested_fields(source, read_source(InitConfig(source=source), prefers_copy=prefers_copy))


def pretraining_fields(footage: str | Path, recipe: str) -> list[Field]:
    """Footage to pre-train on first, and the layer decay of fine-tuning where the recipe has none.

    Args:
        recipe: that the run begins with.
    """
    fields = [("pretrain_on.source", json.dumps(str(Path(footage).resolve())))]
    if load_recipe(recipe).optim.layer_decay == 1:
        fields.append(("optim.layer_decay", json.dumps(LAYER_DECAY)))
    return fields


def chosen_fields(
    data: str | Path | None, model: str | None, init: str | None, fields: Mapping[str, Any], *, suggests: bool
) -> list[Field]:
    """What a call in Python chooses of a recipe, in the order in which it holds.

    Args:
        suggests: whether ``init`` brings the model and the pixels along that it was made for.
    """
    chosen = [] if data is None else [data_field(data)]
    if model is not None:
        chosen.append(("model", json.dumps({"name": model})))
    if init is not None:
        chosen += first_weights(init, suggests=suggests)
    return [*chosen, *fields_of(fields)]


def suggested_fields(source: str, weights: InitSource) -> list[Field]:
    """First weights that have been read, with the model and the pixels that they were made for."""
    model, protocol = suggested_recipe(weights)
    fields = [("init.source", json.dumps(source)), ("model", json.dumps(model))]
    return [*fields, *((f"protocol.{name}", json.dumps(value)) for name, value in protocol.items())]


def fields_of(keywords: Mapping[str, Any]) -> Iterator[Field]:
    """Keywords of Python as fields: ``optim={"lr": 1e-3}``, ``seed=1``, ``**{"optim.lr": 1e-3}``, ``epochs=5``.

    Raises:
        ConfigError: no part of a recipe is called so.
    """
    known = {*Recipe.__dataclass_fields__, *SHORT_NAMES}
    for name, value in keywords.items():
        if name.partition(".")[0] not in known:
            raise ConfigError(f"a recipe has no '{name}'{nearest(name, known)}")
        if isinstance(value, Mapping) and name in ("data", "protocol", "augment", "optim", "training", "model"):
            yield from ((f"{name}.{key}", json.dumps(inner)) for key, inner in value.items())
        else:
            yield SHORT_NAMES.get(name, name), json.dumps(value)


def with_kept_rules(source: str, fields: list[Field], rules: Mapping[str, Any]) -> Recipe:
    """The recipe with what an earlier run in its folder keeps of an earlier version's rules."""
    return load_recipe(source, [*texts_of(rules), *fields])


def texts_of(rules: Mapping[str, Any]) -> list[Field]:
    """Fields and values as ``load_recipe`` takes them."""
    return [(name, json.dumps(value)) for name, value in rules.items()]
