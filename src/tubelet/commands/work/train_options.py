"""The recipe fields that the options of ``tubelet train`` set."""

from __future__ import annotations

import json

from tubelet.api.recipe_fields import data_field, first_weights
from tubelet.commands.backbone_option import check_backbone, model_with
from tubelet.commands.train import Options
from tubelet.errors import ConfigError
from tubelet.recipe import load_recipe


def of_options(options: Options) -> list[tuple[str, str]]:
    """Return the command's options as fields of the recipe."""
    chosen: list[tuple[str, str]] = []
    if options.data:
        chosen.append(data_field(options.data))
    if options.columns.path_column:
        chosen.append(("data.manifest.path_column", json.dumps(options.columns.path_column)))
    if options.columns.label_column:
        chosen.append(("data.manifest.label_columns", json.dumps(options.columns.label_column)))
    asked = model_with(options.backbone) if options.backbone and not options.recipe else None
    if model_name := options.model or asked:
        chosen.append(("model", json.dumps({"name": model_name})))
    if options.backbone:
        check_backbone(model_name or load_recipe(str(options.recipe)).model["name"], options.backbone)
        chosen.append(("model.backbone", json.dumps(options.backbone)))
    if options.init:
        chosen += first_weights(options.init, suggests=not model_name and not options.recipe)
    for name in ("group_column", "group_pattern"):
        if value := getattr(options, name):
            chosen.append((f"data.manifest.{name}", json.dumps(value)))
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
