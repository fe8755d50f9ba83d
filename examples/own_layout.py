"""Annotations of your own: rows of a manifest, which everything that reads clips takes.

python examples/own_layout.py notes.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import tubelet
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.sample import Sample


def read_notes(file: Path) -> Manifest:
    """A manifest of ``[{"film": "a.mp4", "from": 1.5, "to": 3.0, "what": "jump", "use": "train"}, ...]``."""
    notes = json.loads(file.read_text(encoding="utf-8"))
    names = tuple(sorted({note["what"] for note in notes}))
    rows = [
        Sample(
            path=note["film"],
            labels=(names.index(note["what"]),),
            split=note["use"],
            start_seconds=note["from"],
            end_seconds=note["to"],
        )
        for note in notes
    ]
    return Manifest(root=file.parent, samples=rows, class_names={"label": names}, layout="notes")


if __name__ == "__main__":
    protocol = tubelet.Protocol(num_frames=8, frame_stride=1)
    clips = tubelet.ClipDataset(read_notes(Path(sys.argv[1])), protocol, split="train")
    print(len(clips), clips[0]["pixel_values"].shape, clips.class_names)
