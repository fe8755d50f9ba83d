"""Clips for other loops are those of our own loader, whatever reads them: a DataLoader under spawn, a Trainer."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

import tubelet
from support import PROTOCOL, tiny_model
from tubelet.data.clips.augment_config import AugmentConfig
from tubelet.data.clips.normalize import to_input
from tubelet.errors import ConfigError


@pytest.fixture
def clips(videos: Path) -> tubelet.ClipDataset:
    return tubelet.ClipDataset(videos, PROTOCOL, seed=3)


def test_an_item_is_the_clip_of_our_loader(clips: tubelet.ClipDataset) -> None:
    clips.set_epoch(2)
    with tubelet.Loader(clips.clips, 4, seed=3) as loader:
        for batch in loader.train_batches(2):
            for place, index in enumerate(batch.index):
                item = clips[index]
                assert torch.equal(item["pixel_values"], to_input(batch.clips[place], clips.protocol))
                assert item["labels"] == batch.labels[place]
                assert torch.equal(item["frame_numbers"], batch.frame_numbers[place])


def test_views_are_read_for_what_is_not_training(videos: Path) -> None:
    test = tubelet.ClipDataset(videos, PROTOCOL, split="test")
    assert test[0]["pixel_values"].shape[0] == PROTOCOL.num_views
    assert len(tubelet.ClipDataset(videos, PROTOCOL, split="all")) > len(test)
    with pytest.raises(ConfigError, match="augment is for training, and split is test"):
        tubelet.ClipDataset(videos, PROTOCOL, split="test", augment=AugmentConfig())
    with pytest.raises(IndexError):
        test[len(test)]


def test_it_can_be_pickled_and_the_copy_reads_the_same(clips: tubelet.ClipDataset) -> None:
    copy = pickle.loads(pickle.dumps(clips))
    assert torch.equal(copy[1]["pixel_values"], clips[1]["pixel_values"])


def test_an_epoch_reaches_workers_that_are_running_under_spawn(clips: tubelet.ClipDataset) -> None:
    loader: DataLoader[Any] = DataLoader(
        clips,
        batch_size=4,
        num_workers=1,
        persistent_workers=True,
        multiprocessing_context="spawn",
        collate_fn=tubelet.collate,
    )
    for epoch in (0, 5):
        clips.set_epoch(epoch)
        read = torch.cat([batch["pixel_values"] for batch in loader])
        here = torch.stack([clips[i]["pixel_values"] for i in range(len(clips))])
        assert torch.equal(read, here)
    first = clips[0]["pixel_values"]
    clips.set_epoch(0)
    assert not torch.equal(first, clips[0]["pixel_values"])


def test_the_trainer_of_transformers_trains_a_model_on_them(clips: tubelet.ClipDataset, tmp_path: Path) -> None:
    model, _ = tiny_model()

    class Classifier(torch.nn.Module):
        """Logits and loss, as the Trainer asks for them."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            logits = self.model(pixel_values)
            return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}

    arguments = TrainingArguments(
        output_dir=str(tmp_path), max_steps=2, per_device_train_batch_size=4, report_to=[], use_cpu=True
    )
    before = model.get_parameter("head.bias").detach().clone()
    trainer = Trainer(Classifier(), arguments, data_collator=tubelet.collate, train_dataset=clips)
    trainer.train()
    assert not torch.equal(before, model.get_parameter("head.bias"))
