"""TIFF stacks: many pictures in one ``.tif`` or ``.tiff`` file, as microscopes write them, read by tifffile, which the
extra ``tiff`` installs.

The pictures of the first series are the frames, gray or RGB. A stack has to be named as a file (in a CSV, or on the
command line), or end in ``.ome.tif``, ``.ome.tiff``, ``.stk`` or ``.btf``: in a folder, plain ``.tif`` files are the
pictures of a frame folder.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tubelet.errors import DataError

TIFF_SUFFIXES = frozenset({".tif", ".tiff", ".stk", ".btf"})
_STACKS = (".ome.tif", ".ome.tiff", ".stk", ".btf")
_COLORS = (3, 4)


def is_tiff(path: str | Path) -> bool:
    """Whether a file is read as a TIFF stack, by its suffix."""
    return Path(path).suffix.lower() in TIFF_SUFFIXES


def is_stack_by_name(name: str) -> bool:
    """Whether a file is a stack wherever it lies, and no picture of a frame folder."""
    return name.lower().endswith(_STACKS)


def read_tiff(path: Path) -> np.ndarray:
    """Read the stack as an array [T, H, W] or [T, H, W, C], in its stored type; a fourth channel is left out.

    Raises:
        DataError: tifffile is not installed, or the file is no TIFF file, or holds more axes than time and colors.
    """
    try:
        import tifffile
    except ImportError:
        raise DataError(f"{path}: reading TIFF needs tifffile; install it with: pip install 'tubelet[tiff]'") from None
    try:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            axes, array = series.axes, series.asarray()
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except Exception as error:  # of damaged files tifffile and its codecs raise nearly anything
        if isinstance(error, MemoryError):
            raise
        line = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: not a TIFF stack that can be read ({line}); replace it or leave it out") from None
    if axes.endswith("S") and array.shape[-1] in _COLORS:
        axes, array = axes[:-1], array[..., :3]
    else:
        array = array[..., None]
    kept = tuple(number for number, (axis, size) in enumerate(zip(axes, array.shape, strict=False)) if size > 1)
    others = tuple(number for number in range(len(axes) - 2) if number not in kept)
    array = np.squeeze(array, axis=others)
    if array.ndim == 3:
        array = array[None]
    if array.ndim != 4:
        raise DataError(
            f"{path}: holds the axes {axes} of {array.shape[:-1]}; expected one of them beside height and width (time "
            "or depth); write one channel and one position into a file"
        )
    return array[..., 0] if array.shape[-1] == 1 else array
