"""``tubelet features``: runs a model's per-frame stage on every frame of a dataset, into a feature store."""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from torch import nn

from tubelet.commands import parse
from tubelet.commands.console import ConsoleProgress
from tubelet.commands.train_overrides import split_overrides
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.layouts.feature_store import is_store
from tubelet.data.loading.config import DECODE_TIMEOUT_SECONDS, FAILURE_BUDGET
from tubelet.data.loading.index_videos import index_manifest
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.read import read_manifest
from tubelet.errors import ConfigError
from tubelet.files import check_path
from tubelet.inference.feature_extraction import Extracted, ExtractOptions, extract, open_store
from tubelet.inference.frame_stage import check_not_random
from tubelet.recipe import DataConfig, Recipe, list_recipes, load_recipe
from tubelet.runs.initialization import first_model
from tubelet.session.device import choose_device
from tubelet.session.session import Session
from tubelet.types import Device, Precision
from tubelet.weights.checkpoint.checkpoint import Record
from tubelet.weights.open_checkpoint import open_checkpoint

DESCRIPTION = """Write a feature store: the output of a model's per-frame stage for every frame of a dataset.

`tubelet train`, `evaluate` and `predict` take the store in place of the videos. Where the per-frame stage is frozen,
training from it does what training on the videos does, without decoding and without that stage: with --augment.crop
center and no other augmentation of pixels, the clips are the same and so are the losses. A store is refused where a
model's weights or pixels are not those that it was written with.

MODEL is a checkpoint, or a recipe (its model with its first weights; set its fields as for `tubelet train`; random
weights are refused). The model must see one frame at a time and give one vector for it: VTN, space-only TimeSformer,
ViViT with tubelets of one frame.

One safetensors file per video, whole or not at all: run the same command again after an interruption, or for another
split, and it writes what is missing. A video that cannot be read keeps its row and is named.

examples:
  tubelet features runs/vtn/best my_clips features/vtn
  tubelet evaluate runs/vtn/best --data features/vtn
  tubelet features my_vtn.yaml my_clips features/vtn --init vit_base_patch16_224.augreg_in21k
  tubelet train my_vtn.yaml --data features/vtn --freeze backbone --augment.crop center
  tubelet features runs/vtn/best my_clips features/vtn --split val --device cuda"""


@dataclass(frozen=True, kw_only=True)
class Options:
    model: Annotated[str, tyro.conf.Positional]  # checkpoint (folder or owner/name), or recipe (shipped name or YAML)
    data: Annotated[str, tyro.conf.Positional]  # folder, .csv or .npz file, as for `tubelet train`
    out: Annotated[Path, tyro.conf.Positional]  # folder of the store; an unfinished one is resumed
    split: tuple[Literal["train", "val", "test"], ...] = ()  # which splits; by default all
    manifest: ManifestConfig = field(default_factory=ManifestConfig)
    num_workers: int = 2  # processes that decode; 0 decodes in this process
    decode_timeout_seconds: float = DECODE_TIMEOUT_SECONDS  # a worker that reads 64 frames for longer is killed
    failure_budget: float = FAILURE_BUDGET  # share of videos that may be unreadable; 0: none, else one always may
    allow_random: bool = False  # store features of a recipe without trained weights
    precision: Precision | None = None  # fp32, or bf16 under autocast; by default that of the recipe or checkpoint
    device: Device = "auto"  # auto: CUDA, else MPS, else CPU
    json: bool = False  # print what was done as JSON on stdout


def main(argv: list[str]) -> int:
    overrides, rest = split_overrides(argv, Options)
    own = {name: text for name, text in overrides if name.removeprefix("data.").startswith("manifest.")}
    rest += [f"--{name}={text}" for name, text in own.items()]
    options = parse(Options, rest, "features", DESCRIPTION)
    if not is_store(options.out):  # a finished one may lie where nothing is written
        check_path(options.out, "OUT", is_written=True)
    fields = [(name, text) for name, text in overrides if name not in own]
    source = DataConfig(source=options.data).path
    manifest = read_manifest(source, options.manifest)
    began = time.monotonic()
    with ConsoleProgress("features") as progress:
        session = Session(device=choose_device(options.device), progress=progress)
        for line in manifest.notes:
            progress.note(line)
        model, record = _model(options, fields, manifest, session)
        model = model.to(session.device).eval()
        if options.precision is not None:
            record = dataclasses.replace(record, precision=options.precision)
        progress.note(f"computes in {record.precision}, stores fp32")
        store = open_store(options.out, model, record, manifest, str(source.resolve()))
        index_manifest(
            manifest,
            options.num_workers,
            session,
            options.decode_timeout_seconds,
        )
        done = extract(
            model,
            store,
            manifest,
            options.out,
            ExtractOptions(
                splits=options.split or manifest.splits,
                num_workers=options.num_workers,
                timeout_seconds=options.decode_timeout_seconds,
                failure_budget=options.failure_budget,
            ),
            session,
        )
    seconds = time.monotonic() - began
    print(
        json.dumps(_as_dict(done, options.out, seconds), indent=2) if options.json else _summary(done, options, seconds)
    )
    return 0


def _model(
    options: Options, fields: list[tuple[str, str]], manifest: Manifest, session: Session
) -> tuple[nn.Module, Record]:
    """The model of a checkpoint, or that of a recipe as a run of it begins."""
    source = options.model
    if source in list_recipes() or source.endswith((".yaml", ".yml")):
        recipe = load_recipe(source, [("data.source", json.dumps(options.data)), *fields])
        return _model_of_recipe(recipe, manifest, session, options.allow_random)
    if options.allow_random:
        raise ConfigError(f"--allow-random is for recipes, but {source} is a checkpoint; leave it out")
    if fields:
        raise ConfigError(f"--{fields[0][0]} sets a field of a recipe, but {source} is a checkpoint; leave it out")
    return open_checkpoint(source)


def _model_of_recipe(
    recipe: Recipe, manifest: Manifest, session: Session, allow_random: bool
) -> tuple[nn.Module, Record]:
    if recipe.lora is not None:
        raise ConfigError("lora changes the per-frame stage while it trains; leave it out of the recipe")
    first = first_model(recipe, manifest, session)
    if not allow_random:
        fresh = None if first.provenance is None else first.provenance["fresh"]
        check_not_random(first.model, recipe.model["name"], fresh)
    return first.model, first.record()


def _as_dict(done: Extracted, out: Path, seconds: float) -> dict[str, object]:
    return {"store": str(out), **dataclasses.asdict(done), "seconds": round(seconds, 1)}


def _summary(done: Extracted, options: Options, seconds: float) -> str:
    kept = f", {done.kept} were there" if done.kept else ""
    failed = f", {len(done.failed)} could not be read" if done.failed else ""
    return (
        f"{options.out}: {done.written} videos written ({done.num_frames:,} frames in {seconds:.1f} s){kept}{failed}; "
        f"{done.num_bytes / 2**20:,.1f} MiB"
    )
