"""The colors of relevance: red speaks for the class, blue against it, over frames in gray."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Num, UInt8

from tubelet.report.relevance.scale import Scale

READS = "red speaks for the class, blue against it"
READS_ATTENTION = "red is where attention comes from"
_FOR, _AGAINST = np.array([230.0, 40.0, 20.0]), np.array([30.0, 90.0, 230.0])  # RGB of positive, of negative
_OPACITY = 0.75  # of full color


def painted(
    frames: Num[np.ndarray, "T H W C"], relevance: Float[np.ndarray, "T H W"], scale: Scale
) -> UInt8[np.ndarray, "T H W 3"]:
    """Frames of 0 to 255 in gray with the map over them."""
    gray = frames.astype(np.float32).mean(-1, keepdims=True).repeat(3, axis=-1)  # T H W 3
    strength = relevance / scale.value if scale.value else relevance  # T H W
    alpha = _OPACITY * np.abs(strength).clip(max=1.0)[..., None]
    color = np.where(strength[..., None] >= 0, _FOR, _AGAINST)
    shown: UInt8[np.ndarray, "T H W 3"] = (gray * (1 - alpha) + color * alpha + 0.5).clip(0, 255).astype(np.uint8)
    return shown
