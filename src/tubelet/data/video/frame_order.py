"""In which order and at which times the frames of a file are shown, as its packets tell.

N shown frames, P packets in decoding order, of which a *row* is the number.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Shaped
from numpy.typing import NDArray

from tubelet.data.video.packet_decoder import DISCARDED, KEY, NO_TIME


def order_of_packets(packets: Shaped[np.ndarray, " P"]) -> list[int | None] | None:
    """The rows of the shown frames in the order of their pts. None if the packets do not determine them."""
    shown = np.flatnonzero(packets["flags"] & DISCARDED == 0)
    pts = packets["pts"][shown]
    first_is_key = len(packets) > 0 and packets["flags"][0] & KEY > 0
    if (
        not first_is_key
        or not len(pts)
        or len(np.unique(pts)) < len(pts)
        or not NO_TIME < packets["pts"][0] <= min(pts)
    ):
        return None
    return list(shown[np.argsort(pts)].tolist())


def times_of_frames(packets: Shaped[np.ndarray, " P"], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The times of the shown frames, ascending [N]. Empty if they have none.

    Files that were joined begin anew in the middle: there, times go on at the usual interval.
    """
    decoded = packets["pts"]
    if len(decoded) > 2 and np.all(np.diff(decoded[:-1]) > 0) and decoded[-1] == decoded[-2]:
        # AVI gives each packet the decoding time of the next one, and the last has none.
        decoded = np.append(decoded[:-1], decoded[-1] + int(np.median(np.diff(decoded[:-1]))))
    times = decoded[rows]
    steps = np.diff(times)
    if not len(times) or times.min() == NO_TIME or np.any(steps == 0):
        return times[:0]
    if np.all(steps > 0):
        return times
    if np.all(np.diff(decoded) > 0):
        return np.sort(times)  # numbers in decoding order: the lowest is the time of the first frame
    if not np.any(steps > 0):
        return times[:0]
    steps[steps < 0] = int(np.median(steps[steps > 0]))
    return times[0] + np.concatenate([[0], np.cumsum(steps)])
