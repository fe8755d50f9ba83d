"""``tubelet evaluate``: scores a checkpoint on a labeled split, with the code that training validates with."""

from __future__ import annotations

import dataclasses
import json

from tubelet.commands.console import ConsoleProgress
from tubelet.commands.evaluate import Options
from tubelet.commands.protocol_options import with_views
from tubelet.commands.work.scored_data import find_scored_data
from tubelet.data.features.make_dataset import make_dataset
from tubelet.data.features.store import read_store
from tubelet.data.layouts.feature_store import LAYOUT
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


def run(options: Options) -> int:
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
