"""The recipe fields that the options of ``tubelet train`` set."""

from __future__ import annotations

import json
from pathlib import Path

from tubelet.commands.backbone_option import check_backbone, model_with
from tubelet.commands.train import Options
from tubelet.errors import ConfigError
from tubelet.recipe import Recipe, load_recipe
from tubelet.weights.config import InitConfig
from tubelet.weights.init.source import read_source, resolve_source
from tubelet.weights.init.suggest import suggested_recipe


def of_options(options: Options) -> list[tuple[str, str]]:
    """Return the command's options as fields of the recipe."""
    chosen: list[tuple[str, str]] = []
    if options.data:
        chosen.append(("data.source", json.dumps(str(Path(options.data).resolve()))))
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
        source = resolve_source(options.init)
        chosen.append(("init.source", json.dumps(source)))
        if not model_name and not options.recipe:
            model, protocol = suggested_recipe(read_source(InitConfig(source=source)))
            chosen.append(("model", json.dumps(model)))
            chosen += [(f"protocol.{name}", json.dumps(value)) for name, value in protocol.items()]
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


def run_name(options: Options, recipe: Recipe) -> str:
    data = Path(options.data).resolve().stem if options.data else ""
    name = options.recipe.removesuffix(".yaml") if options.recipe else recipe.model["name"]
    return "-".join(part for part in (data, Path(name).parent.name, Path(name).name) if part)
