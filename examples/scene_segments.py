"""Writes a CSV of segments from a folder of videos, to train and test a scene classifier on.

Every video of at least nine seconds is a class of its own: its first six seconds are a row to train on, of which each
epoch sees another second; its last three seconds are three rows to test on.

    python examples/scene_segments.py FOLDER scenes.csv
    tubelet train scenes/vivit_fe --data scenes.csv
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from tubelet.data.video.formats import is_video_path
from tubelet.data.video.reader import VideoReader
from tubelet.errors import VideoError

MIN_SECONDS = 9.0


def rows_of(video: Path) -> list[dict[str, object]]:
    """The segments of one video; none when it is too short."""
    with VideoReader(video) as reader:
        seconds = reader.duration_seconds
    if seconds < MIN_SECONDS:
        return []
    segments = [("train", 0.0, 6.0)]
    segments += [("test", round(seconds - left, 3), round(seconds - left + 1, 3)) for left in (3, 2, 1)]
    return [
        {"path": video.resolve(), "label": video.stem, "split": split, "start_seconds": start, "end_seconds": end}
        for split, start, end in segments
    ]


def main(folder: str, out: str) -> int:
    rows = []
    for video in sorted(path for path in Path(folder).iterdir() if is_video_path(path)):
        try:
            rows += rows_of(video)
        except VideoError as error:
            print(f"left out: {error}", file=sys.stderr)
    with open(out, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, ["path", "label", "split", "start_seconds", "end_seconds"])
        writer.writeheader()
        writer.writerows(rows)
    print(f"{out}: {len(rows)} rows of {len({row['label'] for row in rows})} scenes")
    return 0 if rows else 1


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/scene_segments.py FOLDER OUT.csv")
    sys.exit(main(sys.argv[1], sys.argv[2]))
