"""Your own training loop: tubelet reads the clips, and model, augmentation and metric are yours.

python examples/own_loop.py my_clips
"""

from __future__ import annotations

import sys

import torch
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassAccuracy

import tubelet

protocol = tubelet.Protocol(num_frames=8, frame_stride=1, resize_short_side=36, crop_size=(32, 32))


class MeanColor(torch.nn.Module):
    """A model of your own: the mean color of every frame, and a linear layer."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.head = torch.nn.Linear(3 * protocol.num_frames, num_classes)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        return self.head(clip.mean((3, 4)).flatten(1))  # B C T H W -> B K


def darker(clips: torch.Tensor) -> torch.Tensor:
    """An augmentation of your own, on whole batches."""
    return clips * torch.empty(len(clips), 1, 1, 1, 1).uniform_(0.5, 1.0)


def main(data: str, num_epochs: int = 3) -> float:
    """Train, and return the accuracy on the validation split."""
    train, val = (tubelet.ClipDataset(data, protocol, split=split) for split in ("train", "val"))
    num_classes = len(train.class_names["label"])
    model, accuracy = MeanColor(num_classes), MulticlassAccuracy(num_classes, average="micro")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for epoch in range(num_epochs):
        train.set_epoch(epoch)  # other clips and crops
        for batch in DataLoader(train, batch_size=8, shuffle=True, collate_fn=tubelet.collate):
            loss = torch.nn.functional.cross_entropy(model(darker(batch["pixel_values"])), batch["labels"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.inference_mode():
        for batch in DataLoader(val, collate_fn=tubelet.collate):  # one video: its views are the batch
            accuracy.update(model(batch["pixel_values"][0]).mean(0, keepdim=True), batch["labels"])
    return float(accuracy.compute())


if __name__ == "__main__":
    print(f"validation accuracy {main(sys.argv[1]):.3f}")
