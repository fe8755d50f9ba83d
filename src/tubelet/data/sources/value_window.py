"""Values of any range as 0 to 255: the intensity windows of volumes and of pictures with more than 8 bits."""

from __future__ import annotations

import numpy as np

from tubelet.errors import DataError

ValueWindow = tuple[float, float]  # the values that become 0 and 255


def windowed(array: np.ndarray, window: ValueWindow, name: str) -> np.ndarray:
    """Map window[0] to 0 and window[1] to 255, rounded. Values outside become 0 or 255."""
    if array.dtype.kind not in "uifb":
        raise DataError(f"{name}: holds {array.dtype}; expected numbers")
    low, high = window
    values = array.astype(np.float32)
    if not np.isfinite(values).all():
        raise DataError(f"{name}: holds values that are not finite; replace them before the data are used")
    scaled: np.ndarray = np.rint(np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return scaled
