"""A film with what a model finds drawn below its pictures, as H.264.

N  frames of the film
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from tubelet.app.scores import Curves, Suggestion
from tubelet.data.prepare.config import Encoding
from tubelet.data.prepare.film_writer import write_film
from tubelet.data.sources.open_source import Reader
from tubelet.errors import printable
from tubelet.report.contact_sheet import text_font
from tubelet.report.film_strip import as_rgb
from tubelet.report.timeline import clock_text

ENCODING = Encoding(short_side=540, crf=23, preset="veryfast")
_LEAST_WIDTH = 320  # pixels, so that a label and its bar fit
_ROWS, _ROW, _TEXT = 4, 24, 14  # labels below the picture; height of a row and of its letters, pixels
_RIBBON = 14  # pixels, height of the whole film's findings
# Okabe and Ito's palette, as the page has it.
_COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8d8d8d", "#b5a800")
_PAPER, _INK, _DIM, _RULE = "#10151a", "#f2f4f5", "#a3adb6", "#38424a"


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What is drawn."""

    labels: Sequence[str]  # all that the model knows; their order gives the colors
    curves: Curves
    suggestions: Sequence[Suggestion]
    seconds: float  # the film's length

    def color(self, label: str) -> str:
        """Of a label, wherever it is drawn."""
        return _COLORS[self.labels.index(label) % len(_COLORS)]

    def at(self, seconds: float) -> list[tuple[str, float, bool]]:
        """The most probable labels of a moment: label, probability, and whether a suggestion holds there."""
        edges = self.curves.edges
        column = int(np.searchsorted(edges, seconds + 1e-6, side="right")) - 1
        if not 0 <= column < len(edges) - 1:
            return []
        held = {one.label for one in self.suggestions if one.start - 1e-6 <= seconds < one.stop - 1e-6}
        known = zip(self.curves.labels, self.curves.probs, strict=True)
        probs = [(label, row[column]) for label, row in known]
        ranked = sorted(((label, p) for label, p in probs if p is not None), key=lambda pair: -pair[1])
        return [(label, p, label in held) for label, p in ranked[:_ROWS]]


def write_score_film(
    path: Path, reader: Reader, findings: Findings, on_frame: Callable[[int, int], None] = lambda done, total: None
) -> None:
    """Write an MP4 with every frame of the film at its time, its shorter side at most 540 pixels, and what is found.

    Args:
        reader: of the film.
        on_frame: called with (frames done, frames in all).

    Raises:
        VideoError: a frame does not decode.
    """
    times = np.asarray(reader.timestamps, dtype=np.float64)

    def drawn() -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        canvas = None
        for number, picture in reader.frames_in_order(range(len(times))):
            canvas = canvas or Canvas(picture.shape[1:3], findings)
            yield canvas.drawn(picture, float(times[number]))
            on_frame(number + 1, len(times))

    write_film(path, drawn(), times, reader.fps, ENCODING)


class Canvas:
    """Pictures with rows below them.

    Args:
        size: height and width of the film's frames, pixels.
    """

    def __init__(self, size: tuple[int, int], findings: Findings) -> None:
        height, width = size
        factor = min(1.0, ENCODING.short_side / min(height, width))
        self._picture = max(2, round(width * factor)), max(2, round(height * factor))
        whole = max(_LEAST_WIDTH, self._picture[0])
        rows = min(_ROWS, max(1, len(findings.labels)))
        self.size = whole + whole % 2, _even(self._picture[1] + _RIBBON + (rows + 1) * _ROW)  # width, height
        self._findings = findings
        self._ribbon = self._drawn_ribbon()

    def drawn(self, picture: UInt8[np.ndarray, "C H W"], seconds: float) -> UInt8[np.ndarray, "h w 3"]:
        """A frame of the film with what is found at its time."""
        whole = Image.new("RGB", self.size, _PAPER)
        rgb = np.ascontiguousarray(as_rgb(picture.transpose(1, 2, 0)))
        small = Image.fromarray(rgb).resize(self._picture, Image.Resampling.BICUBIC)
        whole.paste(small, ((self.size[0] - self._picture[0]) // 2, 0))
        draw, top, width = ImageDraw.Draw(whole), self._picture[1], self.size[0]
        whole.paste(self._ribbon, (0, top))
        x = round(width * min(1.0, seconds / max(self._findings.seconds, 1e-6)))
        draw.line([(x, top), (x, top + _RIBBON)], fill=_INK, width=2)
        draw.text((6, top + _RIBBON + 4), clock_text(seconds), font=text_font(pixels=_TEXT), fill=_DIM)
        for row, (label, prob, holds) in enumerate(self._findings.at(seconds), 1):
            self._draw_row(draw, top + _RIBBON + row * _ROW, label, prob, holds)
        return np.asarray(whole)

    def _draw_row(self, draw: ImageDraw.ImageDraw, top: int, label: str, prob: float, holds: bool) -> None:
        width, font = self.size[0], text_font(bold=holds, pixels=_TEXT)
        left, right = width * 2 // 5, width - 58
        draw.text((24, top + 3), _cut(printable(label), font, left - 30), font=font, fill=_INK if holds else _DIM)
        color = self._findings.color(label)
        draw.rectangle([6, top + 5, 18, top + 17], fill=color if holds else None, outline=color, width=2)
        draw.rectangle([left, top + 6, right, top + 17], outline=_RULE)
        draw.rectangle([left, top + 6, left + max(1, round((right - left) * prob)), top + 17], fill=color)
        draw.text((width - 50, top + 3), f"{prob:.0%}", font=font, fill=_INK)

    def _drawn_ribbon(self) -> Image.Image:
        """What is found in the whole film, from left to right."""
        ribbon = Image.new("RGB", (self.size[0], _RIBBON), _RULE)
        draw, scale = ImageDraw.Draw(ribbon), self.size[0] / max(self._findings.seconds, 1e-6)
        for one in self._findings.suggestions:
            box = [one.start * scale, 2, max(one.start * scale + 1, one.stop * scale - 1), _RIBBON - 3]
            draw.rectangle(box, fill=self._findings.color(one.label))
        return ribbon


def _even(number: int) -> int:
    return number + number % 2


def _cut(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """As many letters as fit."""
    length = font.getlength
    if length(text) <= width:
        return text
    while text and length(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"
