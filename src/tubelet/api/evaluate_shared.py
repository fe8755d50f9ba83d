"""An evaluation that several calls share: each scores its part of the rows, and the last one measures all of them."""

from __future__ import annotations

from pathlib import Path

from tubelet.api.evaluate import (
    EvaluationOptions,
    check_store,
    finished,
    open_loader,
    training_contents,
    training_rows,
)
from tubelet.api.scored_data import ScoredData, find_scored_data
from tubelet.data.loading.index_videos import index_manifest
from tubelet.data.manifest.failure_budget import UNREADABLE, FailureBudget
from tubelet.evaluation.evaluate import Evaluation, check_labels, measured, scorer
from tubelet.evaluation.shared_scores import blocks_to_do, joined_scores, num_batches, rows_of, score_blocks
from tubelet.inference.predictor import Classifier
from tubelet.inference.shared_about import about_classifier
from tubelet.protocol import Protocol, with_views
from tubelet.session.fast_fp32 import products_of_record
from tubelet.session.progress import Progress
from tubelet.session.session import Session
from tubelet.session.shards import PARTS, RECORD, Block, Shard, SharedWork, claim


def score_shard(
    classifier: Classifier, data: str, options: EvaluationOptions, progress: Progress, out: Path, shard: Shard
) -> Evaluation | str:
    """Score a part of the rows. Return the result of all where no part is missing, else a line about those that are.

    Raises:
        ConfigError: ``out`` holds parts of another evaluation.
    """
    protocol = with_views(classifier.protocol, None, options.averaging)
    classifier.check_classes()
    scored = find_scored_data(data, options.manifest, options.split, classifier)
    check_store(scored.manifest, classifier)
    check_labels(scored.rows, protocol)
    about = about_classifier(classifier.with_protocol(protocol)) | {
        "mode": options.mode,
        "data": scored.rows.fingerprint,
        "split": scored.part,
        "batch size": options.batch_size,
    }
    claim(out / PARTS, about | products_of_record(out / PARTS / RECORD), "scores")
    work = SharedWork(out, shard, num_batches(len(scored.rows), options.batch_size))
    if todo := blocks_to_do(work):
        _score(classifier, scored, protocol, options, Session(device=classifier.device, progress=progress), work, todo)
    left = work.missing_text()
    return _measured(classifier, scored, protocol, options, work, out) if left is None else left


def _score(
    classifier: Classifier,
    scored: ScoredData,
    protocol: Protocol,
    options: EvaluationOptions,
    session: Session,
    work: SharedWork,
    todo: list[Block],
) -> None:
    rows, size = scored.rows, options.batch_size
    chosen = rows.with_samples([rows.samples[row] for block in todo for row in rows_of(block, len(rows), size)])
    trained_on, note = training_contents(classifier, rows)
    for line in (*scored.manifest.notes, *scored.notes, *([] if note is None else [note])):
        session.progress.note(line)
    record = classifier.record
    score = scorer(classifier.model, protocol, classifier.device, record.precision, options.mode, record.calibration)
    budget = FailureBudget(rows, options.failure_budget, f"videos of split '{scored.part}'")
    with open_loader(chosen, protocol, options) as loader:
        if trained_on is not None:
            loader.hash_files()
        index_manifest(chosen, options.num_workers, session, options.decode_timeout_seconds)
        score_blocks(work, todo, loader, score, budget, session)


def _measured(
    classifier: Classifier,
    scored: ScoredData,
    protocol: Protocol,
    options: EvaluationOptions,
    work: SharedWork,
    out: Path,
) -> Evaluation:
    whole, contents = joined_scores(work)
    budget = FailureBudget(
        scored.rows, options.failure_budget, f"videos of split '{scored.part}'", file=out / UNREADABLE
    )
    budget.add(whole.failed)
    budget.check()
    record = classifier.record
    result = measured(
        whole,
        scored.rows,
        protocol,
        split=scored.part,
        precision=record.precision,
        calibration=record.calibration,
        train=training_rows(scored),
    )
    return finished(result, classifier, protocol, scored, contents, out)
