"""The recipe fields that the options of ``tubelet train`` set."""

from __future__ import annotations

import json

from tubelet.api.recipe_fields import data_field, first_weights, pretraining_fields
from tubelet.commands.backbone_option import check_backbone, model_with
from tubelet.commands.column_options import ColumnOptions
from tubelet.commands.train import DEFAULT_RECIPES, Options, begun_folder
from tubelet.errors import ConfigError
from tubelet.recipe import load_recipe


def reading_fields(
    columns: ColumnOptions, group_column: str | None, group_pattern: str | None
) -> list[tuple[str, str]]:
    """Return the options that say how a table of data is read as fields of the recipe."""
    given = {
        "path_column": columns.path_column,
        "label_columns": columns.label_column,
        "group_column": group_column,
        "group_pattern": group_pattern,
    }
    return [(f"data.manifest.{name}", json.dumps(value)) for name, value in given.items() if value]


def of_options(options: Options) -> list[tuple[str, str]]:
    """Return the command's options as fields of the recipe."""
    chosen: list[tuple[str, str]] = []
    if options.data:
        chosen.append(data_field(options.data))
    chosen += reading_fields(options.columns, options.group_column, options.group_pattern)
    if options.task == "regression":
        chosen.append(("data.manifest.numbers", "true"))
        if not options.recipe:
            chosen.append(("training.label_smoothing", "0"))  # the default recipe is one of classes
    asked = model_with(options.backbone) if options.backbone and not options.recipe else None
    if model_name := options.model or asked:
        chosen.append(("model", json.dumps({"name": model_name})))
    if options.backbone:
        check_backbone(model_name or load_recipe(str(options.recipe)).model["name"], options.backbone)
        chosen.append(("model.backbone", json.dumps(options.backbone)))
    if options.init and options.pretrain_on:
        raise ConfigError(
            "--pretrain-on gives the first weights: leave --init out (--pretrain_on.fields.init.source begins the "
            "pre-training with others)"
        )
    if options.init:
        begun = begun_folder(options.out, options.data, options.init, options.recipe, options.model)
        suggests = not model_name and not options.recipe
        chosen += first_weights(options.init, suggests=suggests, prefers_copy=begun is not None)
    if options.pretrain_on:
        chosen += pretraining_fields(options.pretrain_on, options.recipe or DEFAULT_RECIPES[options.task])
    if options.folds:
        chosen.append(("data.manifest.folds", str(options.folds)))
    if options.strategy:
        chosen.append(("training.strategy", options.strategy))
    if options.freeze:
        chosen.append(("freeze", json.dumps(options.freeze)))
    for part in options.lora.split(",") if options.lora else ():
        name, equals, value = part.partition("=")
        if not equals:
            raise ConfigError(f"--lora {options.lora}: expected rank=16, or rank=16,alpha=32")
        chosen.append((f"lora.{name}", value))
    return chosen
