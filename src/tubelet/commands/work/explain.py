"""``tubelet explain``: the relevance of one clip for one class, as numbers and pictures."""

from __future__ import annotations

import dataclasses
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from tubelet.commands.console import output_console
from tubelet.commands.explain import Options
from tubelet.errors import ConfigError, printable
from tubelet.explain.config import ExplainConfig
from tubelet.explain.explanation import Explanation
from tubelet.files import check_path, write_atomically
from tubelet.inference.predictor import load
from tubelet.report.relevance_pictures import (
    ENCODER,
    QUANTILE,
    display_scale,
    explanation_sheet,
    frame_rate,
    overlay_film,
)
from tubelet.session.console_progress import ConsoleProgress

SUMMARY = "explanation.json"


def run(options: Options) -> int:
    config = ExplainConfig(
        method=options.method, fill=options.fill, tubelet=options.tubelet, num_steps=options.num_steps
    )
    _check_out(options.out)
    classifier = load(options.checkpoint, options.device)
    with ConsoleProgress("explain") as progress:
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
    summary = _summary(explanation)
    _write(options.out, explanation, summary)
    if options.json:
        print(json.dumps(summary, indent=2, ensure_ascii=False))
    else:
        _show(options.out, explanation)
    return 0


def _check_out(out: Path) -> None:
    """Refuse a folder that holds other files: an explanation has names that they may have."""
    check_path(out, is_written=True)
    if out.is_dir() and any(out.iterdir()) and not (out / SUMMARY).is_file():
        raise ConfigError(
            f"{out}: not empty and no folder of an explanation; give another --out, such as {out / 'why'}"
        )


def _write(out: Path, explanation: Explanation, summary: dict[str, Any]) -> None:
    """Every file is made before the first one is written."""
    arrays = BytesIO()
    np.savez_compressed(
        arrays,
        relevance=explanation.in_source(),
        relevance_clip=explanation.relevance,
        time_curve=explanation.time_curve,
        seconds=np.array(explanation.view.seconds),
    )
    files: dict[str, str | bytes] = {
        "relevance.npz": arrays.getvalue(),
        SUMMARY: json.dumps(summary, indent=2, ensure_ascii=False) + "\n",
        "sheet.png": explanation_sheet(explanation),
        "overlay.mp4": overlay_film(explanation),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_atomically(out / name, content)


def _summary(explanation: Explanation) -> dict[str, Any]:
    """What is said of the explanation, and how it was drawn."""
    height, width = explanation.view.geometry.box[2:]
    shown = {
        "scale": display_scale(explanation),
        "quantile": QUANTILE,
        "quantile_over": "this clip",
        "video_encoder": ENCODER,
        "video_fps": frame_rate(explanation.view.seconds),
    }
    return {**explanation.summary(), "source_size": [height, width], "display": shown}


def _show(out: Path, explanation: Explanation) -> None:
    console = output_console()
    console.print(
        f"{printable(explanation.label)}  {explanation.prob:.1%}  ({explanation.config.method})", markup=False
    )
    for tube in explanation.top_tubes():
        console.print(
            f"  {tube.start_seconds:.2f} to {tube.end_seconds:.2f} s, rows {tube.top:.0f} to {tube.bottom:.0f}, "
            f"columns {tube.left:.0f} to {tube.right:.0f}: {tube.relevance:+.3g}",
            markup=False,
        )
    if explanation.completeness_gap is not None:
        console.print(
            f"sum of the relevance is {explanation.completeness_gap:+.3g} from the difference of the logit, "
            f"{explanation.logit_difference:+.3g}; more --num-steps bring it nearer",
            markup=False,
        )
    console.print(f"written to {printable(str(out))}", markup=False)
