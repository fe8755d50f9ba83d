"""``tubelet predict``: classifies videos."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from tubelet.commands.console import output_console
from tubelet.commands.predict import Options
from tubelet.commands.prediction_files import STDOUT, check_outputs, write_csv
from tubelet.commands.protocol_options import SamplingOptions
from tubelet.commands.work.predict_windows import (
    check_frame_fps,
    films_as_csv,
    predict_films,
    scores_text,
    seconds_of,
    span_of,
    write_films,
    write_plots,
)
from tubelet.commands.work.shared.predict import PREDICTIONS, Found, PredictFiles, predict_blocks, results_of
from tubelet.commands.work.shared.ray_predict import predict_on_ray
from tubelet.data.layouts.feature_store import is_store
from tubelet.data.layouts.find_files import find_files
from tubelet.data.manifest.read import read_manifest
from tubelet.errors import ConfigError, printable
from tubelet.files import check_path
from tubelet.inference.films import Film, Windows
from tubelet.inference.predictor import Classifier, load
from tubelet.inference.shared_about import about_classifier
from tubelet.protocol import Protocol, with_views
from tubelet.report.labeling_tools import write_fiftyone, write_label_studio
from tubelet.session.console_progress import ConsoleProgress
from tubelet.session.fast_fp32 import FastFp32, products_of_record, use_fast_fp32
from tubelet.session.shards import PARTS, RECORD, Shard, SharedWork, claim, digest_of
from tubelet.tasks.classification import rankings
from tubelet.types import Prediction

NUM_WORKERS = 2


def run(options: Options) -> int:
    if not options.sources:
        raise ConfigError("nothing to predict: give video files, folders or globs behind the checkpoint")
    store = find_store(options.sources)
    files = [] if store else find_files(options.sources)
    shard = _check(options, store, files)
    loaded = load(options.checkpoint, options.device, precision=options.precision, reject=options.reject)
    classifier = as_asked(options, loaded)
    classifier.check_classes()
    if options.label_studio is not None:
        classifier.check_probabilities("suggestions to Label Studio are")
    if options.out is not None:
        return _predict_shared(options, classifier, files, options.out, shard)
    total = len(files) if store is None else len(read_manifest(store, is_checked=False))
    found: list[Found] = []
    with ConsoleProgress("predict") as progress:
        for result in results_in_order(options, classifier, progress, store)(files):
            found.append(result)
            if options.window is None:
                progress.advance(len(found), total)
    write_results(options, classifier.protocol, found)
    return exit_code(sum(isinstance(result, str) for result in found), total)


def results_in_order(
    options: Options, classifier: Classifier, progress: ConsoleProgress, store: Path | None = None
) -> PredictFiles:
    """What predicts files, or the rows of a store, one after the other; a bad one gives its line, which is noted."""
    top_k = min(options.top_k, len(classifier.labels))

    def predict(files: Sequence[Path]) -> Iterator[Found]:
        num_workers = min(NUM_WORKERS if options.num_workers is None else options.num_workers, len(files))
        if options.window is not None:
            return predict_films(classifier, files, _windows(options, top_k), progress)
        if store is not None:
            return classifier.predict_store(store, top_k=top_k)
        return classifier.predict_files(files, frame_fps=options.frame_fps, num_workers=num_workers, top_k=top_k)

    def noted(files: Sequence[Path]) -> Iterator[Found]:
        for result in predict(files):
            if isinstance(result, str):
                progress.note(f"error: {result}")
            yield result

    return noted


def write_results(options: Options, protocol: Protocol, found: Sequence[Found]) -> None:
    """Print results, and write the files that are asked for."""
    failures = [result for result in found if isinstance(result, str)]
    films = [result for result in found if isinstance(result, Film)]
    predictions = [result for result in found if isinstance(result, Prediction)]
    _write_label_studio(options, protocol, films or predictions)
    if options.window is not None:
        write_films(films, failures, options.json, options.csv)
        if options.fiftyone is not None:
            write_fiftyone(options.fiftyone, films, protocol)
        if options.plot is not None:
            write_plots(films, options.plot)
        return
    if options.csv is not None:
        write_csv(options.csv, as_csv(predictions))
    if options.json:
        rows = [dataclasses.asdict(p) for p in predictions]
        print(json.dumps({"predictions": rows, "errors": failures}, indent=2, ensure_ascii=False))
    elif options.csv != STDOUT:
        print_table(predictions)


def _predict_shared(options: Options, classifier: Classifier, files: Sequence[Path], out: Path, shard: Shard) -> int:
    top_k = min(options.top_k, len(classifier.labels))
    asked = {"files": digest_of(map(str, files)), "top_k": top_k, "frame_fps": options.frame_fps}
    windows = None if options.window is None else repr(_windows(options, top_k))
    if options.ray is not None:
        use_fast_fp32(FastFp32())  # as the actors, whatever machines they are on
    about = {**about_classifier(classifier), **asked, "windows": windows}
    claim(out / PARTS, about | products_of_record(out / PARTS / RECORD), "predictions")
    work = SharedWork(out, shard, len(files))
    with ConsoleProgress("predict") as progress:
        if options.ray is None:
            predict = results_in_order(options, classifier, progress)
            failed = predict_blocks(work, work.own, files, predict, progress.advance)
        else:
            num_gpus = int(classifier.device.type == "cuda")
            failed = predict_on_ray(options, work, files, options.ray, num_gpus, progress.advance)
    left = work.missing_text()
    if left is not None:
        shown = dataclasses.replace(options, csv=None, plot=None, label_studio=None, fiftyone=None)
        write_results(shown, classifier.protocol, results_of(work, work.own))
        print(f"tubelet: {left}", file=sys.stderr)
    else:
        found = results_of(work, work.blocks)
        films = [result for result in found if isinstance(result, Film)]
        predictions = [result for result in found if isinstance(result, Prediction)]
        write_csv(out / PREDICTIONS, as_csv(predictions) if options.window is None else films_as_csv(films))
        write_results(options, classifier.protocol, found)
        print(f"predictions: {out / PREDICTIONS}", file=sys.stderr)
        return exit_code(sum(isinstance(result, str) for result in found), len(files))  # as one call, of all files
    return exit_code(failed, sum(len(block.items) for block in work.own))


def as_asked(options: Options, classifier: Classifier) -> Classifier:
    """Load the classifier with the views, frames and mode of the command line."""
    protocol = with_views(options.protocol.applied_to(classifier.protocol), options.views, None)
    record = dataclasses.replace(classifier.record, protocol=protocol)
    return Classifier(classifier.model, record, options.device, options.mode, reject=classifier.reject)


def find_store(sources: Sequence[str]) -> Path | None:
    """Return the feature store among the sources, or None.

    Raises:
        ConfigError: it is not the only source.
    """
    store = next((Path(source) for source in sources if is_store(Path(source))), None)
    if store is not None and len(sources) > 1:
        raise ConfigError(f"{store}: is a feature store; give it alone, without other sources")
    return store


def _check(options: Options, store: Path | None, files: Sequence[Path]) -> Shard:
    """Refuse what does not fit. Return the part of this call."""
    shard = Shard.parse(options.shard)
    if options.ray is not None and (options.out is None or options.shard is not None):
        raise ConfigError("--ray shares all files between its actors: give --out for their parts, and no --shard")
    if options.shard is not None and options.out is None:
        raise ConfigError("--shard belongs to --out, where calls leave their parts; give a folder that all of them see")
    if options.out is not None:
        if store is not None:
            raise ConfigError(f"{store}: a feature store is predicted at once; leave out --out, and write --csv")
        check_path(options.out, is_written=True)
    check_frame_fps(options.frame_fps, files)
    outputs = {
        "--csv": options.csv,
        "--plot": options.plot,
        "--label-studio": options.label_studio,
        "--fiftyone": options.fiftyone,
    }
    check_outputs(outputs, options.json, files)
    if options.fiftyone is not None and options.window is None:
        raise ConfigError("--fiftyone writes stretches of time; give --window, for example --window whole")
    for_windows = {"--hop": options.hop, "--fps": options.fps, "--merge": options.merge, "--plot": options.plot}
    idle = [name for name, value in for_windows.items() if value]
    if idle and options.window is None:
        rate = "; the rate of a frame folder is --frame-fps" if options.fps and any(map(Path.is_dir, files)) else ""
        raise ConfigError(f"{', '.join(idle)} belongs to --window; give a length, for example --window 4s{rate}")
    if options.window == "whole" and options.hop is not None:
        raise ConfigError("--hop has no meaning with --window whole, which is one window; leave it out")
    for_clips = {"--views": options.views, "--mode": options.mode != "end_to_end", "a feature store": store}
    idle = [name for name, value in for_clips.items() if value] + ["--protocol"] * (
        options.protocol != SamplingOptions()
    )
    if idle and options.window is not None:
        raise ConfigError(
            f"{', '.join(idle)} has no meaning with --window, whose windows are single views of --window and --fps, "
            "frame by frame; leave one of them out"
        )
    if options.num_workers is not None and options.window is not None:
        raise ConfigError("--num-workers has no meaning with --window, which decodes in this process; leave it out")
    return shard


def _windows(options: Options, top_k: int) -> Windows:
    return Windows(
        window=span_of(str(options.window)),
        hop_seconds=None if options.hop is None else seconds_of(options.hop, "--hop"),
        sample_fps=options.fps,
        frame_fps=options.frame_fps,
        merge=options.merge,
        top_k=top_k,
    )


def _write_label_studio(options: Options, protocol: Protocol, results: Sequence[Prediction | Film]) -> None:
    if options.label_studio is not None:
        config = write_label_studio(options.label_studio, results, protocol, options.checkpoint)
        print(f"Label Studio: {options.label_studio}, and its labeling configuration {config}", file=sys.stderr)


def exit_code(num_failed: int, num_files: int) -> int:
    """Return the exit code, after a last line that counts unreadable files."""
    if num_failed:
        print(f"tubelet: error: {num_failed} of {num_files} files could not be read", file=sys.stderr)
    return 1 if num_failed else 0


def as_csv(predictions: Sequence[Prediction]) -> str:
    """Write one row per video and label: path, rank, label, probability or value, seconds covered, views, notes.

    With several heads, a column names the head, or "action".
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    several = any(p.heads for p in predictions)
    head_column = ["head"] if several else []
    kind = predictions[0].kind if predictions else "probability"
    writer.writerow(["path", *head_column, "rank", "label", kind, "seconds_covered", "num_views", "notes"])
    for p in predictions:
        rest = [f"{p.seconds_covered:.3f}", p.num_views, "; ".join(p.notes)]
        for head, scores in rankings(p).items():
            for rank, (label, prob) in enumerate(zip(scores.labels, scores.probs, strict=True), 1):
                writer.writerow([p.source, *([head] if several else []), rank, label, f"{prob:.6g}", *rest])
    return text.getvalue()


def print_table(predictions: Sequence[Prediction]) -> None:
    if not predictions:
        return
    table = Table()
    table.add_column("video", overflow="fold")
    for heading in rankings(predictions[0]):
        table.add_column(escape(heading))
    table.add_column("covered", justify="right")
    table.add_column("note", overflow="fold")
    for p in predictions:
        best = [escape(scores_text(scores, p.kind)) for scores in rankings(p).values()]
        source, covered = escape(printable(p.source)), f"{p.seconds_covered:.1f} s, {p.num_views} views"
        table.add_row(source, *best, covered, "; ".join(p.notes))
    output_console().print(table)
