"""An explanation as pictures: the map over the frames, a contact sheet with the time curve, and an overlay film."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import torch
from jaxtyping import Float, UInt8
from matplotlib import style
from matplotlib.figure import Figure
from PIL import Image

from tubelet.data.shown_clips import ShownClip
from tubelet.data.synthetic import encode_h264
from tubelet.explain.explanation import MEANING, Explanation
from tubelet.report.contact_sheet import SHEET_WIDTH, contact_sheet
from tubelet.report.film_strip import as_rgb

QUANTILE = 0.99  # of the absolute relevance of the clip: what is shown in full color
ENCODER = "libx264"  # of the overlay, in PyAV's wheels; x264 is under the GPL
_FOR, _AGAINST = np.array([230.0, 40.0, 20.0]), np.array([30.0, 90.0, 230.0])  # RGB of positive, of negative
_READS = "red speaks for the class, blue against it"
_OPACITY = 0.75  # of full color
_CURVE_HEIGHT, _DPI = 220, 100  # pixels; dots per inch


def display_scale(explanation: Explanation) -> float:
    """The absolute relevance that is shown in full color; 0 where there is none anywhere."""
    values = np.abs(explanation.relevance)
    return float(np.quantile(values, QUANTILE)) or float(values.max())


def overlay(explanation: Explanation) -> UInt8[np.ndarray, "T H W 3"]:
    """The frames in gray with the map over them: red speaks for the class, blue against it."""
    frames = _frames(explanation).astype(np.float32).mean(-1, keepdims=True).repeat(3, axis=-1)  # T H W 3
    scale = display_scale(explanation)
    strength = explanation.relevance / scale if scale else explanation.relevance  # T H W
    alpha = _OPACITY * np.abs(strength).clip(max=1.0)[..., None]
    color = np.where(strength[..., None] >= 0, _FOR, _AGAINST)
    shown: UInt8[np.ndarray, "T H W 3"] = (frames * (1 - alpha) + color * alpha + 0.5).clip(0, 255).astype(np.uint8)
    return shown


def explanation_sheet(explanation: Explanation) -> bytes:
    """A PNG: the frames, the same with the map, and the mean relevance of every frame over time."""
    scale = display_scale(explanation)
    reads = "red is where attention comes from" if explanation.config.method == "attention_rollout" else _READS
    says = f"full color: {scale:.3g}, the {QUANTILE:g} quantile of |relevance| of this clip alone"
    notes = (f"{explanation.config.method}: {MEANING[explanation.config.method]}", says, *explanation.view.notes)
    rows = [
        _row(explanation, 0, _frames(explanation), "as the model saw it", ()),
        _row(explanation, 1, overlay(explanation), reads, notes),
    ]
    title = f"{explanation.label} ({explanation.prob:.1%}) in {explanation.source}"
    sheet = Image.open(BytesIO(contact_sheet(rows, title)))
    curve = _curve(explanation)
    whole = Image.new("RGB", (SHEET_WIDTH, sheet.height + curve.height), "#ffffff")
    whole.paste(sheet, (0, 0))
    whole.paste(curve, (0, sheet.height))
    content = BytesIO()
    whole.save(content, format="PNG")
    return content.getvalue()


def overlay_film(explanation: Explanation) -> bytes:
    """The overlay as H.264 (``ENCODER``), at a steady rate near that of the clip: the crop, not the source's frames."""
    frames = overlay(explanation)
    odd = [(0, n % 2) for n in frames.shape[1:3]]  # 4:2:0 needs even sides
    return encode_h264(np.pad(frames, ((0, 0), *odd, (0, 0)), mode="edge"), frame_rate(explanation.view.seconds))


def frame_rate(seconds: tuple[float, ...]) -> int:
    """Frames per second of the overlay: the clip's own, to the next whole number of at least 1."""
    step = float(np.median(np.diff(seconds))) if len(seconds) > 1 else 0.0
    return max(1, min(60, round(1 / step))) if step > 0 else 1


def _frames(explanation: Explanation) -> UInt8[np.ndarray, "T H W 3"]:
    return as_rgb(explanation.view.pixels.permute(1, 2, 3, 0).numpy())


def _row(
    explanation: Explanation, row: int, frames: UInt8[np.ndarray, "T H W 3"], name: str, notes: tuple[str, ...]
) -> ShownClip:
    return ShownClip(
        row=row,
        name=name,
        label=explanation.label,
        pixels=torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2),
        seconds=explanation.view.seconds,
        notes=notes,
    )


def _curve(explanation: Explanation) -> Image.Image:
    """Mean relevance of every frame, raw, over the time of the source."""
    curve: Float[np.ndarray, " T"] = explanation.time_curve
    with style.context(["default", {"font.size": 10}]):
        size = (SHEET_WIDTH / _DPI, _CURVE_HEIGHT / _DPI)
        figure = Figure(figsize=size, layout="constrained", dpi=_DPI)
        axes = figure.subplots()
        axes.plot(explanation.view.seconds, curve, color="#b00020", marker="o", markersize=3)
        axes.axhline(0.0, color="#999999", linewidth=0.8)
        axes.set_xlabel("seconds in the source")
        axes.set_ylabel("mean relevance")
        axes.spines[["top", "right"]].set_visible(False)
        content = BytesIO()
        figure.savefig(content, format="png")
    return Image.open(content).convert("RGB")
