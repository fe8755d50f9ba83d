"""What MPEG-TS costs beside MP4: one pass over every frame of films with the same packets, in CPU time.

python benchmarks/transport_streams.py [--minutes 1 4 16] [--write]
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from pathlib import Path

import av
import numpy as np
from long_films import make_film
from results import write_result

from tubelet.data.video.packet_index import PacketIndex
from tubelet.data.video.reader import VideoReader

SIZE, NUM_FRAMES = (144, 256), 250
CONTAINERS = {"ts": {}, "mts": {}, "m2ts": {"mpegts_m2ts_mode": "1"}}
REPEATS = 3


def write_clip(path: Path) -> Path:
    """Ten seconds with B-frames and a key frame every two seconds, as broadcasts and cameras have them."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"x264-params": "keyint=50:bframes=2"})
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for index in range(NUM_FRAMES):
            pixels = np.stack([x + 3 * index, y + 2 * index, x + y + index], axis=-1).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def remux(film: Path, target: Path, options: dict[str, str]) -> Path:
    with av.open(str(film)) as old, av.open(str(target), "w", format="mpegts", options=options) as new:
        copy = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(old.streams.video[0]):
            if packet.size:
                packet.stream = copy
                new.mux(packet)
    return target


def seconds_of(film: Path) -> float:
    """CPU seconds to index a film and to read all its frames in order."""
    start = time.process_time()
    with VideoReader(film, PacketIndex.of(film)) as reader:
        count = sum(1 for _ in reader.frames_in_order(range(len(reader.timestamps))))
    assert count == len(reader.timestamps)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--write", action="store_true", help="into docs/results; else into runs/results")
    arguments, rows = parser.parse_args(), []
    with tempfile.TemporaryDirectory() as folder:
        clip = write_clip(Path(folder) / "clip.mp4")
        for minutes in arguments.minutes:
            film = make_film(clip, Path(folder) / f"{minutes}.mp4", 60 * minutes)
            films = {name: remux(film, film.with_suffix(f".{name}"), options) for name, options in CONTAINERS.items()}
            taken = [{name: seconds_of(file) for name, file in {"mp4": film, **films}.items()} for _ in range(REPEATS)]
            ratios = {name: round(float(np.median([turn[name] / turn["mp4"] for turn in taken])), 3) for name in films}
            rows.append(
                {"minutes": minutes, "mp4_cpu_seconds": round(min(turn["mp4"] for turn in taken), 3), "ratios": ratios}
            )
            print(rows[-1], flush=True)
    result = {
        "command": f"python benchmarks/transport_streams.py --minutes {' '.join(map(str, arguments.minutes))}",
        "date": time.strftime("%Y-%m-%d"),
        "versions": {"av": av.__version__, "python": platform.python_version()},
        "repeats": REPEATS,
        "films": rows,
    }
    write_result("transport_streams", result, write=arguments.write)


if __name__ == "__main__":
    main()
