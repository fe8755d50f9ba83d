"""How far the colors of sound random crops are from those of their frames and of the same window of their frames.

The second is what ``tubelet data show`` flags; this measures what chance makes of both.

python benchmarks/crop_colors.py CLIPS [--crops 6] [--out docs/results/crop_colors.json]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import av
import numpy as np
import torch

from tubelet.data.clips.augment_config import AugmentConfig
from tubelet.data.layouts.find_files import sources_below
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.shown_clips import MAX_DIFFERENCE, show_clips
from tubelet.protocol import Protocol

PROTOCOL = Protocol(num_frames=4, frame_stride=2, resize_short_side=128, crop_size=(112, 112))
AUGMENTS = {"random crop": AugmentConfig(), "random resized crop": AugmentConfig(random_resized_crop=(0.2, 1.0))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--crops", type=int, default=6)
    parser.add_argument("--out", type=Path, default=Path("docs/results/crop_colors.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    samples = tuple(
        Sample(path=str(file.relative_to(arguments.clips)), labels=(), split="train")
        for file in sources_below(arguments.clips)
    )
    manifest = Manifest(root=arguments.clips, samples=samples, class_names={}, layout="files")
    result = {
        "command": f"python benchmarks/crop_colors.py CLIPS --crops {arguments.crops}",
        "date": time.strftime("%Y-%m-%d"),
        "versions": {"av": av.__version__},
        "flagged_from_levels": MAX_DIFFERENCE,
    }
    for name, augment in AUGMENTS.items():
        from_frame, from_window, files = list[float](), list[float](), set[int]()
        for seed in range(arguments.crops):
            dataset = ClipDataset(manifest, PROTOCOL, "train", augment, seed, augment_later=True)
            for clip in show_clips(dataset, list(range(len(manifest))), on_row=lambda done, total: None):
                if clip.difference is not None and clip.crop_color is not None and clip.frame_color is not None:
                    pairs = zip(clip.crop_color, clip.frame_color, strict=True)
                    from_frame.append(max(abs(crop - frame) for crop, frame in pairs))
                    from_window.append(clip.difference)
                    files.add(clip.row)
        result[name] = {
            "files": len(files),
            "crops": len(from_window),
            "levels_from_frame": _spread(from_frame),
            "levels_from_window": _spread(from_window),
        }
        print(name, result[name], flush=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _spread(values: list[float]) -> dict[str, float]:
    points = {"median": 50, "p99": 99, "max": 100}
    return {name: round(float(np.percentile(values, point)), 2) for name, point in points.items()}


if __name__ == "__main__":
    main()
