"""The options of ``tubelet train``, and the recipe fields that they set."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from tubelet.commands.backbone_option import check_backbone, model_with
from tubelet.commands.column_options import ColumnOptions
from tubelet.errors import ConfigError
from tubelet.recipe import Recipe, load_recipe
from tubelet.training.config import Schedule, Strategy
from tubelet.types import Device
from tubelet.weights.config import InitConfig
from tubelet.weights.init.source import read_source, resolve_source
from tubelet.weights.init.suggest import suggested_recipe

DEFAULT_RECIPE = "folder/default"


@dataclass(frozen=True, kw_only=True)
class Options:
    recipe: Annotated[str | None, tyro.conf.Positional] = None  # shipped recipe name or YAML file
    data: str | None = None  # folder, .csv or .npz file, or feature store; in place of the recipe's data
    columns: Annotated[ColumnOptions, tyro.conf.arg(name="")] = field(default_factory=ColumnOptions)
    model: str | None = None  # model name (`tubelet models`); in place of the recipe's model
    backbone: str | None = None  # VTN's image network, any name of timm; without --model and recipe, of a VTN
    init: str | None = None  # first weights: timm model, file, checkpoint folder, or owner/name on huggingface.co
    freeze: tuple[str, ...] = ()  # modules that do not train, by name; * stands for any text
    lora: str | None = None  # rank=16[,alpha=32]: train low-rank adapters and the head alone (extra lora)
    out: Path | None = None  # run folder; by default runs/NAME
    resume: Path | None = None  # run folder to resume, instead of a recipe
    schedule: Schedule | None = None  # --resume with more epochs: recompute (default) the learning rate, or continue it
    take_over: bool = False  # go on in a run folder that a process of another machine left without ending in it
    strategy: Strategy | None = None  # of several processes (torchrun): ddp, the model on each; fsdp, in shards
    dry_run: bool = False  # print the plan and what would stop it; train and write nothing
    group_column: str | None = None  # CSV column of what stays in one split; by default group, patient or subject
    group_pattern: str | None = None  # reads what stays in one split in file names: {group}_{n}
    folds: int = 0  # cross-validation: train so many times, each time with another part of the groups as test split
    seeds: int = 1  # train so many times, with seeds from the recipe's seed on, and print mean and spread
    sweep: tyro.conf.UseAppendAction[tuple[str, ...]] = ()  # FIELD=VALUE,VALUE,...: try these, choose on validation
    device: Device = "auto"  # auto: CUDA, else MPS, else CPU
    fields: bool = False  # list every recipe field with type, default and meaning, and the shipped recipes
    json: bool = False  # print the test metrics, or the plan of --dry-run, as JSON on stdout


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
