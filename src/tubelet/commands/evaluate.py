"""``tubelet evaluate``: scores a checkpoint on a labeled split, with the code that training validates with."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from tubelet.commands import parse
from tubelet.commands.column_options import ColumnOptions
from tubelet.commands.console import ConsoleProgress
from tubelet.commands.protocol_options import SamplingOptions, with_views
from tubelet.data.features.make_dataset import make_dataset
from tubelet.data.features.store import read_store
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.layouts.feature_store import LAYOUT, is_store
from tubelet.data.loading.index_videos import index_manifest
from tubelet.data.loading.loader import Loader
from tubelet.data.loading.watchdog import DECODE_TIMEOUT_SECONDS
from tubelet.data.manifest.failure_budget import FAILURE_BUDGET
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.read import read_manifest
from tubelet.errors import ConfigError
from tubelet.evaluation.evaluate import evaluate, write_evaluation
from tubelet.inference.frame_stage import check_stage
from tubelet.inference.predictor import Classifier, load
from tubelet.inference.view_averaging import Mode
from tubelet.recipe import DataConfig
from tubelet.session.device import Device
from tubelet.session.session import Session
from tubelet.tasks.choose import task_of
from tubelet.types import Precision

DESCRIPTION = """Evaluate a checkpoint on a labeled split: accuracies, AUROC, calibration, confusion, scores per video.

A model with several heads is measured by its actions (one class of each head, all of them right) and by each head.
Where a video may have several labels, mean average precision stands in place of accuracy.

The checkpoint's own protocol decides sampling, size and views; --views changes the number of views, --protocol.* which
frames make a clip (VTN is trained on 16 frames and tested on 250). --mode chunked bounds the memory of long clips for
models with a per-frame stage; a feature store in place of the videos leaves that stage out. Scores are the same.

examples:
  tubelet evaluate runs/first/best --data my_clips
  tubelet evaluate runs/first/best --data labels.csv --split val --views 1x1 --out results/val
  tubelet evaluate runs/vtn/best --data my_clips --views 1x1 --protocol.num_frames 250 --protocol.target_fps 25
  tubelet evaluate runs/kitchens/best --data EPIC-KITCHENS --manifest.layout epic-kitchens-100 --split val
  tubelet evaluate runs/first/best --data my_clips --manifest.quarantine runs/scan-my_clips/quarantine.csv"""


@dataclass(frozen=True, kw_only=True)
class Options:
    checkpoint: Annotated[str, tyro.conf.Positional]  # folder, owner/name or hf://owner/name@revision
    data: str  # folder, .csv or .npz file, "embedded:adrenalmnist3d", or a feature store (`tubelet features`)
    split: Literal["train", "val", "test"] = "test"  # which rows
    views: str | None = None  # temporal x spatial, for example 4x3; by default those of the checkpoint
    averaging: Literal["logits", "probs"] | None = None  # what is averaged over views; by default the checkpoint's
    protocol: SamplingOptions = field(default_factory=SamplingOptions)
    precision: Precision | None = None  # fp32, or bf16 under autocast; by default that of the checkpoint's training
    mode: Mode = "end_to_end"  # chunked: frames part by part, then the temporal stage once over all of a long clip
    columns: Annotated[ColumnOptions, tyro.conf.arg(name="")] = field(default_factory=ColumnOptions)
    manifest: ManifestConfig = field(default_factory=ManifestConfig)
    out: Path | None = None  # folder for metrics.json and scores.csv; by default they are not written
    batch_size: int = 4  # videos read and scored together
    num_workers: int = 2  # processes that decode; 0 decodes in this process
    decode_timeout_seconds: float = DECODE_TIMEOUT_SECONDS  # a worker that reads one video for longer is killed
    failure_budget: float = FAILURE_BUDGET  # share of videos that may be unreadable; 0: none, else one always may
    device: Device = "auto"  # auto: CUDA, else MPS, else CPU
    json: bool = False  # print metrics.json on stdout


def main(argv: list[str]) -> int:
    options = parse(Options, argv, "evaluate", DESCRIPTION)
    classifier = load(options.checkpoint, options.device, precision=options.precision)
    protocol = with_views(options.protocol.applied_to(classifier.protocol), options.views, options.averaging)
    manifest = read_data(options, classifier)
    check_store(manifest, classifier)
    dataset = make_dataset(manifest.split(options.split), protocol, "views")
    with (
        Loader(
            dataset,
            options.batch_size,
            num_workers=options.num_workers,
            timeout_seconds=options.decode_timeout_seconds,
            targets=task_of(protocol).targets,
        ) as loader,
        ConsoleProgress("evaluate") as progress,
    ):
        session = Session(device=classifier.device, progress=progress)
        for note in (*manifest.notes, *differs_from_training(options, classifier, manifest)):
            progress.note(note)
        index_manifest(
            dataset.manifest,
            options.num_workers,
            session,
            options.decode_timeout_seconds,
        )
        result = evaluate(
            classifier.model,
            loader,
            protocol,
            session,
            split=options.split,
            precision=classifier.record.precision,
            train=manifest.split("train") if "train" in manifest.splits else None,
            failure_budget=options.failure_budget,
            out=options.out,
            mode=options.mode,
        )
    if options.out is not None:
        write_evaluation(result, options.out)
    print(json.dumps(result.to_dict(), indent=2) if options.json else result.summary)
    return 0


def read_data(options: Options, classifier: Classifier) -> Manifest:
    """Read the data with the classes of the checkpoint, in their order."""
    if options.manifest.class_names:
        raise ConfigError("the class names are those of the checkpoint: leave out --manifest.class_names")
    heads, columns = classifier.protocol.labels, options.manifest.label_columns
    source = DataConfig(source=options.data).path
    if len(heads) > 1 and columns == ManifestConfig().label_columns:
        columns = tuple(heads)
    if len(columns) != len(heads):
        raise ConfigError(
            f"name one label column for each head of the checkpoint ({', '.join(heads)}), got {', '.join(columns)}"
        )
    if is_store(source):
        columns = tuple(heads)
    elif len(heads) == 1 and source.suffix.lower() != ".csv":
        columns = ("label",)
    names = dict(zip(columns, heads.values(), strict=True))
    return read_manifest(source, dataclasses.replace(options.manifest, label_columns=columns, class_names=names))


def check_store(manifest: Manifest, classifier: Classifier) -> None:
    """Check that a feature store was made with the checkpoint's weights."""
    if manifest.layout == LAYOUT:
        check_stage(classifier.model, classifier.record.model_name, read_store(manifest.root), manifest.root)


def differs_from_training(options: Options, classifier: Classifier, manifest: Manifest) -> list[str]:
    """Return a warning if the training data has changed or is split differently since the training run."""
    provenance = classifier.record.provenance
    trained_on = provenance.get("recipe", {}).get("data", {}).get("source")
    if trained_on is None or Path(trained_on).resolve() != Path(options.data).resolve():
        return []
    if provenance.get("data_fingerprint") == manifest.fingerprint:
        return []
    return [
        f"{options.data} is not split or filled as when this model was trained on it (other --manifest options or "
        f"changed files): '{options.split}' may hold videos that it has seen"
    ]
