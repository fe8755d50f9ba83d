"""``tubelet explain``: the relevance of a clip or of a film for one class, as numbers and pictures."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from tubelet.commands.console import output_console
from tubelet.commands.explain import Options
from tubelet.commands.work.predict_windows import seconds_of
from tubelet.errors import ConfigError, printable
from tubelet.explain.config import ExplainConfig
from tubelet.files import check_path, write_atomically
from tubelet.inference.predictor import Classifier, load
from tubelet.report.relevance.clip_files import SUMMARY, clip_files, summary
from tubelet.report.relevance.film_files import FilmRequest, explain_film
from tubelet.report.relevance.page import PAGE, explanation_page
from tubelet.report.relevance.training_clips import scale_of
from tubelet.session.console_progress import ConsoleProgress
from tubelet.session.processes import launched_command
from tubelet.session.progress import Progress


def run(options: Options, argv: list[str]) -> int:
    config = ExplainConfig(
        method=options.method, fill=options.fill, tubelet=options.tubelet, num_steps=options.num_steps
    )
    _check(options)
    classifier = load(options.checkpoint, options.device)
    explain = _explain_clip if options.window is None else _explain_windows
    with ConsoleProgress("explain") as progress:
        found = explain(classifier, options, config, progress)
    names = [file.name for file in options.out.iterdir()]
    page = explanation_page(found, names, command=launched_command(["explain", *argv]))
    write_atomically(options.out / PAGE, page)
    if options.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        _show(options.out, found)
    return 0


def _check(options: Options) -> None:
    """Refuse a folder that holds other files, whose names an explanation may have, and options that do nothing."""
    if options.scale_clips < 0:
        raise ConfigError(f"--scale-clips must be 0 or more, got {options.scale_clips}")
    if options.window is None and options.hop is not None:
        raise ConfigError("--hop is the distance of windows; give --window, or leave it out")
    if options.window is not None and options.class_name is None:
        raise ConfigError("--window compares the windows of a film for one class; give --class")
    if options.window is not None and (options.start_seconds is not None or options.end_seconds is not None):
        raise ConfigError("--window explains a whole film; leave --start-seconds and --end-seconds out")
    out = options.out
    check_path(out, is_written=True)
    if out.is_dir() and any(out.iterdir()) and not (out / SUMMARY).is_file():
        raise ConfigError(
            f"{out}: not empty and no folder of an explanation; give another --out, such as {out / 'why'}"
        )


def _explain_clip(
    classifier: Classifier, options: Options, config: ExplainConfig, progress: Progress
) -> dict[str, Any]:
    explanation = classifier.explain(
        options.source,
        class_name=options.class_name,
        head=options.head,
        progress=progress,
        reading={
            "start_seconds": options.start_seconds,
            "end_seconds": options.end_seconds,
            "fps": options.frame_fps,
        },
        **{field.name: getattr(config, field.name) for field in dataclasses.fields(config)},
    )
    scale = scale_of(classifier, explanation, options.scale_clips, progress)
    files = clip_files(explanation, scale, classifier.protocol, options.frame_fps)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_atomically(options.out / name, content)
    return summary(explanation, scale)


def _explain_windows(
    classifier: Classifier, options: Options, config: ExplainConfig, progress: Progress
) -> dict[str, Any]:
    assert options.window is not None
    assert options.class_name is not None
    asked = FilmRequest(
        film=Path(options.source),
        class_name=options.class_name,
        head=options.head,
        window_seconds=None if options.window == "clip" else seconds_of(options.window, "--window"),
        hop_seconds=None if options.hop is None else seconds_of(options.hop, "--hop"),
        fps=options.frame_fps,
        num_scale_clips=options.scale_clips,
    )
    return explain_film(classifier, asked, config, options.out, progress)


def _show(out: Path, found: dict[str, Any]) -> None:
    console = output_console()
    prob = f"{found['prob']:.1%}" if "prob" in found else f"{len(found['windows'])} windows"
    console.print(f"{printable(found['label'])}  {prob}  ({found['method']}; {found['tested']})", markup=False)
    for tube in found["top_tubes"][:5]:
        console.print(
            f"  {tube['start_seconds']:.2f} to {tube['end_seconds']:.2f} s, rows {tube['top']:.0f} to "
            f"{tube['bottom']:.0f}, columns {tube['left']:.0f} to {tube['right']:.0f}: {tube['relevance']:+.3g}",
            markup=False,
        )
    if found.get("completeness_gap") is not None:
        console.print(
            f"sum of the relevance is {found['completeness_gap']:+.3g} from the difference of the logit, "
            f"{found['logit_difference']:+.3g}; more --num-steps bring it nearer",
            markup=False,
        )
    console.print(f"written to {printable(str(out))}", markup=False)
