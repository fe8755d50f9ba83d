"""DICOM cine images (``.dcm``, ``.dicom``), read by pydicom, which the extra ``dicom`` installs.

Of a file only what decides its pictures and their times is ever read: no field about patient, physician, place, date or
device. Where an ultrasound image states its regions (DICOM PS3.3 C.8.5.5), what lies outside of them, such as a name
that is burnt into the picture, becomes black and is cut off.

Pictures become RGB uint8. Gray values are mapped by the protocol's ``volume_window``, else by the file's own window;
MONOCHROME1 is inverted, so that more is brighter. Uncompressed, RLE and JPEG pictures are decoded by pydicom and
Pillow, MPEG-2, MPEG-4 and H.265 streams by the reader of videos. Source of the fields: DICOM PS3.3 C.7.6.3, C.7.6.5,
C.7.6.6.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray

from tubelet.data.sources.value_window import ValueWindow, windowed
from tubelet.data.video.container import ByteRange
from tubelet.data.video.info import VideoInfo
from tubelet.data.video.reader import VideoReader
from tubelet.data.video.rendering import BY_DEFAULT, Rendering
from tubelet.errors import DataError
from tubelet.types import Frames

DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})
UNTIMED_FPS = 1.0  # if the file states no times, frame numbers stand for seconds
# All that is read of a file, beside the transfer syntax.
_READ = (
    *("NumberOfFrames", "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "RescaleSlope", "RescaleIntercept"),
    *("RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor"),
    *("BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData"),
    *("GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData", "WindowCenter", "WindowWidth"),
    *("FrameTime", "FrameTimeVector", "CineRate", "RecommendedDisplayFrameRate", "SequenceOfUltrasoundRegions"),
    *("BurnedInAnnotation", "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelData"),
)
_VIDEO = "1.2.840.10008.1.2.4.1"  # transfer syntaxes of MPEG-2 (100), H.264 (102 to 106) and H.265 (107, 108)
_ITEM = b"\xfe\xff\x00\xe0"


def is_dicom(path: str | Path) -> bool:
    """Whether a file is a DICOM image, by its suffix."""
    return Path(path).suffix.lower() in DICOM_SUFFIXES


class DicomReader:
    """The frames of a DICOM image, read with the methods of ``tubelet.data.video.reader.VideoReader``.

    Attributes:
        timestamps: float64 [N], seconds of every frame, ascending, the first is 0.
        notes: as ``VideoReader.notes``.

    Args:
        path: the file.
        window: the gray values that become 0 and 255. None means those that the file states.
        rendering: of a video stream in the file.

    Raises:
        DataError: pydicom is not installed, the file is no DICOM image, or nothing here decodes its pictures.
    """

    def __init__(self, path: Path, window: ValueWindow | None = None, rendering: Rendering = BY_DEFAULT) -> None:
        self.path, self._window = path, window
        self._data = _read(path)
        self._video = self._stream(rendering)
        self._decoder: Any = None if self._video else self._picture_decoder()
        count = len(self._video.timestamps) if self._video else max(1, int(self._data.get("NumberOfFrames") or 1))
        self.notes: tuple[str, ...] = ()
        self.timestamps = self._times(count)
        step = float(self.timestamps[-1]) / (count - 1) if count > 1 else 1 / UNTIMED_FPS
        self.fps, self.duration_seconds = 1 / step, float(self.timestamps[-1]) + step
        self._regions = _regions(self._data)
        if not self._regions and self._data.get("BurnedInAnnotation") == "YES":
            self._note("says that text is burnt into its pictures, and not where; it is part of what a model sees")
        first = self._picture(0)
        self.height, self.width = first.shape[:2]

    def __enter__(self) -> DicomReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._video is not None:
            self._video.close()

    def frames_at(self, indices: Sequence[int]) -> Frames:
        """As ``VideoReader.frames_at``, without a window."""
        count = len(self.timestamps)
        if not len(indices) or min(indices) < 0 or max(indices) >= count:
            raise DataError(f"{self.path}: asked for frames {list(indices)}, expected some of 0 to {count - 1}")
        pictures = {index: torch.from_numpy(self._picture(index)).permute(2, 0, 1) for index in sorted(set(indices))}
        seconds = tuple(float(self.timestamps[index]) for index in indices)
        return Frames(pixels=torch.stack([pictures[index] for index in indices]), seconds=seconds)

    def frames_in_order(self, indices: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """As ``VideoReader.frames_in_order``."""
        for index in indices:
            yield index, self.frames_at([index]).pixels[0].numpy()

    def reopened(self) -> DicomReader:
        """This reader, which reads frame by frame."""
        return self

    @property
    def info(self) -> VideoInfo:
        """As ``VideoReader.info``."""
        bits = int(self._data.get("BitsStored") or 8)
        return VideoInfo.of_pictures("dicom", bits, self.height, self.width, self.fps, self.notes)

    def _note(self, text: str) -> None:
        self.notes = tuple(dict.fromkeys((*self.notes, text)))

    def _picture(self, index: int) -> UInt8[np.ndarray, "H W 3"]:
        if self._video is not None:
            picture = np.array(self._video.frames_at([index]).pixels[0].permute(1, 2, 0).numpy())
        else:
            picture = self._as_rgb(self._values(index))
        return _within(picture, self._regions)

    def _stream(self, rendering: Rendering) -> VideoReader | None:
        """The reader of the video stream that the file holds in place of pictures."""
        if not str(self._data.file_meta.TransferSyntaxUID).startswith(_VIDEO):
            return None
        return VideoReader(self.path, part=_stream_range(self.path, self._data), rendering=rendering)

    def _picture_decoder(self) -> Any:
        from pydicom.pixels import get_decoder

        syntax = self._data.file_meta.TransferSyntaxUID
        try:
            decoder = get_decoder(syntax)
        except NotImplementedError:
            raise DataError(f"{self.path}: has the transfer syntax {syntax.name}, which cannot be read") from None
        if not decoder.is_available:
            missing = "; or ".join(sorted(decoder.missing_dependencies))
            raise DataError(f"{self.path}: its pictures are {syntax.name}, for which a plug-in is missing: {missing}")
        return decoder

    def _values(self, index: int) -> NDArray[Any]:
        try:
            with warnings.catch_warnings(action="ignore"):
                array: NDArray[Any] = self._decoder.as_array(self._data, index=index)[0]
        except (RuntimeError, ValueError, AttributeError, KeyError, OSError, NotImplementedError, struct.error):
            name = self._data.file_meta.TransferSyntaxUID.name
            missing = "; or ".join(sorted(self._decoder.missing_dependencies))
            hint = f"; more of them are read with {missing}" if missing else ""
            raise DataError(
                f"{self.path}: picture {index} does not decode ({name}, {self._data.get('BitsStored')} bits); replace "
                f"the file or leave it out{hint}"
            ) from None
        return array

    def _as_rgb(self, values: NDArray[Any]) -> UInt8[np.ndarray, "H W 3"]:
        kind = str(self._data.PhotometricInterpretation)
        if kind == "PALETTE COLOR":
            from pydicom.pixels import apply_color_lut

            colors: NDArray[Any] = apply_color_lut(values, self._data)
            return (colors >> 8).astype(np.uint8) if colors.dtype == np.uint16 else colors
        if kind in ("MONOCHROME1", "MONOCHROME2"):
            gray = self._as_gray(values)
            return np.repeat((255 - gray if kind == "MONOCHROME1" else gray)[..., None], 3, axis=2)
        if values.dtype != np.uint8 or values.ndim != 3:
            raise DataError(f"{self.path}: holds {kind} pictures of {values.dtype}; expected colors of 8 bits")
        return np.ascontiguousarray(values)

    def _as_gray(self, values: NDArray[Any]) -> UInt8[np.ndarray, "H W"]:
        slope, intercept = (self._data.get(name) for name in ("RescaleSlope", "RescaleIntercept"))
        if slope is not None or intercept is not None:
            values = values * float(1 if slope is None else slope) + float(intercept or 0)
        window = self._window or _own_window(self._data)
        if window is None and values.dtype == np.uint8:
            return values
        if window is None:
            raise DataError(
                f"{self.path}: holds gray values of {self._data.get('BitsStored')} bits and states no window; say "
                "which values become 0 and 255 with protocol.volume_window"
            )
        if self._window is None and values.dtype != np.uint8:
            self._note(f"gray values {window[0]:g} to {window[1]:g}, the file's own window, become 0 to 255")
        return windowed(values, window, str(self.path))

    def _times(self, count: int) -> NDArray[np.float64]:
        """Seconds of every frame, by the first field that states them."""
        data, vector = self._data, self._data.get("FrameTimeVector")
        if vector is not None and count > 1:
            steps = np.atleast_1d(np.array(vector, dtype=np.float64)) / 1000  # since the frame before
            times: NDArray[np.float64] = np.cumsum(steps) - steps[0]
            if len(times) == count and np.all(np.diff(times) > 0):
                return times
        rate = data.get("CineRate") or data.get("RecommendedDisplayFrameRate")
        step = float(data.get("FrameTime") or 0) / 1000 or (1 / float(rate) if rate else 0.0)
        if step > 0:
            return np.arange(count, dtype=np.float64) * step
        if self._video is not None:
            return self._video.timestamps
        if count > 1:
            self._note("states no times of its frames; frame numbers stand for seconds")
        return np.arange(count, dtype=np.float64) / UNTIMED_FPS


def _read(path: Path) -> Any:
    """The fields of a file that are read at all."""
    try:
        import pydicom
    except ImportError:
        raise DataError(f"{path}: reading DICOM needs pydicom; install it with: pip install 'tubelet[dicom]'") from None
    try:
        with warnings.catch_warnings(action="ignore"):
            data = pydicom.dcmread(path, specific_tags=list(_READ))
            has_pictures = "PixelData" in data and "PhotometricInterpretation" in data and data.get("Rows")
            syntax = data.file_meta.get("TransferSyntaxUID")
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except (OSError, EOFError, ValueError, KeyError, AttributeError, NotImplementedError, struct.error) as error:
        raise DataError(f"{path}: not a DICOM file ({type(error).__name__}); replace it or leave it out") from None
    except pydicom.errors.InvalidDicomError:
        raise DataError(f"{path}: not a DICOM file; its header lacks the word DICM") from None
    if not has_pictures or syntax is None:
        raise DataError(f"{path}: a DICOM file without pictures, such as a report or a plan; leave it out")
    return data


def _own_window(data: Any) -> ValueWindow | None:
    """The values that the file shows black and white; the first window of several."""
    center, width = (np.atleast_1d(data.get(name, ())) for name in ("WindowCenter", "WindowWidth"))
    if not len(center) or not len(width) or center[0] is None or not float(width[0]) > 1:
        return None
    low = float(center[0]) - 0.5 - (float(width[0]) - 1) / 2  # PS3.3 C.11.2.1.2.1
    return low, low + float(width[0]) - 1


def _regions(data: Any) -> list[tuple[int, int, int, int]]:
    """The regions of an ultrasound image: left, top, right and bottom, the latter two outside."""
    found = []
    for region in data.get("SequenceOfUltrasoundRegions") or ():
        corners = [region.get(f"RegionLocation{corner}") for corner in ("MinX0", "MinY0", "MaxX1", "MaxY1")]
        if None not in corners:
            left, top, right, bottom = map(int, corners)
            if right > left and bottom > top:
                found.append((left, top, right + 1, bottom + 1))
    return found


def _within(
    picture: UInt8[np.ndarray, "H W 3"], regions: Sequence[tuple[int, int, int, int]]
) -> UInt8[np.ndarray, "h w 3"]:
    """What lies within regions, black between them, cut to the smallest rectangle; all of it where there are none."""
    if not regions:
        return picture
    kept = np.zeros_like(picture)
    for left, top, right, bottom in regions:
        kept[top:bottom, left:right] = picture[top:bottom, left:right]
    left, top = (min(region[side] for region in regions) for side in (0, 1))
    right, bottom = (max(region[side] for region in regions) for side in (2, 3))
    return np.ascontiguousarray(kept[top:bottom, left:right])


def _stream_range(path: Path, data: Any) -> ByteRange:
    """Where the video stream lies in a file: the one fragment behind the offset table (PS3.5 A.4)."""
    with path.open("rb") as file:
        file.seek(data["PixelData"].file_tell)
        _skipped, length = file.read(4), int.from_bytes(file.read(4), "little")
        file.seek(length, 1)
        tag, size = file.read(4), int.from_bytes(file.read(4), "little")
        start = file.tell()
        file.seek(size, 1)
        if tag != _ITEM or not size:
            raise DataError(f"{path}: holds no video stream where its header says so; replace the file")
        if file.read(4) == _ITEM:
            raise DataError(f"{path}: its video stream is in several fragments; join them, or leave it out")
    return start, size
