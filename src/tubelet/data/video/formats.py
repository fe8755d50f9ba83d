"""Video formats: the suffixes of containers, the rules for seeking in them, and what decoders need.

To add a container, add its suffix to ``VIDEO_SUFFIXES``, and FFmpeg's name of it to ``STORE_PTS`` or ``STORE_DTS`` if
its seeks can be trusted. Without a seek rule its frames are found by decoding from the first one, which is slower and
just as exact.
"""

from __future__ import annotations

from pathlib import Path

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".f4v", ".ismv", ".insv", ".lrv"}  # ISO media, of cameras as well
    | {".mkv", ".mk3d", ".webm", ".avi", ".divx", ".xvid", ".asf", ".wmv", ".flv", ".ogv", ".gif", ".nut"}
    | {".ts", ".m2ts", ".mts", ".m2t", ".tp", ".trp"}  # MPEG transport streams
    | {".mpg", ".mpeg", ".mpe", ".m1v", ".m2v", ".mpv", ".m2p", ".vob", ".vro", ".mod", ".tod"}  # MPEG program streams
    | {".dv", ".mxf", ".gxf", ".rm", ".rmvb", ".wtv", ".amv", ".mj2", ".mjpeg", ".mjpg", ".y4m"}
    | {".h264", ".264", ".avc", ".h265", ".265", ".hevc", ".ivf", ".obu"}  # streams without a container
)

# A file of some KB may claim frames that no memory holds. These take 256 MiB of RGB, 2.7 times 8K; Pillow's limit, too.
MAX_FRAME_PIXELS = 2**28 // 3

# Containers whose packets and seeks are trusted, because they store a time with every packet: STORE_PTS stores the
# presentation time, STORE_DTS the decoding time, which is the same without B-frames. No other container is trusted.
STORE_PTS = frozenset({"flv", "matroska", "mov", "mpegts", "nut"})
STORE_DTS = frozenset({"asf", "avi"})

# Containers in which a seek by time lands behind the key packet that has this time, or elsewhere if the clock wraps or
# files were joined: the seek goes to the packet's position in the file.
SEEK_BY_POSITION = frozenset({"mpegts"})

# Texts that name other files, whatever their own name says: what they show would be counted as this file's.
PLAYLISTS = frozenset({"concat", "dash", "hls", "imf", "sdp"})

# Decoders that need extradata and packets alone. Others need what only the container holds.
SELF_CONTAINED = frozenset({"av1", "h264", "hevc", "libdav1d", "mpeg4", "vp8", "vp9"})

# Decoders that may not skip frames: DivX packs two frames into one packet, and the second belongs to the next packet.
NO_SKIPPING = frozenset({"mpeg4"})


def is_video_path(path: str | Path) -> bool:
    """Whether a file name has the suffix of a video (``VIDEO_SUFFIXES``, in any case). Does not open the file."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES
