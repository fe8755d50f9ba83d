"""The model card of a checkpoint: README.md with the front matter that huggingface.co reads, made from the record.

Every figure comes from the record or from a ``metrics.json``, and stands beside its views, its number of videos and its
failed files. The card names what is not known. Format: huggingface.co/docs/hub/model-cards (``model-index`` for the
metrics).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tubelet.config import dump_yaml
from tubelet.protocol import Protocol
from tubelet.report.tables import was_trained_on
from tubelet.tasks.choose import task_of_metrics
from tubelet.weights.checkpoint.checkpoint import Record

SHOWN_LABELS = 60  # class names in the text; tubelet.json has all


def model_card(record: Record, metrics: Mapping[str, Any] | None, repo: str, license_name: str | None = None) -> str:
    """The text of README.md.

    Args:
        metrics: the content of ``metrics.json``. None means that the model was not evaluated, and the card says so.
        repo: ``owner/name`` under which it will be found.
        license_name: in place of the one in the record.
    """
    heads = record.protocol.labels
    known = license_name or record.license or "unknown"
    front = {
        "library_name": "tubelet",
        "pipeline_tag": "video-classification",
        "tags": ["tubelet", "video-classification", record.model_name],
        **({"license": known} if known != "unknown" else {}),
        **({"model-index": [_model_index(record, metrics, repo)]} if metrics and not was_trained_on(metrics) else {}),
    }
    parts = [
        f"---\n{dump_yaml(front)}---",
        f"# {repo.partition('/')[2]}",
        f"{record.model_name}, {_classes(record.protocol)}. License: {known}.",
        f"## Use\n\n```python\nimport tubelet\n\nprint(tubelet.load({repo!r}).predict('clip.mp4', top_k=5))\n```\n\n"
        f"```\ntubelet predict {repo} clip.mp4\n```",
        "## Metrics\n\n" + _metrics(metrics),
        "## Protocol\n\n" + _protocol(record.protocol),
        "## Data and provenance\n\n" + _provenance(record.provenance),
        "## Labels\n\n" + "\n\n".join(_labels(head, names, record.protocol) for head, names in heads.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _model_index(record: Record, metrics: Mapping[str, Any], repo: str) -> dict[str, Any]:
    values = [
        {"type": cell.metric.hub_type, "name": cell.title, "value": round(cell.value, 4)}
        for cell in task_of_metrics(metrics).cells("card", metrics)
        if cell.metric.hub_type and cell.value is not None
    ]
    data = _data_name(record.provenance)
    return {
        "name": repo.partition("/")[2],
        "results": [
            {
                "task": {"type": "video-classification"},
                "dataset": {"type": "custom", "name": data, "split": metrics["split"]},
                "metrics": values,
            }
        ],
    }


def _metrics(metrics: Mapping[str, Any] | None) -> str:
    if metrics is None:
        return "Not evaluated: this folder holds no `evaluation/<split>/metrics.json`."
    cells = task_of_metrics(metrics).cells("card", metrics)
    head = (
        f"On the {metrics['split']} split: {metrics['num_videos']} videos, {metrics['num_failed']} failed, "
        f"{metrics['views']} views (temporal x spatial), {metrics['averaging']} averaged, "
        f"computed in {metrics.get('precision', 'fp32')}."
    )
    if was_trained_on(metrics):
        head += " No clip was held out: these figures say nothing about new clips."
    return (
        head
        + "\n\n| metric | value |\n|---|---|\n"
        + "\n".join(f"| {cell.title} | {cell.text or 'not defined'} |" for cell in cells)
    )


def _protocol(p: Protocol) -> str:
    if p.sampling == "windows":
        sampling = f"in a window of each of {p.num_segments} equal segments, about every {p.frame_stride}."
    elif p.sampling != "dense":
        sampling = "one from each of as many equal segments"
    else:
        sampling = f"every {p.frame_stride}." if p.frame_stride else f"{p.target_fps:g} per second"
    height, width = p.crop_size
    return (
        f"{p.num_frames} frames ({sampling}), short side {p.resize_short_side} pixels, crop {height}x{width}, "
        f"{p.channel_order.upper()}, (x / 255 - {list(p.mean)}) / {list(p.std)}, {p.views_text} views, "
        f"{p.averaging} averaged. `tubelet.json` holds it, and `tubelet` follows it."
    )


def _provenance(provenance: Mapping[str, Any]) -> str:
    lines = [f"Data: {_data_name(provenance)}."]
    if "source" in provenance:
        lines.append(f"Converted from {provenance.get('original', provenance['source'])} ({provenance.get('path')}).")
        lines.append(f"{provenance['mapping']['summary']}.")
    if "init" in provenance:
        init = provenance["init"]
        source = Path(init["source"])
        name = source.name if source.is_absolute() else init["source"]
        lines.append(f"Trained from {name}, whose license is {init.get('license', 'unknown')}.")
    parity = provenance.get("parity")
    if parity and parity["measured"]:
        lines.append(f"Logits differ from the original's by at most {parity['max_abs_difference']:.1e}.")
    if "data_fingerprint" in provenance:
        lines.append(f"Fingerprint of the data: `{provenance['data_fingerprint']}`.")
    if "versions" in provenance:
        lines.append("Versions: " + ", ".join(f"{k} {v}" for k, v in provenance["versions"].items()) + ".")
    if "recipe" in provenance:
        lines.append(f"\n```yaml\n{dump_yaml(_shareable(provenance['recipe']))}```")
    return "\n".join(lines)


def _data_name(provenance: Mapping[str, Any]) -> str:
    """The last part of the data's path: what lies above it is nobody else's business."""
    source = provenance.get("recipe", {}).get("data", {}).get("source")
    return Path(source).name if source else "not known"


def _shareable(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe without the folders of the machine that it ran on."""
    data = {**recipe.get("data", {}), "source": _data_name({"recipe": recipe})}
    return {**recipe, "data": data}


def _classes(protocol: Protocol) -> str:
    """How many classes, of each head where there are several, and whether they exclude each other."""
    if protocol.number_scales:
        return f"{len(protocol.labels)} number{'s' * (len(protocol.labels) > 1)} per video, in the unit of its labels"
    counts = {head: len(names) for head, names in protocol.labels.items()}
    if len(counts) > 1:
        heads = ", ".join(f"{count} of {head}" for head, count in counts.items())
        return f"{len(counts)} heads ({heads} classes; an action is one of each)"
    if not counts:
        return "no classes: an encoder, which a classifier starts from"
    (count,) = counts.values()
    return f"{count} classes" + (", of which a video may have several" if protocol.multi_label else "")


def _labels(head: str, labels: tuple[str, ...], protocol: Protocol) -> str:
    more = f" ... and {len(labels) - SHOWN_LABELS} more in `tubelet.json`" if len(labels) > SHOWN_LABELS else ""
    name = f"{head} ({len(labels)}): " if len(protocol.labels) > 1 else ""
    return name + ", ".join(labels[:SHOWN_LABELS]) + more
