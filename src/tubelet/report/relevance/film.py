"""An explanation over the frames of its source: upright as players show them, in their size and at their times.

T  frames of the clip   H0, W0  decoded frames of the source
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Float, UInt8

from tubelet.data.sources.open_source import Reader
from tubelet.data.synthetic_films import TimedPicture, encode_timed
from tubelet.explain.explanation import Explanation
from tubelet.report.relevance.colors import painted
from tubelet.report.relevance.scale import Scale

ENCODER = "libx264"  # in PyAV's wheels
ENCODER_LICENSE = "GPL-2.0-or-later"  # x264's
_NOT_SHOWN = 0.4  # brightness of what the model was not shown


def overlay_film(explanations: Iterable[Explanation], reader: Reader, scale: Scale) -> bytes:
    """An MP4 of the source's frames from the first clip's start to the last one's end, with the maps over them.

    A map lasts until the clip's next frame. The film begins at zero. Sides that are odd get a line of pixels more,
    which 4:2:0 needs. One picture is held at a time.

    Args:
        explanations: in the order of their times; where clips overlap, the earlier one is shown.
    """
    return encode_timed(frame for explanation in explanations for frame in _frames(explanation, reader, scale))


def _frames(explanation: Explanation, reader: Reader, scale: Scale) -> Iterator[TimedPicture]:
    view, times = explanation.view, np.asarray(reader.timestamps, dtype=np.float64)
    order = np.argsort(view.seconds, kind="stable")  # a clip that loops begins anew
    starts = np.array(view.seconds)[order]
    inside = np.flatnonzero((times >= starts[0]) & (times < max(view.until)))
    held, overlay = -1, np.zeros((0, 0), dtype=np.float32)
    for index, picture in reader.frames_in_order(inside.tolist()):
        row = int(order[np.searchsorted(starts, times[index], side="right") - 1])
        if row != held:
            held, overlay = row, view.to_source(explanation.relevance[row : row + 1])[0]
        yield float(times[index]), _shown(picture.transpose(1, 2, 0), overlay, scale)


def _shown(
    picture: UInt8[np.ndarray, "H0 W0 C"], relevance: Float[np.ndarray, "H0 W0"], scale: Scale
) -> UInt8[np.ndarray, "H0 W0 3"]:
    seen = ~np.isnan(relevance)[None]
    return painted(picture[None] * np.where(seen, 1.0, _NOT_SHOWN)[..., None], np.nan_to_num(relevance)[None], scale)[0]
