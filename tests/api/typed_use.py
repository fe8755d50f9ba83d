"""A program that uses what is public, for ``mypy --strict`` alone (``make lint``): it is never run."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

from torch import Tensor, nn

import tubelet
from tubelet.errors import TubeletError
from tubelet.types import Prediction


def train_and_use(clips: Path) -> float:
    """From a folder of clips to a probability."""
    run = tubelet.train(clips, epochs=1, progress=False)
    assert_type(run, tubelet.Run)
    assert_type(run.best, Path)
    classifier = assert_type(run.load("cpu"), tubelet.Classifier)
    protocol = assert_type(classifier.protocol, tubelet.Protocol)
    first = assert_type(classifier.predict("clip.mp4", top_k=3), Prediction)
    assert_type(first.labels, tuple[str, ...])
    return first.probs[0] if protocol.num_frames else 0.0


def find_moments(run: str) -> list[str]:
    """Behaviors of a film, and what to label next."""
    try:
        bouts = tubelet.load(f"{run}/best").moments(Path("film.mp4")).bouts
        todo = tubelet.suggest(run, ["film.mp4"], minutes=5)
    except TubeletError as error:
        return [str(error)]
    assert_type(todo.stretches[0].start_seconds, float)
    return [bout.label for bout in bouts]


def own_loop(clips: str) -> Tensor:
    """A model and clips in another loop."""
    model = assert_type(tubelet.create_model("vivit_ti16x2_fe", num_classes=3), nn.Module)
    data = tubelet.ClipDataset(clips, tubelet.Protocol(num_frames=8), split="train")
    batch = tubelet.collate([data[0]])
    pixels: Tensor = batch["pixel_values"]
    logits: Tensor = model(pixels)
    return logits
