"""``tubelet moments``: finds behaviors in films, a folder of results for each."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from tubelet.commands.console import output_console
from tubelet.commands.moments import Options
from tubelet.commands.work.predict import exit_code
from tubelet.commands.work.predict_windows import check_frame_fps
from tubelet.data.layouts.bouts.bout import BACKGROUND, Bout, FilmLabels, LabeledFilm
from tubelet.data.layouts.bouts.cells import written_cell
from tubelet.data.layouts.bouts.read import read_bouts
from tubelet.data.layouts.bouts.write import WrittenFilm, boris_project, bouts_csv, bouts_json, bouts_vtt
from tubelet.data.layouts.find_files import find_files
from tubelet.errors import ConfigError, DataError, OutOfMemory, explaining_memory, printable
from tubelet.files import check_path, write_atomically
from tubelet.inference.moments.film import FilmMoments, MomentsModel, load_moments, moments_folder
from tubelet.inference.moments.frame_tables import write_frames
from tubelet.inference.moments.head_file import RECORD, WEIGHTS
from tubelet.inference.moments.results import FILM, changes, names_in, parts_in, read_part, what_of
from tubelet.report.ethogram import write_ethogram
from tubelet.report.moments_report import bout_starts, write_moments_report
from tubelet.session.console_progress import ConsoleProgress
from tubelet.session.fast_fp32 import products_of_record
from tubelet.session.shards import Parts, Shard, claim, missing_text
from tubelet.tasks.per_frame.targets import FilmClock, check_frames, spans_by_label

ABOUT, SUMMARY, PROJECT, REPORT = "moments.json", "summary.csv", "bouts.boris", "report.html"


def run(options: Options, argv: list[str]) -> int:
    if not options.films:
        raise ConfigError("nothing to look at: give video files, folders or globs")
    shard, files = Shard.parse(options.shard), find_files(options.films)
    check_frame_fps(options.frame_fps, files)
    check_path(options.out, is_written=True)
    labels = None if options.labels is None else read_bouts(options.labels)
    model = load_moments(options.model, options.device)
    _claim(options, model)
    names, parts = names_in(options.out, files), Parts(options.out)
    failed = 0
    with ConsoleProgress("moments") as progress:
        labeled = {} if labels is None else _labeled(labels, files, model, options, progress)
        own = shard.of(list(zip(files, names, strict=True)))
        for file, name in own:
            film = labeled.get(file.resolve())
            if _is_done(file, name, parts, film, options, progress):
                progress.note(f"{printable(file.name)}: done before")
                continue
            failed += not _look_at(file, name, parts, model, film, options, progress)
    left = missing_text(shard, names, list(map(parts.is_done, names)), "films")
    if left is None:
        _write_together(parts_in(options.out), names, model, options, shlex.join(["tubelet", "moments", *argv]))
    else:
        print(f"tubelet: {left}", file=sys.stderr)
    _show([read_part(options.out, name) for _, name in own], as_json=options.json)
    return exit_code(failed, len(own))


def _claim(options: Options, model: MomentsModel) -> None:
    """Say in the folder what its results are of, or refuse one that holds others."""
    folder = moments_folder(Path(options.model))
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes() + (folder / RECORD).read_bytes())
    digest.update(model.record.weights_sha256.encode())
    about = {"model": digest.hexdigest()[:16], "start": options.start, "end": options.end}
    claim(options.out, about | products_of_record(options.out / ABOUT), "moments", ABOUT)


def _labeled(
    labels: FilmLabels, files: Sequence[Path], model: MomentsModel, options: Options, progress: ConsoleProgress
) -> dict[Path, LabeledFilm]:
    """The labels of each film by its path, with a note where they have nothing to say."""
    labeled = {(labels.root / film.path).resolve(): film for film in labels.films}
    for line in labels.notes:
        progress.note(f"{options.labels}: {line}")
    if not any(file.resolve() in labeled for file in files):
        first = printable(next((film.path for film in labels.films), "none"))
        progress.note(
            f"{options.labels}: labels none of these films ({len(labels.films)} others, the first is {first}); nothing "
            "is shown beside what is found"
        )
    if unknown := [name for name in labels.names if name not in model.head_record.labels]:
        known = ", ".join(printable(name) for name in model.head_record.labels if name != BACKGROUND)
        progress.note(
            f"{options.labels}: the model does not know {', '.join(map(printable, unknown))}, which is not shown; it "
            f"knows {known}"
        )
    return labeled


def _is_done(
    file: Path, name: str, parts: Parts, film: LabeledFilm | None, options: Options, progress: ConsoleProgress
) -> bool:
    """Whether the part of a film is there and still what is asked for. One that is not is removed."""
    if not parts.is_done(name):
        return False
    part, fps = read_part(options.out, name), _fps(file, options)
    if "error" not in part:
        if not (found := changes(part, file, fps, film)):
            return True
        progress.note(f"{printable(file.name)}: done before with another {', '.join(found)}; computed anew")
    parts.remove(name)
    return False


def _fps(file: Path, options: Options) -> float | None:
    return options.frame_fps if file.is_dir() else None


def _look_at(
    file: Path,
    name: str,
    parts: Parts,
    model: MomentsModel,
    film: LabeledFilm | None,
    options: Options,
    progress: ConsoleProgress,
) -> bool:
    """Write the part of one film. Return whether it could be read, and its labels are of it."""
    stretch: dict[str, Any] = {"start_seconds": options.start, "end_seconds": options.end}
    fps = _fps(file, options)
    try:
        if film is not None:
            _check_labels(film, file, model.clock(file, fps), options)
        with explaining_memory("use smaller clips, or leave the film out"):
            found = model.moments(file, **stretch, frame_fps=fps, progress=progress)
    except (DataError, OutOfMemory) as error:
        line = f"{file}: {error}" if isinstance(error, OutOfMemory) else str(error)
        progress.note(f"error: {line}")
        with parts.writing(name) as part:
            (part / FILM).write_text(json.dumps({"source": str(file.resolve()), "error": line}), encoding="utf-8")
        return False
    for line in found.notes:
        progress.note(f"{printable(file.name)}: {line}")
    with parts.writing(name) as part:
        _write_film(part, file, found, film, model, fps)
    progress.note(f"{printable(file.name)}: {len(found.bouts)} bouts")
    return True


def _check_labels(film: LabeledFilm, file: Path, clock: FilmClock, options: Options) -> None:
    try:
        check_frames(film, clock)
        spans_by_label(film.bouts, clock)
    except DataError as error:
        raise DataError(f"{file}: {options.labels}: {error}") from None


def _write_film(
    part: Path, file: Path, found: FilmMoments, film: LabeledFilm | None, model: MomentsModel, fps: float | None
) -> None:
    written = found.written(file)
    np.savez_compressed(
        part / "scores.npz",
        probs=found.probs,
        edges=found.edges,
        first_frames=found.clock.first_frames[found.first_step :][: len(found.probs)],
        timestamps=found.clock.timestamps,
        labels=np.array(found.labels),
    )
    write_frames(part, found)
    write_atomically(part / "bouts.csv", bouts_csv([written]))
    write_atomically(part / "bouts.json", bouts_json([written]))
    write_atomically(part / "bouts.vtt", bouts_vtt(written))
    spans = None if film is None else spans_by_label(film.bouts, found.clock)
    write_ethogram(part / "ethogram.png", found, spans, title=printable(file.name))
    starts = [dataclasses.asdict(s) for s in bout_starts(file, found, model.record.protocol, fps)]
    content = {**found.to_dict(), "of": what_of(file, fps, film), "starts": starts}
    write_atomically(part / FILM, json.dumps(content, ensure_ascii=False) + "\n")


def _write_together(
    parts: Sequence[str], names: Sequence[str], model: MomentsModel, options: Options, command: str
) -> None:
    """Write what is of all films of the folder, those of earlier calls too."""
    if earlier := len(set(parts) - set(names)):
        print(f"tubelet: {earlier} film{'s' * (earlier > 1)} of earlier calls stay in {options.out}", file=sys.stderr)
    films = [{**read_part(options.out, name), "part": name} for name in parts]
    read = [film for film in films if "error" not in film]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label", "num_bouts", "seconds", "share", "median_seconds"])
    for film in read:
        for row in film["summary"]:
            median = "" if row["median_seconds"] is None else f"{row['median_seconds']:.4f}"
            seconds, share = f"{row['seconds']:.4f}", f"{row['share']:.6f}"
            label = written_cell(row["label"])
            writer.writerow([film["source"], label, row["num_bouts"], seconds, share, median])
    write_atomically(options.out / SUMMARY, text.getvalue())
    written = {
        film["part"]: WrittenFilm(
            path=film["source"],
            duration_seconds=film["duration_seconds"],
            fps=film["fps"],
            bouts=[Bout(label=label, start=start, stop=stop) for start, stop, label in film["bouts"]],
        )
        for film in read
    }
    labels = model.head_record.labels[1:] if model.task.one else model.head_record.labels
    write_atomically(options.out / PROJECT, boris_project(written, labels, options.out.resolve().name))
    failures = [film["error"] for film in films if "error" in film]
    title = f"Moments of {len(read)} film{'s' * (len(read) != 1)}"
    write_moments_report(options.out / REPORT, read, title=title, command=command, failures=failures)
    print(f"report: {options.out / REPORT}", file=sys.stderr)


def _show(films: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    if as_json:
        shown = [{key: value for key, value in film.items() if key not in ("starts", "of")} for film in films]
        print(json.dumps({"films": shown}, indent=2, ensure_ascii=False))
        return
    table = Table(title="bouts that were found")
    for heading in ("film", "behavior", "bouts", "seconds", "share", "median (s)"):
        table.add_column(heading, justify="left" if heading in ("film", "behavior") else "right")
    for film in films:
        for row in film.get("summary", ()):
            median = "" if row["median_seconds"] is None else f"{row['median_seconds']:.2f}"
            cells = [str(row["num_bouts"]), f"{row['seconds']:.1f}", f"{row['share']:.1%}", median]
            table.add_row(escape(printable(Path(film["source"]).name)), escape(row["label"]), *cells)
    output_console().print(table)
