"""PNG and TIFF pictures with 16 bits, gray or color, as infrared and depth cameras and microscopes write them.

FFmpeg decodes them whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from jaxtyping import UInt16
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from tubelet.data.sources.value_window import ValueWindow
from tubelet.data.video.packet_decoder import padded_packet

FULL_RANGE = (0.0, 65535.0)
_PNG, _DEPTH_AT = b"\x89PNG\r\n\x1a\n", 24  # the signature, and where the header has the bits of a sample
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # both byte orders, then those of BigTIFF
_BITS, _SAMPLE_FORMAT, _UNSIGNED = 258, 339, 1  # TIFF tags, and the value of the second that can be read
_DARK = 8  # of 255: what a picture at most has that most likely needs another window
_ORIENTATION = 0x0112  # EXIF tag
# Of each EXIF orientation: whether rows and columns change places, then whether each runs backward.
_TURNS = {
    **{2: (False, False, True), 3: (False, True, True), 4: (False, True, False), 5: (True, False, False)},
    **{6: (True, False, True), 7: (True, True, True), 8: (True, True, False)},
}


def read_deep(file: Path) -> UInt16[np.ndarray, "H W 3"] | None:
    """The values of a picture with 16 bits, as shown, gray ones in three equal channels. None for other pictures.

    Raises:
        ValueError: the picture does not decode.
        OSError: the file cannot be read.
    """
    codec = deep_codec(file)
    if codec is None:
        return None
    content = file.read_bytes()
    with Image.open(file) as image:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1), (False, False, False))
    context = av.CodecContext.create(codec, "r")
    assert isinstance(context, VideoCodecContext)
    try:
        frames = [*context.decode(padded_packet(content)), *context.decode(None)]
    except av.FFmpegError as error:
        raise ValueError(error.strerror) from None
    if not frames:
        raise ValueError("no picture decodes")
    form = "gray16le" if "gray" in frames[0].format.name else "rgb48le"
    values: NDArray[Any] = frames[0].reformat(format=form).to_ndarray()
    values = np.repeat(values[..., None], 3, axis=2) if values.ndim == 2 else values
    values = values.swapaxes(0, 1) if turn[0] else values
    return values[:: -1 if turn[1] else 1, :: -1 if turn[2] else 1]


def deep_codec(file: Path) -> Literal["png", "tiff"] | None:
    """FFmpeg's decoder of a picture with 16 bits. None for other pictures.

    Raises:
        ValueError: it is a TIFF file of several pictures, or of values that are not whole and positive.
        OSError: the file cannot be read.
    """
    with file.open("rb") as stream:
        start = stream.read(_DEPTH_AT + 1)
    if start.startswith(_PNG):
        return "png" if start[_DEPTH_AT:] == b"\x10" else None
    if not start.startswith(_TIFF):
        return None
    with Image.open(file) as image:
        assert isinstance(image, TiffImageFile)
        if image.n_frames > 1:
            raise ValueError(f"it holds {image.n_frames} pictures; expected a file for each")
        bits, forms = (set(image.tag_v2.get(tag, (1,))) for tag in (_BITS, _SAMPLE_FORMAT))
    if max(bits) <= 8:
        return None
    if bits != {16} or forms != {_UNSIGNED}:
        kind = "floating-point" if forms == {3} else "signed" if forms == {2} else "unsigned"
        raise ValueError(f"it holds {kind} values of {max(bits)} bits; expected unsigned ones of 8 or 16")
    return "tiff"


def deep_notes(values: UInt16[np.ndarray, "H W 3"], window: ValueWindow) -> Iterator[str]:
    """Yield lines for the user about a picture that is scaled by ``window``."""
    low, high = window
    yield f"16-bit pictures, {low:g} to {high:g} become 0 to 255 (protocol.picture_window)"
    highest = int(values.max())
    if (highest - low) / (high - low) * 255 < _DARK:
        yield f"16-bit pictures, the highest value of one is {highest}: nearly black; set protocol.picture_window"
