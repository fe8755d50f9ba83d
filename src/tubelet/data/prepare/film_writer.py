"""Pictures with times to an H.264 film.

N  frames
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import Float, UInt8

from tubelet.data.prepare.config import Encoding
from tubelet.files import written_atomically

_TICKS = 90_000  # per second; broadcast's clock, in which the usual frame rates are whole


def write_film(
    path: Path,
    pictures: Iterable[UInt8[np.ndarray, "H W 3"]],
    times: Float[np.ndarray, " N"],
    fps: float,
    encoding: Encoding,
) -> None:
    """Write an MP4 atomically, each picture at its time; the first is shown at 0.

    Args:
        pictures: N of them, RGB, all of one size with even sides.
        times: seconds, ascending; two at one time are shown one tick after the other.
        fps: about how many there are in a second.
        encoding: settings; the size is that of the pictures.
    """
    ticks = np.rint((times - times[0]) * _TICKS).astype(np.int64)
    ticks = np.maximum.accumulate(ticks - np.arange(len(ticks))) + np.arange(len(ticks))  # each later than the last
    with written_atomically(path) as new, av.open(str(new), "w", format="mp4") as container:
        rate = Fraction(fps).limit_denominator(1001)
        stream = container.add_stream("libx264", rate=rate, options=encoding.options)
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, _TICKS)
        for number, picture in enumerate(pictures):
            if number == 0:
                stream.height, stream.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = int(ticks[number]), Fraction(1, _TICKS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
