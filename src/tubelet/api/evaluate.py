"""``tubelet.evaluate``: scores a checkpoint on labeled videos, with the code that training validates with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tubelet import config as config_io
from tubelet.api.scored_data import ScoredData, find_scored_data
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
from tubelet.evaluation.evaluate import Evaluation, write_evaluation
from tubelet.evaluation.evaluate import evaluate as score
from tubelet.evaluation.rejection import score_unknown, with_rejection
from tubelet.evaluation.trained_on import TrainedOn
from tubelet.files import check_path
from tubelet.inference.frame_stage import check_stage
from tubelet.inference.predictor import Classifier, load
from tubelet.protocol import Protocol, with_views
from tubelet.session.console_progress import ConsoleProgress
from tubelet.session.progress import Progress
from tubelet.session.session import Session
from tubelet.tasks.choose import task_for
from tubelet.types import Device, Mode, Part


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """What is scored, and how it is read."""

    split: Part | None = None  # which rows; None means the test part of the recorded split, or all of other data
    averaging: Literal["logits", "probs"] | None = None  # of the views; None means as the checkpoint says
    manifest: ManifestConfig = field(default_factory=ManifestConfig)
    mode: Mode = "end_to_end"  # chunked: frames part by part, then the temporal stage once over all of a long clip
    batch_size: int = 4  # videos read and scored together
    num_workers: int = 2  # processes that decode; 0 decodes in this process
    decode_timeout_seconds: float = DECODE_TIMEOUT_SECONDS  # a worker that reads one video for longer is killed
    failure_budget: float = FAILURE_BUDGET  # share of videos that may be unreadable; 0: none, else one always may


def evaluate(
    model: Classifier | str | Path,
    data: str | Path,
    *,
    views: str | None = None,
    out: str | Path | None = None,
    device: Device = "auto",
    progress: bool = True,
    **options: Any,
) -> Evaluation:
    """Metrics of a checkpoint on labeled videos, which are named where the model was trained on them.

    Args:
        model: a classifier, or a checkpoint as ``tubelet.load`` takes it.
        data: a folder, a .csv or .npz file, or a feature store.
        views: temporal x spatial, for example "4x3". None means those of the checkpoint.
        out: folder for ``metrics.json`` and ``scores.csv``. None means that nothing is written.
        device: for a checkpoint; a classifier stays on its own.
        progress: report on stderr.
        options: fields of :class:`EvaluationOptions`, such as ``split="all"`` or ``num_workers=4``.

    Raises:
        DataError: the data cannot be read, too many videos cannot, or there is no such split.
        ConfigError: an unknown option, or one that does not fit.
    """
    folder = None if out is None else Path(out)
    if folder is not None:
        check_path(folder, is_written=True)
    classifier = model if isinstance(model, Classifier) else load(model, device)
    asked = config_io.from_dict(EvaluationOptions, options, where="evaluate")
    if views is not None:
        classifier = classifier.with_protocol(with_views(classifier.protocol, views))
    with ConsoleProgress("evaluate", is_quiet=not progress) as shown:
        return score_checkpoint(classifier, str(data), asked, shown, folder)


def score_checkpoint(
    classifier: Classifier, data: str, options: EvaluationOptions, progress: Progress, out: Path | None
) -> Evaluation:
    """Find the rows to score, score them, and write the result where asked."""
    protocol = with_views(classifier.protocol, None, options.averaging)
    classifier.check_classes()
    scored = find_scored_data(data, options.manifest, options.split, classifier)
    check_store(scored.manifest, classifier)
    session = Session(device=classifier.device, progress=progress)
    with open_loader(scored.rows, protocol, options) as loader:
        trained_on, note = training_contents(classifier, scored.rows)
        for line in (*scored.manifest.notes, *scored.notes, *([] if note is None else [note])):
            progress.note(line)
        if trained_on is not None:
            loader.hash_files()
        index_manifest(scored.rows, options.num_workers, session, options.decode_timeout_seconds)
        result = score(
            classifier.model,
            loader,
            protocol,
            session,
            split=scored.part,
            precision=classifier.record.precision,
            train=training_rows(scored),
            failure_budget=options.failure_budget,
            out=out,
            mode=options.mode,
            calibration=classifier.record.calibration,
        )
    return finished(result, classifier, protocol, scored, loader.take_contents(), out)


def open_loader(rows: Manifest, protocol: Protocol, options: EvaluationOptions) -> Loader:
    """What reads the rows as they are asked for."""
    return Loader(
        make_dataset(rows, protocol, "views"),
        options.batch_size,
        num_workers=options.num_workers,
        timeout_seconds=options.decode_timeout_seconds,
        targets=task_for(protocol, rows).targets,
    )


def finished(
    result: Evaluation,
    classifier: Classifier,
    protocol: Protocol,
    scored: ScoredData,
    contents: Mapping[str, str],
    out: Path | None,
) -> Evaluation:
    """A result with what is said of its videos beside their metrics, written where asked.

    Args:
        contents: the hashes of the files that were read (``Loader.take_contents``).
    """
    if classifier.reject:
        unknown = score_unknown(classifier.model, protocol, classifier.device, classifier.record.precision)
        result = with_rejection(result, protocol, unknown)
    trained_on, _ = training_contents(classifier, scored.rows)
    seen = None if trained_on is None else _seen_videos(trained_on, result, scored.rows, contents)
    result = dataclasses.replace(result, scored=scored.text, seen=seen)
    if out is not None:
        write_evaluation(result, out)
    return result


def training_rows(scored: ScoredData) -> Manifest | None:
    """Those whose most frequent class is the baseline. None means that it is that of the scored rows."""
    has_any = scored.part != "all" and "train" in scored.manifest.splits
    return scored.manifest.split("train") if has_any else None


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


def _seen_videos(
    trained_on: TrainedOn, result: Evaluation, rows: Manifest, contents: Mapping[str, str]
) -> tuple[str, ...]:
    """The scored videos that the model was trained on, by name."""
    scored = dataclasses.replace(rows, samples=result.samples)
    return tuple(f"{row_path(row)}{segment_text(row)}" for row in trained_on.seen(scored, contents))


def check_store(manifest: Manifest, classifier: Classifier) -> None:
    """Check that a feature store was made with the checkpoint's weights."""
    if manifest.layout == LAYOUT:
        record = classifier.record
        check_stage(classifier.model, record.model_name, read_store(manifest.root), manifest.root, record.precision)
