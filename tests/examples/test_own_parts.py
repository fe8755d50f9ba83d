"""A loop, a model, an augmentation, a metric and annotations of one's own, as the examples show them."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path

import av
import numpy as np
import torch

import tubelet
from support import MODEL, TINY, motion_videos

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_a_loop_of_ones_own_trains_a_model_of_ones_own(tmp_path: Path) -> None:
    torch.manual_seed(0)
    example = runpy.run_path(str(EXAMPLES / "own_loop.py"))
    accuracy = example["main"](str(motion_videos(tmp_path / "videos")), num_epochs=1)
    assert 0 <= accuracy <= 1


def test_a_task_of_ones_own_learns_numbers_that_the_mean_does_not_know(tmp_path: Path) -> None:
    notes = []
    for number, level in enumerate(range(0, 240, 15)):
        with av.open(str(tmp_path / f"{number}.mp4"), "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
            for _ in range(6):
                picture = av.VideoFrame.from_ndarray(np.full((32, 32, 3), level, np.uint8), format="rgb24")
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
        notes.append({"film": f"{number}.mp4", "number": level / 10, "use": "val" if number % 4 == 2 else "train"})
    (tmp_path / "numbers.json").write_text(json.dumps(notes), encoding="utf-8")
    protocol = tubelet.Protocol(num_frames=4, frame_stride=1, resize_short_side=20, crop_size=(16, 16))
    torch.manual_seed(0)
    model = tubelet.create_model(MODEL, **{**TINY, "num_frames": 4, "image_size": [16, 16], "num_classes": 1})
    main = runpy.run_path(str(EXAMPLES / "own_task.py"))["main"]
    of_model, of_mean = main(tmp_path / "numbers.json", model, protocol, num_epochs=30)
    assert of_mean <= 0 < 0.5 < of_model


def test_annotations_of_ones_own_are_rows_that_are_read(tmp_path: Path) -> None:
    film = next(motion_videos(tmp_path / "videos").glob("train/*/*.mp4"))
    shutil.copy(film, tmp_path / "a.mp4")
    notes = [
        {"film": "a.mp4", "from": 0.0, "to": 0.4, "what": "jump", "use": "train"},
        {"film": "a.mp4", "from": 0.5, "to": 0.9, "what": "rest", "use": "train"},
    ]
    (tmp_path / "notes.json").write_text(json.dumps(notes), encoding="utf-8")
    manifest = runpy.run_path(str(EXAMPLES / "own_layout.py"))["read_notes"](tmp_path / "notes.json")
    protocol = tubelet.Protocol(num_frames=4, frame_stride=1, resize_short_side=20, crop_size=(16, 16))
    clips = tubelet.ClipDataset(manifest, protocol, split="train")
    assert [int(clips[i]["labels"]) for i in range(2)] == [0, 1]
    assert clips[0]["pixel_values"].shape == (3, 4, 16, 16)
    assert not torch.equal(clips[0]["pixel_values"], clips[1]["pixel_values"])
