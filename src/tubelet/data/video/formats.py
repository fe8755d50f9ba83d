"""What is known of video formats: the suffixes of containers, how they may be sought in, and what decoders need.

A new container needs its suffix in ``VIDEO_SUFFIXES``, and an entry in ``STORE_PTS`` or ``STORE_DTS`` if its seeks can
be trusted. Without that entry its frames are found by decoding from the first one: slower, and still exact.
"""

from __future__ import annotations

from pathlib import Path

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov"}
    | {".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".webm", ".wmv"}
)

# The only containers whose packets and seeks are trusted, for they keep a time with every packet: these the
# presentation time, those the decoding time, which is the same without B-frames.
STORE_PTS = frozenset({"flv", "matroska", "mov", "mpegts", "nut"})
STORE_DTS = frozenset({"asf", "avi"})

# Decoders that need no more than extradata and packets. Others read what only their container keeps.
SELF_CONTAINED = frozenset({"av1", "h264", "hevc", "libdav1d", "mpeg4", "vp8", "vp9"})

# Decoders that may not leave out frames: DivX packs two frames into one packet, the second belonging to the next one.
NO_SKIPPING = frozenset({"mpeg4"})


def is_video_path(path: str | Path) -> bool:
    """Whether the file name ends as video files do (``VIDEO_SUFFIXES``, any case). The file is not opened."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES
