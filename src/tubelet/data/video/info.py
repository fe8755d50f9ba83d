"""What a file says of its pictures, under the names that FFmpeg's tools use."""

from __future__ import annotations

from dataclasses import dataclass

import av

from tubelet.data.video.packet_decoder import COLORS
from tubelet.data.video.packet_index import PacketIndex
from tubelet.data.video.scaling import Orientation

_UNSPECIFIED = "unspecified"
# Code points of ITU-T H.273; range as FFmpeg numbers it.
_RANGE = {1: "limited", 2: "full"}
_PRIMARIES = {
    **{1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020"},
    **{10: "smpte428", 11: "smpte431", 12: "smpte432", 22: "ebu3213"},
}
_TRANSFER = {
    **{1: "bt709", 4: "gamma22", 5: "gamma28", 6: "smpte170m", 7: "smpte240m", 8: "linear", 9: "log", 10: "log_sqrt"},
    **{11: "iec61966-2-4", 12: "bt1361e", 13: "srgb", 14: "bt2020-10", 15: "bt2020-12", 16: "pq", 17: "smpte428"},
    18: "hlg",
}
_MATRIX = {
    **{0: "rgb", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco", 9: "bt2020nc"},
    **{10: "bt2020c", 11: "smpte2085", 12: "chroma-derived-nc", 13: "chroma-derived-c", 14: "ictcp"},
}


@dataclass(frozen=True, kw_only=True)
class ColorInfo:
    """How the file tags its colors; "unspecified" where it does not."""

    range: str = _UNSPECIFIED  # limited or full
    primaries: str = _UNSPECIFIED  # for example bt709, bt2020
    transfer: str = _UNSPECIFIED  # for example bt709, pq, hlg
    matrix: str = _UNSPECIFIED  # for example bt709, smpte170m, rgb

    @classmethod
    def of(cls, frame: av.VideoFrame) -> ColorInfo:
        """The tags of a decoded frame."""
        numbers = (int(getattr(frame, name)) for name in COLORS)
        tables = (_RANGE, _PRIMARIES, _TRANSFER, _MATRIX)
        found = (table.get(number, _UNSPECIFIED) for table, number in zip(tables, numbers, strict=True))
        return cls(**dict(zip(("range", "primaries", "transfer", "matrix"), found, strict=True)))


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What a source says of its pictures. Of a frame folder and of a volume, what applies to them."""

    codec: str  # for example h264, av1; of a frame folder the kind of picture; of a volume "array"
    pixel_format: str  # FFmpeg's name, for example yuv420p10le; empty where no video codec is
    bit_depth: int  # bits of a stored sample
    color: ColorInfo
    height: int  # pixels as shown, after rotation
    width: int
    rotation: int  # degrees clockwise by which stored pictures are turned to show them: 0, 90, 180 or 270
    is_mirrored: bool  # whether they are then mirrored, left to right
    fps: float  # shown frames per second, averaged over the file
    is_interlaced: bool
    notes: tuple[str, ...]  # what the user should know of the frames read so far, one line each

    @classmethod
    def of(cls, index: PacketIndex, frame: av.VideoFrame, *, is_interlaced: bool, notes: tuple[str, ...]) -> VideoInfo:
        """From the index of a file and its first decoded frame."""
        orientation = index.orientation or Orientation.of(frame)
        height, width = orientation.size(index.codec.height, index.codec.width)
        rotation, is_mirrored = rotation_of(orientation)
        return cls(
            codec=av.Codec(index.codec.name, "r").canonical_name,
            pixel_format=frame.format.name,
            bit_depth=max(component.bits for component in frame.format.components),
            color=ColorInfo.of(frame),
            height=height,
            width=width,
            rotation=rotation,
            is_mirrored=is_mirrored,
            fps=index.fps,
            is_interlaced=is_interlaced,
            notes=notes,
        )

    @classmethod
    def of_pictures(
        cls, kind: str, bit_depth: int, height: int, width: int, fps: float, notes: tuple[str, ...]
    ) -> VideoInfo:
        """Of frames that no video codec holds."""
        return cls(
            codec=kind,
            pixel_format="",
            bit_depth=bit_depth,
            color=ColorInfo(),
            height=height,
            width=width,
            rotation=0,
            is_mirrored=False,
            fps=fps,
            is_interlaced=False,
            notes=notes,
        )


def rotation_of(orientation: Orientation) -> tuple[int, bool]:
    """Degrees clockwise from the stored picture to the shown one, and whether it is then mirrored left to right."""
    rows, columns = orientation.flip_rows, orientation.flip_columns
    if orientation.transposed:
        return (270 if rows else 90), rows == columns
    return (180 if rows else 0), rows != columns
