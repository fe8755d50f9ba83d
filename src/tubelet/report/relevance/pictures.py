"""An explanation as pictures: a contact sheet with the time curve, and the montage of a volume."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from matplotlib import style
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from tubelet.data.shown_clips import ShownClip
from tubelet.explain.explanation import MEANING, Explanation
from tubelet.report.contact_sheet import SHEET_WIDTH, contact_sheet
from tubelet.report.film_strip import as_rgb
from tubelet.report.relevance.colors import READS, READS_ATTENTION, painted
from tubelet.report.relevance.scale import Scale

_CURVE_HEIGHT, _DPI = 220, 100  # pixels; dots per inch
_MONTAGE_WIDTH, _COLUMNS = 1200, 8  # pixels, slices in a row
_GAP, _LINE = 6, 16  # pixels between slices, and of a line of text


def overlay(explanation: Explanation, scale: Scale) -> UInt8[np.ndarray, "T H W 3"]:
    """The frames of the clip with the map over them."""
    return painted(_frames(explanation), explanation.relevance, scale)


def explanation_sheet(explanation: Explanation, scale: Scale) -> bytes:
    """A PNG: the frames, the same with the map, and the mean relevance of every frame over time."""
    reads = READS_ATTENTION if explanation.method == "attention_rollout" else READS
    method = explanation.method
    notes = (f"{method}: {MEANING[method]}", explanation.tested, scale.text, *explanation.view.notes)
    rows = [
        _row(explanation, 0, _frames(explanation), "as the model saw it", ()),
        _row(explanation, 1, overlay(explanation, scale), reads, notes),
    ]
    title = f"{explanation.label} ({explanation.prob:.1%}) in {Path(explanation.source).name}"
    sheet = Image.open(BytesIO(contact_sheet(rows, title)))
    curve = time_picture(np.array(explanation.view.seconds), explanation.time_curve)
    return _stacked([sheet, curve])


def montage(explanation: Explanation, scale: Scale) -> bytes:
    """A PNG of all slices that the model was shown with their numbers, in rows of 8, each above its map."""
    pairs = zip(_frames(explanation), overlay(explanation, scale), strict=True)
    tiles = [Image.fromarray(np.concatenate(pair, axis=0)) for pair in pairs]
    cell = _MONTAGE_WIDTH // _COLUMNS
    width = cell - _GAP
    height = max(1, round(width * tiles[0].height / tiles[0].width))
    row_height, rows = height + _LINE, -(-len(tiles) // _COLUMNS)
    whole = Image.new("RGB", (_MONTAGE_WIDTH, rows * row_height + _LINE), "#ffffff")
    draw = ImageDraw.Draw(whole)
    for i, (tile, index) in enumerate(zip(tiles, explanation.view.indices, strict=True)):
        left, top = i % _COLUMNS * cell, i // _COLUMNS * row_height
        draw.text((left, top + 2), f"slice {index}", fill="#1a1a1a")
        whole.paste(tile.resize((width, height), Image.Resampling.BILINEAR), (left, top + _LINE))
    draw.text((0, rows * row_height + 2), f"{explanation.label}: {explanation.method}; {scale.text}", fill="#1a1a1a")
    return png_of(whole)


def time_picture(
    seconds: Float[np.ndarray, " N"], curve: Float[np.ndarray, " N"], *, y_label: str = "mean relevance"
) -> Image.Image:
    """Mean relevance of every frame, raw, over the time of the source; broken where a looped clip begins again."""
    seconds, curve = broken(seconds, curve)
    with style.context(["default", {"font.size": 10}]):
        size = (SHEET_WIDTH / _DPI, _CURVE_HEIGHT / _DPI)
        figure = Figure(figsize=size, layout="constrained", dpi=_DPI)
        axes = figure.subplots()
        axes.plot(seconds, curve, color="#b00020", marker="o", markersize=3)
        axes.axhline(0.0, color="#999999", linewidth=0.8)
        axes.set_xlabel("seconds in the source")
        axes.set_ylabel(y_label)
        axes.spines[["top", "right"]].set_visible(False)
        content = BytesIO()
        figure.savefig(content, format="png")
    return Image.open(content).convert("RGB")


def broken(
    seconds: Float[np.ndarray, " N"], curve: Float[np.ndarray, " N"]
) -> tuple[Float[np.ndarray, " M"], Float[np.ndarray, " M"]]:
    """Both with a gap wherever time goes back, over which no line is drawn."""
    back = np.flatnonzero(np.diff(seconds) < 0) + 1
    return np.insert(np.asarray(seconds, float), back, np.nan), np.insert(np.asarray(curve, float), back, np.nan)


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


def _stacked(pictures: list[Image.Image]) -> bytes:
    whole = Image.new("RGB", (SHEET_WIDTH, sum(picture.height for picture in pictures)), "#ffffff")
    top = 0
    for picture in pictures:
        whole.paste(picture, (0, top))
        top += picture.height
    return png_of(whole)


def png_of(picture: Image.Image) -> bytes:
    """The picture as a PNG file."""
    content = BytesIO()
    picture.save(content, format="PNG")
    return content.getvalue()
