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
from tubelet.commands.scored_data import Part, find_scored_data
from tubelet.data.features.make_dataset import make_dataset
from tubelet.data.features.store import read_store
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.layouts.feature_store import LAYOUT
from tubelet.data.loading.config import DECODE_TIMEOUT_SECONDS, FAILURE_BUDGET
from tubelet.data.loading.content_hash import MAX_FILES, may_hash
from tubelet.data.loading.index_videos import index_manifest
from tubelet.data.loading.loader import Loader
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.quarantine import row_path
from tubelet.data.manifest.segments import segment_text
from tubelet.evaluation.evaluate import Evaluation, evaluate, write_evaluation
from tubelet.evaluation.rejection import score_unknown, with_rejection
from tubelet.evaluation.trained_on import TrainedOn
from tubelet.files import check_path
from tubelet.inference.frame_stage import check_stage
from tubelet.inference.predictor import Classifier, load
from tubelet.session.session import Session
from tubelet.tasks.choose import task_of
from tubelet.types import Device, Mode, Precision

DESCRIPTION = """Evaluate a checkpoint on labeled videos: accuracies, AUROC, calibration, confusion, scores per video.

A model with several heads is measured by its actions (one class of each head, all of them right) and by each head.
Where a video may have several labels, mean average precision stands in place of accuracy.

Of the data that the checkpoint was trained on, the test part of the split of then is scored. Other data are scored
whole, or their test part where they state one; --split all scores everything. The first line says what was scored.
Videos that the model has seen in training, found by content under any name, are named and counted.

The checkpoint's own protocol decides sampling, size and views; --views changes the number of views, --protocol.* which
frames make a clip (VTN is trained on 16 frames and tested on 250). --mode chunked bounds the memory of long clips for
models with a per-frame stage; a feature store in place of the videos leaves that stage out. Scores are the same.

examples:
  tubelet evaluate runs/first/best --data my_clips
  tubelet evaluate runs/first/best --data labels.csv --split val --views 1x1 --out results/val
  tubelet evaluate runs/vtn/best --data my_clips --views 1x1 --protocol.num_frames 250 --protocol.target_fps 25
  tubelet evaluate runs/first/best --data my_clips --reject
  tubelet evaluate runs/kitchens/best --data EPIC-KITCHENS --manifest.layout epic-kitchens-100 --split val
  tubelet evaluate runs/first/best --data my_clips --manifest.quarantine runs/scan-my_clips/quarantine.csv"""


@dataclass(frozen=True, kw_only=True)
class Options:
    checkpoint: Annotated[str, tyro.conf.Positional]  # folder, owner/name or hf://owner/name@revision
    data: str  # folder, .csv or .npz file, "embedded:adrenalmnist3d", or a feature store (`tubelet features`)
    split: Part | None = None  # which rows; by default as said above
    views: str | None = None  # temporal x spatial, for example 4x3; by default those of the checkpoint
    averaging: Literal["logits", "probs"] | None = None  # what is averaged over views; by default the checkpoint's
    protocol: SamplingOptions = field(default_factory=SamplingOptions)
    precision: Precision | None = None  # fp32, or bf16 under autocast; by default that of the checkpoint's training
    reject: bool = False  # also count what is "none of these" to the model, and test that on black, bars and noise
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
    if options.out is not None:
        check_path(options.out, is_written=True)
    classifier = load(options.checkpoint, options.device, precision=options.precision, reject=options.reject)
    protocol = with_views(options.protocol.applied_to(classifier.protocol), options.views, options.averaging)
    scored = find_scored_data(options.data, options.columns.applied_to(options.manifest), options.split, classifier)
    manifest, rows = scored.manifest, scored.rows
    check_store(manifest, classifier)
    with (
        Loader(
            make_dataset(rows, protocol, "views"),
            options.batch_size,
            num_workers=options.num_workers,
            timeout_seconds=options.decode_timeout_seconds,
            targets=task_of(protocol).targets,
        ) as loader,
        ConsoleProgress("evaluate") as progress,
    ):
        session = Session(device=classifier.device, progress=progress)
        trained_on, note = training_contents(classifier, rows)
        for line in (*manifest.notes, *scored.notes, *([] if note is None else [note])):
            progress.note(line)
        if trained_on is not None:
            loader.hash_files()
        index_manifest(rows, options.num_workers, session, options.decode_timeout_seconds)
        result = evaluate(
            classifier.model,
            loader,
            protocol,
            session,
            split=scored.part,
            precision=classifier.record.precision,
            train=manifest.split("train") if scored.part != "all" and "train" in manifest.splits else None,
            failure_budget=options.failure_budget,
            out=options.out,
            mode=options.mode,
            calibration=classifier.record.calibration,
        )
        if options.reject:
            unknown = score_unknown(classifier.model, protocol, classifier.device, classifier.record.precision)
            result = with_rejection(result, protocol, unknown)
    seen = None if trained_on is None else seen_videos(trained_on, result, rows, loader)
    result = dataclasses.replace(result, scored=scored.text, seen=seen)
    if options.out is not None:
        write_evaluation(result, options.out)
    print(json.dumps(result.to_dict(), indent=2) if options.json else f"{scored.text}\n{result.summary}")
    if options.reject and not options.json:
        print(result.rejection_text)
    return 0


def training_contents(classifier: Classifier, rows: Manifest) -> tuple[TrainedOn | None, str | None]:
    """What the checkpoint was trained on by content, and a note where that is not known."""
    trained_on = TrainedOn.of_weights(classifier.record.provenance)
    if trained_on is None:
        why = "holds no hashes of the files that it was trained on"
    elif not may_hash(rows):
        why = f"cannot be compared with feature stores, or with more than {MAX_FILES:,} files"
    else:
        missing = trained_on.num_rows - trained_on.num_known
        note = f"the checkpoint knows {trained_on.num_known} of its {trained_on.num_rows} training videos by content"
        return trained_on, note if missing else None
    return None, f"whether the model has seen these videos in training is not known: the checkpoint {why}"


def seen_videos(trained_on: TrainedOn, result: Evaluation, rows: Manifest, loader: Loader) -> tuple[str, ...]:
    """The scored videos that the model was trained on, by name."""
    scored = dataclasses.replace(rows, samples=result.samples)
    found = trained_on.seen(scored, loader.take_contents())
    return tuple(f"{row_path(row)}{segment_text(row)}" for row in found)


def check_store(manifest: Manifest, classifier: Classifier) -> None:
    """Check that a feature store was made with the checkpoint's weights."""
    if manifest.layout == LAYOUT:
        record = classifier.record
        check_stage(classifier.model, record.model_name, read_store(manifest.root), manifest.root, record.precision)
