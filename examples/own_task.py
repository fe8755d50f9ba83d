"""A task of your own: one number for every film, such as a weight or a speed, learned by a model of tubelet.

python examples/own_task.py numbers.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from torchmetrics.regression import R2Score

import tubelet
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.sample import Sample


class Numbers(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Clips with their numbers, of ``[{"film": "a.mp4", "number": 1.5, "use": "train"}, ...]``."""

    def __init__(self, file: Path, protocol: tubelet.Protocol, split: str) -> None:
        notes = [note for note in json.loads(file.read_text(encoding="utf-8")) if note["use"] == split]
        rows = [Sample(path=note["film"], labels=(0,), split="train") for note in notes]  # one clip a film
        manifest = Manifest(root=file.parent, samples=rows, class_names={"label": ("film",)}, layout="numbers")
        self.clips = tubelet.ClipDataset(manifest, protocol, split="train")
        self.numbers = torch.tensor([note["number"] for note in notes])

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.clips[index]["pixel_values"], self.numbers[index]


def main(file: Path, model: torch.nn.Module, protocol: tubelet.Protocol, num_epochs: int = 10) -> tuple[float, float]:
    """Train, and return R² on the films for validation: of the model, and of the mean number of the training films."""
    train, val = (Numbers(file, protocol, split) for split in ("train", "val"))
    mean, deviation = train.numbers.mean(), train.numbers.std()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for epoch in range(num_epochs):
        train.clips.set_epoch(epoch)
        for clips, numbers in DataLoader(train, batch_size=8, shuffle=True):
            loss = torch.nn.functional.mse_loss(model(clips).squeeze(1), (numbers - mean) / deviation)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    scores = R2Score(), R2Score()
    with torch.inference_mode():
        for clips, numbers in DataLoader(val, batch_size=len(val)):
            scores[0].update(model(clips).squeeze(1) * deviation + mean, numbers)
            scores[1].update(mean.expand_as(numbers), numbers)
    return float(scores[0].compute()), float(scores[1].compute())


if __name__ == "__main__":
    small = tubelet.Protocol(num_frames=8, frame_stride=1, resize_short_side=36, crop_size=(32, 32))
    vivit = tubelet.create_model("vivit_ti16x2_fe", num_classes=1, image_size=(32, 32), num_frames=8)
    print("R² {:.3f}, of the mean {:.3f}".format(*main(Path(sys.argv[1]), vivit, small)))
