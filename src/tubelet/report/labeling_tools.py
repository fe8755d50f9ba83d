"""Predictions in the files of two labeling tools, to be looked at and corrected there.

Label Studio: tasks with a ``predictions`` list (labelstud.io/guide/predictions). A whole video is a choice; a stretch
of a film is a region of the tag ``TimelineLabels``, whose frames count from 1 at the rate of the tag ``Video``.
FiftyOne: ``labels.json`` of ``fiftyone.types.FiftyOneTemporalDetectionDataset``
(docs.voxel51.com/user_guide/import_datasets.html), stretches in seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from tubelet.files import write_atomically
from tubelet.inference.films import Film
from tubelet.protocol import Protocol
from tubelet.types import Prediction, Segment

TAG, VIDEO = "label", "video"  # names of the labeling configuration
SURE = 0.5  # where a video may have several labels: those at least this probable


def label_studio(
    results: Sequence[Prediction | Film], model: str, *, multi_label: bool = False
) -> list[dict[str, Any]]:
    """Tasks with predictions, one of each video, for Label Studio's import.

    ``data.video`` is the path as it was given: where Label Studio serves files under another address, replace it.

    Args:
        results: of ``Classifier.predict`` or ``Classifier.windows``. Of several heads each has a tag of its own.
        model: name of the model, shown beside its predictions.
        multi_label: all labels at or above 0.5, not the best alone.
    """
    tasks = []
    for result in results:
        data: dict[str, Any] = {VIDEO: result.source}
        found: list[dict[str, Any]] = []
        if isinstance(result, Film):
            data["fps"] = result.fps
            for number, segment in enumerate(result.segments):
                found += _regions(segment, result.fps, number, multi_label)
        else:
            found += _choices(result, multi_label)
        score = min((region["score"] for region in found), default=0.0)  # the tool sorts by it: least sure first
        tasks.append({"data": data, "predictions": [{"model_version": model, "score": score, "result": found}]})
    return tasks


def label_studio_config(class_names: Mapping[str, Sequence[str]], *, is_timeline: bool, multi_label: bool) -> str:
    """The labeling configuration that the tasks are for.

    Args:
        class_names: class names of each head.
        is_timeline: whether the tasks have stretches of films.
        multi_label: whether a video may have several labels.
    """
    rate = ' frameRate="$fps"' if is_timeline else ""
    lines = ["<View>", f'  <Video name="{VIDEO}" value="${VIDEO}"{rate}/>']
    tag, item = ("TimelineLabels", "Label") if is_timeline else ("Choices", "Choice")
    several = ' choice="multiple"' if multi_label and not is_timeline else ""
    for head, names in class_names.items():
        name = TAG if len(class_names) == 1 else head
        lines.append(f'  <{tag} name="{escape(name)}" toName="{VIDEO}"{several}>')
        lines += [f'    <{item} value="{escape(class_name)}"/>' for class_name in names]
        lines.append(f"  </{tag}>")
    return "\n".join([*lines, "</View>", ""])


def fiftyone_labels(films: Sequence[Film], *, multi_label: bool = False) -> dict[str, Any]:
    """``labels.json`` of a temporal detection data set: absolute paths, labels by name, seconds, confidence."""
    return {
        "classes": None,
        "labels": {
            str(Path(film.source).resolve()): [
                {
                    "label": label,
                    "timestamps": [segment.start_seconds, segment.end_seconds],
                    "confidence": probability,
                }
                for segment in film.segments
                for label, probability in _said(segment.labels, segment.probs, multi_label)
            ]
            for film in films
        },
    }


def write_label_studio(file: Path, results: Sequence[Prediction | Film], protocol: Protocol, model: str) -> Path:
    """Write the tasks to ``file``, the labeling configuration beside it, and return the path of the latter."""
    is_timeline, config = any(isinstance(result, Film) for result in results), file.with_suffix(".config.xml")
    tasks = label_studio(results, model, multi_label=protocol.multi_label)
    write_atomically(file, json.dumps(tasks, indent=2, ensure_ascii=False))
    write_atomically(
        config, label_studio_config(protocol.labels, is_timeline=is_timeline, multi_label=protocol.multi_label)
    )
    return config


def write_fiftyone(file: Path, films: Sequence[Film], protocol: Protocol) -> None:
    """Write the temporal detections to ``file``."""
    found = fiftyone_labels(films, multi_label=protocol.multi_label)
    write_atomically(file, json.dumps(found, indent=2, ensure_ascii=False))


def _choices(prediction: Prediction, multi_label: bool) -> list[dict[str, Any]]:
    return [
        {
            "from_name": tag,
            "to_name": VIDEO,
            "type": "choices",
            "value": {"choices": [label for label, _ in said]},
            "score": min(probability for _, probability in said),
        }
        for tag, said in _tags(prediction, multi_label).items()
        if said
    ]


def _regions(segment: Segment, fps: float, number: int, multi_label: bool) -> list[dict[str, Any]]:
    """The frames whose times lie in ``[start, end)``, counted from 1."""
    first = round(segment.start_seconds * fps) + 1
    last = max(first, round(segment.end_seconds * fps))
    return [
        {
            "id": f"{tag}-{number}-{rank}",
            "from_name": tag,
            "to_name": VIDEO,
            "type": "timelinelabels",
            "value": {"ranges": [{"start": first, "end": last}], "timelinelabels": [label]},
            "score": probability,
        }
        for tag, said in _tags(segment, multi_label).items()
        for rank, (label, probability) in enumerate(said)
    ]


def _tags(scored: Prediction | Segment, multi_label: bool) -> dict[str, list[tuple[str, float]]]:
    """What is said under each tag: one, or a head's name of several."""
    if not scored.heads:
        return {TAG: _said(scored.labels, scored.probs, multi_label)}
    return {head: _said(scores.labels, scores.probs, multi_label) for head, scores in scored.heads.items()}


def _said(labels: Sequence[str], probs: Sequence[float], multi_label: bool) -> list[tuple[str, float]]:
    """The labels to show, with their probabilities."""
    ranked = list(zip(labels, probs, strict=True))
    return [pair for pair in ranked if pair[1] >= SURE] if multi_label else ranked[:1]
