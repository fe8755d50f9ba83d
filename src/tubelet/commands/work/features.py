"""``tubelet features``: runs a model's per-frame stage on every frame of a dataset, into a feature store."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path

from torch import nn

from tubelet.commands.features import Options
from tubelet.data.features.store import read_store
from tubelet.data.layouts.feature_store import is_store
from tubelet.data.loading.index_videos import index_manifest
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.read import read_manifest
from tubelet.errors import ConfigError
from tubelet.files import check_path
from tubelet.inference.feature_extraction import Extracted, ExtractOptions, extract, open_store
from tubelet.inference.frame_stage import check_not_random
from tubelet.recipe import DataConfig, Recipe, load_recipe
from tubelet.runs.initialization import first_model
from tubelet.session.console_progress import ConsoleProgress
from tubelet.session.device import choose_device
from tubelet.session.fast_fp32 import use_fast_fp32
from tubelet.session.session import Session
from tubelet.session.shards import Shard
from tubelet.weights.checkpoint.checkpoint import Record
from tubelet.weights.open_checkpoint import open_checkpoint


def run(options: Options, fields: list[tuple[str, str]]) -> int:
    shard = Shard.parse(options.shard)
    if not is_store(options.out):  # a finished one may lie where nothing is written
        check_path(options.out, "OUT", is_written=True)
    else:
        use_fast_fp32(read_store(options.out).fast_fp32)  # all of its vectors alike
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
        if shard == Shard():  # else each video is indexed by the one call that reads it, as it is read
            index_manifest(manifest, options.num_workers, session, options.decode_timeout_seconds)
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
                shard=shard,
            ),
            session,
        )
    seconds = time.monotonic() - began
    print(
        json.dumps(_as_dict(done, options.out, seconds), indent=2) if options.json else _summary(done, options, seconds)
    )
    if done.left is not None:
        print(f"tubelet: {done.left}", file=sys.stderr)
    return 0


def _model(
    options: Options, fields: list[tuple[str, str]], manifest: Manifest, session: Session
) -> tuple[nn.Module, Record]:
    """The model of a checkpoint, or that of a recipe as a run of it begins."""
    source = options.model
    if options.is_recipe:
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
