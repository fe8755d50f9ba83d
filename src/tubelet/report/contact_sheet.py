"""A contact sheet: a row for each clip, its frames from left to right, so that a person sees what a model is shown."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import matplotlib
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from tubelet.data.shown_clips import MAX_DIFFERENCE, Color, ShownClip
from tubelet.errors import printable
from tubelet.report.film_strip import MAX_FRAMES, as_rgb, spread_frames

_FRAME_PIXELS = 128  # longer side of a frame on the sheet
_GAP, _MARGIN = 4, 16
_TEXT, _LINE = 13, 18  # height of letters and of lines, pixels
_SWATCH = 26
_COLORS_WIDTH = 170  # of the column with mean colors
SHEET_WIDTH = 2 * _MARGIN + MAX_FRAMES * (_FRAME_PIXELS + _GAP) + _COLORS_WIDTH
_INK, _GRAY, _RED, _PAPER, _RULE = "#1a1a1a", "#666666", "#b00020", "#ffffff", "#dddddd"
_MAX_LINES = 3  # of an error or a note


def contact_sheet(clips: Sequence[ShownClip], title: str) -> bytes:
    """The sheet as a PNG file.

    Args:
        clips: those with an error get its text in place of frames.
        title: the first line.
    """
    rows = [_row(clip) for clip in clips]
    head = _MARGIN + 2 * _LINE
    sheet = Image.new("RGB", (SHEET_WIDTH, head + sum(row.height for row in rows)), _PAPER)
    _write(ImageDraw.Draw(sheet), (_MARGIN, _MARGIN), title, SHEET_WIDTH - 2 * _MARGIN, bold=True)
    top = head
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    content = BytesIO()
    sheet.save(content, format="PNG")
    return content.getvalue()


def _row(clip: ShownClip) -> Image.Image:
    strip = _strip(clip) if clip.pixels is not None else None
    lines = [(f"! {flag}", _RED) for flag in clip.flags] + [(note, _GRAY) for note in clip.notes]
    if clip.error is not None:
        lines.append((f"cannot be read: {clip.error}", _RED))
    folded = [(line, color) for text, color in lines for line in _folded(text)]
    height = 2 * _LINE + (strip.height + _LINE if strip else 0) + _LINE * len(folded)
    row = Image.new("RGB", (SHEET_WIDTH, height), _PAPER)
    draw = ImageDraw.Draw(row)
    draw.line([(_MARGIN, 4), (SHEET_WIDTH - _MARGIN, 4)], fill=_RULE)
    _write_title(draw, clip)
    top = 2 * _LINE - 6
    if strip is not None:
        row.paste(strip, (_MARGIN, top))
        if clip.crop_color is not None:
            _draw_colors(draw, clip, _MARGIN + MAX_FRAMES * (_FRAME_PIXELS + _GAP) + _GAP, top)
        top += strip.height + 4
    for line, color in folded:
        _write(draw, (_MARGIN, top), line, SHEET_WIDTH - 2 * _MARGIN, color)
        top += _LINE
    return row


def _write_title(draw: ImageDraw.ImageDraw, clip: ShownClip) -> None:
    label = clip.label or "no label"
    _write(draw, (_MARGIN, 10), label, SHEET_WIDTH // 3, bold=True)
    left = _MARGIN + min(SHEET_WIDTH // 3, round(draw.textlength(label, text_font(bold=True)))) + 12
    view = f"view {clip.view + 1} of {clip.num_views}" if clip.num_views > 1 else ""
    span = f"{min(clip.seconds):.2f} to {max(clip.seconds):.2f} s" if clip.seconds else ""
    rest = "   ".join(part for part in (span, view) if part)
    right = SHEET_WIDTH - _MARGIN - round(draw.textlength(rest, text_font()))
    _write(draw, (right, 10), rest, SHEET_WIDTH)
    _write(draw, (left, 10), clip.name, right - left - 12, _GRAY)


def _strip(clip: ShownClip) -> Image.Image:
    """Evenly spread frames with the time of each below it."""
    assert clip.pixels is not None
    chosen = spread_frames(len(clip.pixels))
    pictures = [_picture(clip.pixels[i]) for i in chosen]
    height = pictures[0].height
    strip = Image.new("RGB", (MAX_FRAMES * (_FRAME_PIXELS + _GAP), height + _LINE), _PAPER)
    draw = ImageDraw.Draw(strip)
    for place, (index, picture) in enumerate(zip(chosen, pictures, strict=True)):
        left = place * (_FRAME_PIXELS + _GAP)
        strip.paste(picture, (left, 0))
        draw.rectangle([left, 0, left + picture.width - 1, picture.height - 1], outline=_RULE)  # white on white paper
        _write(draw, (left, height + 1), f"{clip.seconds[index]:.2f} s", _FRAME_PIXELS, _GRAY)
    return strip


def _picture(frame: UInt8[Tensor, "C H W"]) -> Image.Image:
    picture = Image.fromarray(as_rgb(frame.permute(1, 2, 0).numpy()))
    scale = _FRAME_PIXELS / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST)


def _draw_colors(draw: ImageDraw.ImageDraw, clip: ShownClip, left: int, top: int) -> None:
    """The mean colors of the crop and of the whole frames, and how far the crop is from its window."""
    assert clip.crop_color is not None
    assert clip.frame_color is not None
    for name, color in (("crop", clip.crop_color), ("frame", clip.frame_color)):
        shown = _rgb(color)
        draw.rectangle([left, top, left + _SWATCH, top + _SWATCH], fill=shown, outline=_RULE)
        _write(draw, (left + _SWATCH + 8, top - 2), f"{name}, mean", _COLORS_WIDTH)
        _write(draw, (left + _SWATCH + 8, top + 13), " ".join(f"{value:.0f}" for value in color), _COLORS_WIDTH, _GRAY)
        top += _SWATCH + 12
    text = f"window differs by {clip.difference:.1f}"
    _write(draw, (left, top), text, _COLORS_WIDTH, _RED if (clip.difference or 0) > MAX_DIFFERENCE else _GRAY)


def _rgb(color: Color) -> tuple[int, int, int]:
    red, green, blue = (round(value) for value in (color if len(color) == 3 else color[:1] * 3))
    return red, green, blue


def _folded(text: str) -> list[str]:
    """The text in a few lines of the sheet's width."""
    columns = int((SHEET_WIDTH - 2 * _MARGIN) / text_font().getlength("n"))
    return textwrap.wrap(text, columns, max_lines=_MAX_LINES, placeholder=" …") or [""]


def _write(
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    text: str,
    width: int,
    color: str = _INK,
    *,
    bold: bool = False,
) -> None:
    """One line; what is wider than ``width`` loses its middle."""
    text = printable(text)
    font, shown, cut = text_font(bold=bold), text, 0
    while font.getlength(shown) > width and cut < len(text):
        cut += 1
        kept = len(text) - cut
        shown = f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}"
    draw.text(at, shown, fill=color, font=font)


@lru_cache
def text_font(*, bold: bool = False, pixels: int = _TEXT) -> ImageFont.FreeTypeFont:
    """The font that comes with matplotlib, which has more letters than Pillow's own."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(str(folder / f"DejaVuSans{'-Bold' if bold else ''}.ttf"), pixels)
