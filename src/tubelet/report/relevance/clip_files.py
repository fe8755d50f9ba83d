"""The files of the explanation of one clip."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from tubelet.data.loading.read_views import open_clip_source
from tubelet.data.sources.nifti import is_nifti, nifti_like
from tubelet.data.sources.open_source import Reader
from tubelet.data.sources.volume import is_volume
from tubelet.explain.explanation import Explanation
from tubelet.protocol import Protocol
from tubelet.report.relevance.film import ENCODER, ENCODER_LICENSE, overlay_film
from tubelet.report.relevance.pictures import explanation_sheet, montage
from tubelet.report.relevance.scale import QUANTILE, Scale

SUMMARY = "explanation.json"
_AXES = ((0, 1, 2), (1, 0, 2), (2, 1, 0))  # of a volume sliced along an axis, in those of its file; its own inverse


def clip_files(explanation: Explanation, scale: Scale, protocol: Protocol, fps: float | None) -> dict[str, str | bytes]:
    """Content by name. The source is opened again for the frames between those of the clip.

    Args:
        scale: of the colors.
        protocol: with which the source is read.
        fps: of a frame folder.

    Raises:
        DataError: the source cannot be read any more, or a NIfTI map cannot be written.
    """
    path = Path(explanation.source)
    files: dict[str, str | bytes] = {
        "relevance.npz": _arrays(explanation),
        SUMMARY: json.dumps(summary(explanation, scale), indent=2, ensure_ascii=False) + "\n",
        "sheet.png": explanation_sheet(explanation, scale),
    }
    with open_clip_source(explanation.source, protocol, fps) as reader:
        if not is_volume(path):
            return files | {"overlay.mp4": overlay_film([explanation], reader, scale)}
        files["montage.png"] = montage(explanation, scale)
        if is_nifti(path):
            files["relevance.nii.gz"] = nifti_like(path, _in_file(explanation, reader, protocol))
    return files


def summary(explanation: Explanation, scale: Scale) -> dict[str, Any]:
    """What is said of the explanation, and how it was drawn."""
    height, width = explanation.view.geometry.box[2:]
    return {**explanation.summary(), "source_size": [height, width], "display": display(scale)}


def display(scale: Scale) -> dict[str, Any]:
    """How pictures were drawn."""
    return {
        "scale": scale.value,
        "quantile": QUANTILE,
        "quantile_over": scale.over,
        "video_encoder": ENCODER,
        "video_encoder_license": ENCODER_LICENSE,
    }


def _arrays(explanation: Explanation) -> bytes:
    content = BytesIO()
    np.savez_compressed(
        content,
        relevance=explanation.in_source(),
        relevance_clip=explanation.relevance,
        time_curve=explanation.time_curve,
        seconds=np.array(explanation.view.seconds),
        frames=np.array(explanation.view.indices),
    )
    return content.getvalue()


def _in_file(explanation: Explanation, reader: Reader, protocol: Protocol) -> np.ndarray:
    """The map on the slices of the volume's file, whichever way the protocol slices it."""
    values = explanation.in_volume(len(reader.timestamps))
    values = values[::-1] if protocol.slicing_backward else values
    return values.transpose(_AXES[protocol.slicing_axis])
