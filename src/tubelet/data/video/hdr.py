"""Tone mapping: HDR pictures (PQ and HLG) as the SDR pictures that models are trained on.

A PQ code stands for a luminance on the display (SMPTE ST 2084), an HLG code for scene light (ARIB STD-B67), where a
code of 75 % is reference white (BT.2408). The brightest channel is compressed by the curve of ITU-R BT.2390
(section 5.4.1) from a peak of 1,000 nits to the SDR peak, which is reference white, 203 nits; all three change by the
same factor, so that hues stay. Then primaries become those of BT.709, what leaves their gamut is clipped, and the
result is coded for a display with a gamma of 2.4 (BT.1886).

    H, W  pixels
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, UInt8, UInt16
from numpy.typing import NDArray

# FFmpeg's numbers for color_trc.
TRANSFERS = {16: "PQ", 18: "HLG"}
REFERENCE_WHITE, SOURCE_PEAK = 203.0, 1000.0  # nits
_GAMMA = 2.4
_BITS = 12  # of the codes that tables are made for
_STEPS = 4095  # square roots of linear light that the last table is made for

# Linear RGB to that of BT.709, by FFmpeg's number for color_primaries; computed from their chromaticities.
_FROM_BT2020 = ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187))
_FROM_P3 = ((1.2249, -0.2247, 0.0), (-0.0420, 1.0419, 0.0), (-0.0197, -0.0786, 1.0979))
_TO_BT709 = {1: ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)), 12: _FROM_P3}  # others are taken for BT.2020


def tone_mapped(
    picture: UInt16[np.ndarray, "3 H W"], color_trc: int, color_primaries: int
) -> UInt8[np.ndarray, "3 H W"]:
    """An SDR picture of full-range R'G'B' codes of 16 bits; ``color_trc`` is one of ``TRANSFERS``."""
    tables = _tables(color_trc)
    code = picture >> (16 - _BITS)
    light = tables.light[code]
    light *= tables.gain[code.max(axis=0)]
    matrix = np.array(_TO_BT709.get(color_primaries, _FROM_BT2020), dtype=np.float32)
    light = (matrix @ light.reshape(3, -1)).clip(0, 1)
    np.sqrt(light, out=light)
    light *= _STEPS
    light += 0.5
    return tables.coded[light.astype(np.uint16)].reshape(picture.shape)


@dataclass(frozen=True)
class _Tables:
    light: Float32[np.ndarray, " codes"]  # linear light of a code, 1 is reference white
    gain: Float32[np.ndarray, " codes"]  # what the curve multiplies it by
    coded: UInt8[np.ndarray, " steps"]  # for a display, of the square root of linear light


@lru_cache
def _tables(color_trc: int) -> _Tables:
    code = np.arange(2**_BITS) / (2**_BITS - 1)
    nits = pq_nits(code) if TRANSFERS[color_trc] == "PQ" else hlg_nits(code)
    gain = bt2390(nits) / np.maximum(nits, 1e-6)
    coded = 255 * (np.arange(_STEPS + 1) / _STEPS) ** (2 / _GAMMA)
    return _Tables(
        light=(nits / REFERENCE_WHITE).astype(np.float32),
        gain=gain.astype(np.float32),
        coded=np.rint(coded).astype(np.uint8),
    )


_M1, _M2, _C1, _C2, _C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128  # ST 2084


def pq_nits(code: NDArray[np.float64]) -> NDArray[np.float64]:
    """The luminance of a PQ code from 0 to 1 (ST 2084, EOTF)."""
    power = code ** (1 / _M2)
    return 10000 * (np.maximum(power - _C1, 0) / (_C2 - _C3 * power)) ** (1 / _M1)


def pq_code(nits: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of ``pq_nits``."""
    power = (nits / 10000) ** _M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2


def hlg_nits(code: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scene light of an HLG code from 0 to 1 (ARIB STD-B67), scaled so that 75 % is reference white."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    codes = np.append(code, 0.75)
    scene = np.where(codes <= 0.5, codes**2 / 3, (np.exp((codes - c) / a) + b) / 12)
    return REFERENCE_WHITE * scene[:-1] / scene[-1]


def bt2390(nits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Luminance after the curve of BT.2390 (section 5.4.1, without black level) from ``SOURCE_PEAK`` to white."""
    peak = pq_code(np.array([SOURCE_PEAK]))
    source, highest = np.minimum(pq_code(nits) / peak, 1), pq_code(np.array([REFERENCE_WHITE])) / peak
    knee = 1.5 * highest - 0.5
    t = np.clip((source - knee) / (1 - knee), 0, 1)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * highest
    return pq_nits(np.where(source < knee, source, spline) * peak)
