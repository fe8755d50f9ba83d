"""Ten minutes of footage pushed without waiting take no more memory than two: `make soak`; writes a result.

python -m pytest -m soak tests/soak/test_stream_memory.py --clips-dir FOLDER

The frames are the first hundred of the largest file of the folder, again and again, with times that go on.
"""

from __future__ import annotations

import json
import multiprocessing
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from memory import resident_bytes
from tubelet.data.video.reader import VideoReader
from tubelet.inference.predictor import Classifier
from tubelet.inference.stream import StreamingClassifier
from tubelet.inference.windows import WindowPlan
from tubelet.models import create_model
from tubelet.protocol import Protocol
from tubelet.weights.checkpoint.checkpoint import Record

MODELS = ("vivit_ti16x2_fe", "vivit_ti16x2_joint")  # windows share what is computed of a frame; whole clips
MINUTES, SETTLED = 10, 2
PLAN = WindowPlan(num_frames=32, hop=16, seconds_per_sample=0.2)
PROTOCOL = Protocol(
    num_frames=32,
    target_fps=5.0,
    frame_stride=None,
    resize_short_side=128,
    crop_size=(112, 112),
    labels={"label": tuple(map(str, range(400)))},
)

pytestmark = pytest.mark.soak


def push_ten_minutes(clip: Path, model_name: str, queue: multiprocessing.Queue[tuple[int, int]]) -> None:
    """Resident bytes and segments so far, after each minute."""
    torch.set_num_threads(1)
    model = create_model(model_name, image_size=(112, 112))
    judge = Classifier(model, Record(model_name=model_name, model_config={}, protocol=PROTOCOL), "cpu")
    stream = StreamingClassifier(judge, PLAN, top_k=5)
    with VideoReader(clip) as reader:
        frames, fps = reader.frames_at(range(min(len(reader.timestamps), 100))).pixels, reader.fps
    segments = pushed = 0
    for minute in range(1, MINUTES + 1):
        while pushed < minute * 60 * fps:
            i = pushed % len(frames)
            segments += len(stream.push(frames[i : i + 1], [pushed / fps]))
            pushed += 1
        queue.put((resident_bytes(), segments))


def test_ten_minutes_pushed_without_waiting_hold_constant_memory(clips: tuple[Path, ...], results: Path) -> None:
    clip = max(clips, key=lambda file: file.stat().st_size)
    context, models = multiprocessing.get_context("spawn"), {}
    for name in MODELS:
        queue: multiprocessing.Queue[tuple[int, int]] = context.Queue()
        process = context.Process(target=push_ten_minutes, args=(clip, name, queue))
        process.start()
        minutes = []
        for minute in range(1, MINUTES + 1):
            minutes.append(queue.get(timeout=3600))
            print(f"{name}: minute {minute} of {MINUTES}, {minutes[-1][0] / 2**20:.0f} MiB", flush=True)
        process.join()
        growth = minutes[-1][0] / minutes[SETTLED - 1][0] - 1
        models[name] = {
            "resident_mib_after_each_minute": [round(resident / 2**20, 1) for resident, _ in minutes],
            "num_segments": minutes[-1][1],
            "growth_from_minute_2_to_10": round(growth, 4),
        }
    content = {
        "command": "python -m pytest -m soak tests/soak/test_stream_memory.py",
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {name: version(name) for name in ("av", "torch")},
        "footage": f"{MINUTES} minutes: the first 100 frames of {clip.name} again and again, every one pushed",
        "clip": "32 x 112 x 112, five frames per second, a window every 16 frames",
        "measure": "resident memory (VmRSS) of the process that pushes",
        "models": models,
    }
    (results / "stream_memory.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    for name, model in models.items():
        assert model["growth_from_minute_2_to_10"] <= 0.03, name
        assert model["num_segments"] > 180, name
