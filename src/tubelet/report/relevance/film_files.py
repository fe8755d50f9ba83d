"""The explanation of a film: window by window for one class, with its course over the time of the film.

Of every window the middle view is explained, as ``tubelet explain --start-seconds --end-seconds`` explains it. The
pixels of the first window and of the one at hand are held; all maps lie in the file that is being written.
"""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tubelet.data.loading.read_views import open_clip_source
from tubelet.data.sources.open_source import Reader
from tubelet.data.sources.volume import is_volume
from tubelet.errors import ConfigError
from tubelet.explain.clip_view import clip_view_of
from tubelet.explain.config import ExplainConfig
from tubelet.explain.explain import explain_view, offered
from tubelet.explain.explanation import Explanation
from tubelet.files import write_atomically, written_atomically
from tubelet.inference.predictor import Classifier
from tubelet.inference.windows import plan_windows
from tubelet.report.relevance.clip_files import SUMMARY, display
from tubelet.report.relevance.film import overlay_film
from tubelet.report.relevance.pictures import png_of, time_picture
from tubelet.report.relevance.scale import Scale, scale_of_values
from tubelet.report.relevance.training_clips import scale_of
from tubelet.session.progress import Progress

ARRAYS = "relevance.npz"
NUM_TUBES = 20  # of the whole film
_SAMPLED = 4096  # values of each window that the scale of a film alone is of


@dataclass(frozen=True, kw_only=True)
class FilmRequest:
    """What is explained of a film."""

    film: Path
    class_name: str  # the same for every window, so that their values can be compared
    head: str | None = None
    window_seconds: float | None = None  # None means what one clip of the protocol spans
    hop_seconds: float | None = None  # None means a window
    fps: float | None = None  # of a frame folder
    num_scale_clips: int = 4  # training clips that colors are scaled by; 0: the film alone


def window_spans(duration: float, window: float, hop: float) -> list[tuple[float, float]]:
    """Start and end of every window; the last one ends with the film, so that none is shorter than the others."""
    if duration <= window:
        return [(0.0, duration)]
    starts = np.arange(0.0, duration - window + 1e-9, hop).tolist()
    if starts[-1] + window < duration - 1e-6:
        starts.append(duration - window)
    return [(start, start + window) for start in starts]


def explain_film(
    classifier: Classifier, asked: FilmRequest, config: ExplainConfig, out: Path, progress: Progress
) -> dict[str, Any]:
    """Write the files of a film's explanation into ``out``, and return what its JSON file holds.

    Raises:
        DataError: the film cannot be read.
        ConfigError: a volume, an unknown class, or a method that the model does not have.
    """
    if is_volume(asked.film):
        raise ConfigError(f"{asked.film}: a volume has no time that windows could lie on; leave --window out")
    classifier.check_classes()
    classifier.check_probabilities("explanations are")
    config = offered(classifier.model, config)
    with open_clip_source(asked.film, classifier.protocol, asked.fps) as reader:
        spans = _spans(classifier, asked, reader)
        progress.note(f"{asked.film.name}: {len(spans)} windows of {spans[0][1] - spans[0][0]:.4g} s")
        first = _explained(classifier, asked, config, reader, spans[0], progress)
        scale = scale_of(classifier, first, asked.num_scale_clips, progress)
        out.mkdir(parents=True, exist_ok=True)
        with written_atomically(out / ARRAYS) as arrays:
            with zipfile.ZipFile(arrays, "w", zipfile.ZIP_DEFLATED) as archive:
                windows, values = _all_windows(classifier, asked, config, reader, spans, first, archive, progress)
            if scale.is_alone:
                scale = scale_of_values(values, "this film alone")
            with np.load(arrays, allow_pickle=False) as kept:
                film = overlay_film(_with_maps(windows, kept), reader, scale)
    summary = _summary(asked, windows, spans, scale)
    seconds, curve = _broken_curve(windows)
    files: dict[str, str | bytes] = {
        "overlay.mp4": film,
        "sheet.png": png_of(time_picture(seconds, curve, y_label=f"mean relevance, {asked.class_name}")),
        SUMMARY: json.dumps(summary, indent=2, ensure_ascii=False) + "\n",
    }
    for name, content in files.items():
        write_atomically(out / name, content)
    return summary


def _spans(classifier: Classifier, asked: FilmRequest, reader: Reader) -> list[tuple[float, float]]:
    plan = plan_windows(
        classifier.model,
        classifier.protocol,
        window_seconds=asked.window_seconds,
        hop_seconds=asked.hop_seconds,
        source_fps=reader.fps,
    )
    return window_spans(float(reader.duration_seconds), plan.window_seconds, plan.hop_seconds)


def _explained(
    classifier: Classifier,
    asked: FilmRequest,
    config: ExplainConfig,
    reader: Reader,
    span: tuple[float, float],
    progress: Progress,
) -> Explanation:
    view = clip_view_of(reader, classifier.protocol, *span)
    return explain_view(
        classifier.model,
        view,
        classifier.protocol,
        config,
        source=str(asked.film),
        class_name=asked.class_name,
        head=asked.head,
        progress=progress,
    )


def _all_windows(
    classifier: Classifier,
    asked: FilmRequest,
    config: ExplainConfig,
    reader: Reader,
    spans: Sequence[tuple[float, float]],
    first: Explanation,
    archive: zipfile.ZipFile,
    progress: Progress,
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Every window without its map and pixels, whose maps go into the archive; and values that the scale is of."""
    windows, values = [], []
    for i, span in enumerate(spans):
        progress.note(f"window {i + 1} of {len(spans)}: {span[0]:.2f} to {span[1]:.2f} s")
        found = first if i == 0 else _explained(classifier, asked, config, reader, span, progress)
        with archive.open(f"relevance_clip_{i:05d}.npy", "w", force_zip64=True) as entry:
            np.lib.format.write_array(entry, found.relevance, allow_pickle=False)
        spread = np.linspace(0, found.relevance.size - 1, min(_SAMPLED, found.relevance.size)).astype(int)
        values.append(np.abs(found.relevance.ravel()[spread]))
        view = dataclasses.replace(found.view, pixels=found.view.pixels[:, :, :0, :0])
        summary = found.summary()
        windows.append({"light": dataclasses.replace(found, view=view, relevance=found.relevance[:0]), **summary})
    with archive.open("seconds.npy", "w") as entry:
        np.lib.format.write_array(entry, np.array([w["seconds"] for w in windows]), allow_pickle=False)
    return windows, np.concatenate(values)


def _with_maps(windows: Sequence[dict[str, Any]], kept: Any) -> Iterator[Explanation]:
    for i, window in enumerate(windows):
        yield dataclasses.replace(window["light"], relevance=kept[f"relevance_clip_{i:05d}"])


def _summary(
    asked: FilmRequest, windows: Sequence[dict[str, Any]], spans: Sequence[tuple[float, float]], scale: Scale
) -> dict[str, Any]:
    first = windows[0]
    tubes = [tube for window in windows for tube in window["top_tubes"]]
    alike = ("source", "head", "label", "method", "meaning", "tested", "fill", "num_steps", "tubelet")
    of_window = ("prob", "seconds", "time_curve", "notes")
    return {
        **{name: first[name] for name in alike},
        "top_tubes": sorted(tubes, key=lambda tube: -tube["relevance"])[:NUM_TUBES],
        "windows": [
            {"start_seconds": start, "end_seconds": end, **{name: window[name] for name in of_window}}
            for (start, end), window in zip(spans, windows, strict=True)
        ],
        "display": display(scale),
    }


def _broken_curve(windows: Sequence[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """The curves of all windows one after the other, a gap between them: windows may overlap."""
    seconds, values = (
        np.concatenate([np.append(_by_time(window)[row], np.nan) for window in windows]) for row in (0, 1)
    )
    return seconds, values


def _by_time(window: dict[str, Any]) -> np.ndarray:
    """Times and values of a window, two rows in the order of the times."""
    pairs = np.array([window["seconds"], window["time_curve"]])
    return pairs[:, np.argsort(pairs[0], kind="stable")]
