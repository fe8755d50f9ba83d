"""Films of any length for ``benchmarks/long_video.py``, made by repeating the packets of one clip: nothing is encoded.

Every round begins with the clip's own key frame, and times go on where the round before ended.
"""

from __future__ import annotations

from pathlib import Path

import av
from av.video.stream import VideoStream

from tubelet.files import written_atomically


def make_film(clip: Path, film: Path, seconds: float) -> Path:
    """Whole rounds of ``clip``, as many as make ``seconds``; a film that is there is kept."""
    if not film.exists():
        film.parent.mkdir(parents=True, exist_ok=True)
        with written_atomically(film) as unfinished, av.open(str(unfinished), "w", format="mp4") as container:
            _repeat(clip, container, seconds)
    return film


def _repeat(clip: Path, container: av.container.OutputContainer, seconds: float) -> None:
    with av.open(str(clip)) as source:
        stream = source.streams.video[0]
        packets = [packet for packet in source.demux(stream) if packet.size]
        target: VideoStream = container.add_stream_from_template(stream)
        assert stream.average_rate is not None
        assert stream.time_base is not None
        round_ticks = round(len(packets) / stream.average_rate / stream.time_base)
        num_rounds = -(-seconds // float(round_ticks * stream.time_base))
        first = min(packet.pts for packet in packets if packet.pts is not None)
        for start in range(0, int(num_rounds) * round_ticks, round_ticks):
            for packet in packets:
                assert packet.pts is not None
                assert packet.dts is not None
                copy = av.Packet(bytes(packet))
                copy.pts, copy.dts = packet.pts - first + start, packet.dts - first + start
                copy.time_base, copy.stream, copy.is_keyframe = stream.time_base, target, packet.is_keyframe
                copy.duration = packet.duration
                container.mux_one(copy)
