"""Attentive and temporal heads: they learn what pooling cannot see, and the winner is the model that was measured."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import tubelet
from tubelet.errors import ConfigError
from tubelet.models import create_model
from tubelet.models.stages import model_inputs
from tubelet.nn.video_model import VideoModel
from tubelet.probing.config import ProbeConfig
from tubelet.probing.features import Encoder, values_of_view
from tubelet.probing.folds import grouped_folds
from tubelet.probing.heads import LinearSetting, ReadingSetting, settings_of
from tubelet.probing.measure import Clips, all_logits, choose, measure, num_passes, score
from tubelet.probing.reading import Reader, Sequences, by_model, reading_logits, train_reading
from tubelet.protocol import Protocol

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for these data, and for what is only compared."""
    monkeypatch.setattr("tubelet.probing.reading.MIN_STEPS", 4)


WIDTH = 24
TINY_IMAGE = {
    "backbone": "vit_tiny_patch16_224",
    "backbone_fields": {"patch_size": 8, "embed_dim": WIDTH, "depth": 1, "num_heads": 2},
    "image_size": (16, 16),
    "num_frames": 4,
}
TEMPORAL = ReadingSetting(kind="temporal", depth=1, rate=3e-3, weight_decay=0.01)


def vtn(kind: str, num_classes: int = 2, embed_dim: int = 32) -> Any:
    torch.manual_seed(0)
    encoder = create_model("vtn_vit_b16", **TINY_IMAGE, encoder="mean", head_dim=None, num_classes=num_classes)
    fields = encoder.reading_fields(kind, 1) | {"embed_dim": embed_dim, "num_heads": 2}
    return create_model("vtn_vit_b16", **TINY_IMAGE, **fields, num_classes=num_classes)


def ordered_clips(num: int, reader: Reader, epochs: int = 1) -> Clips:
    """Frames go one way in one class and back in the other: their mean and deviation are the same."""
    rng = torch.Generator().manual_seed(1)
    label = torch.arange(num) % 2
    way = torch.linspace(-1, 1, 6)[None, :, None] * torch.randn(WIDTH, generator=rng)
    frames = torch.where(label[:, None, None] == 0, way, way.flip(1)) * 3 + 5
    frames = frames + 0.3 * torch.randn(num, 6, WIDTH, generator=rng)
    position = (torch.arange(6) * 8).expand(num, 1, -1)
    targets = torch.nn.functional.one_hot(label, 2).float()
    key = ("temporal", 1)
    sequences = Sequences(
        tokens=frames[:, None], position=position, readers={key: reader}, epochs=epochs, seed=0, device=CPU
    )
    folds = grouped_folds([str(i) for i in range(num)], targets.numpy(), 3, seed=0)
    pooled = torch.cat([frames.mean(1), frames.std(1)], 1)[:, None]
    return Clips(features=pooled, targets=targets, folds=folds, loss="softmax", sequences=sequences)


def test_a_temporal_head_sees_the_order_of_frames_and_a_linear_one_cannot() -> None:
    clips = ordered_clips(96, Reader(vtn("temporal")), epochs=20)
    train, test = clips.part(range(64)), clips.part(range(64, 96))
    pooled, temporal = all_logits(train, test, [LinearSetting(penalty=10.0), TEMPORAL])
    assert score(pooled, test) < 0.75
    assert score(temporal, test) > 0.9


def test_a_reader_writes_its_standardization_into_the_model() -> None:
    model = vtn("temporal")
    clips = ordered_clips(32, Reader(model))
    assert clips.sequences is not None
    (head,), scale = train_reading(clips.sequences, clips.index, clips.targets, [TEMPORAL], "softmax")
    expected = reading_logits(clips.sequences, clips.index, TEMPORAL, head, scale)
    before = {name: p.clone() for name, p in model.backbone.named_parameters()}
    clips.sequences.readers["temporal", 1].put(head, scale)
    frames, position = clips.sequences.views(clips.index)
    with torch.inference_mode():
        logits = model.eval()(*model_inputs(model, frames, position))
    torch.testing.assert_close(logits, expected, atol=1e-3, rtol=1e-3)
    assert all(torch.equal(p, before[name]) for name, p in model.backbone.named_parameters())


def test_a_reader_as_wide_as_its_frames_takes_them_as_they_are() -> None:
    model = vtn("attentive", embed_dim=WIDTH)
    reader = Reader(model)
    clips = ordered_clips(24, reader)
    assert clips.sequences is not None
    sequences = dataclasses.replace(clips.sequences, readers={("attentive", 1): reader})
    setting = dataclasses.replace(TEMPORAL, kind="attentive")
    (head,), scale = train_reading(sequences, clips.index, clips.targets, [setting], "softmax")
    assert torch.equal(scale.mean, torch.zeros(WIDTH))
    expected = reading_logits(sequences, clips.index, setting, head, scale)
    reader.put(head, scale)
    frames, position = sequences.views(clips.index)
    with torch.inference_mode():
        torch.testing.assert_close(model.eval()(*model_inputs(model, frames, position)), expected)


def test_the_size_is_told_without_moving_the_statistics_of_a_network() -> None:
    fields: dict[str, Any] = {"backbone": "resnet18", "encoder": "mean", "head_dim": None, "image_size": (32, 32)}
    model: Any = create_model("vtn_vit_b16", **fields, num_frames=4, num_classes=2).train()
    protocol = Protocol(num_frames=4, crop_size=(32, 32), labels={"": ("a", "b")})
    before = {name: value.clone() for name, value in model.named_buffers()}
    assert values_of_view(Encoder(model=model, protocol=protocol)) == 4 * 512
    assert any("running_mean" in name for name in before)
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())


def test_settings_of_one_pass_are_what_each_is_alone() -> None:
    clips = ordered_clips(24, Reader(vtn("temporal")))
    assert clips.sequences is not None
    other = ReadingSetting(kind="temporal", depth=1, rate=1e-3, weight_decay=0.3)
    (first, second), _ = train_reading(clips.sequences, clips.index, clips.targets, [TEMPORAL, other], "softmax")
    assert any(not torch.equal(first[name], second[name]) for name in first)
    deeper = ReadingSetting(kind="attentive", depth=2, rate=1e-3, weight_decay=0.3)
    assert by_model([TEMPORAL, deeper, other]) == [[TEMPORAL, other], [deeper]]
    config = ProbeConfig(heads=("attentive",), depths=(1, 4), rates=(1e-3,), weight_decays=(0.0, 0.1))
    assert len(settings_of(config)) == 4
    assert str(deeper) == "attentive, 2 layers, rate 0.001, weight decay 0.3"


def test_a_training_without_two_folds_serves_the_choice_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    clips = ordered_clips(60, Reader(vtn("temporal")))
    trained: list[int] = []

    def counted(train: Clips, test: Clips, settings: Any) -> Tensor:
        trained.append(len(train.targets))
        return all_logits(train, test, settings)

    monkeypatch.setattr("tubelet.probing.measure.all_logits", counted)
    config = ProbeConfig(folds=3, penalties=(100.0, 1.0))
    measured = measure(clips, config)
    assert sorted(trained) == [20] * 3 + [40] * 3
    assert len(trained) == num_passes(3)
    for fold, chosen in enumerate(measured.chosen):
        assert chosen == choose(clips.part((clips.folds != fold).nonzero()[0]), settings_of(config))
    assert measured.winner == choose(clips, settings_of(config))


def test_an_attentive_head_reads_the_tokens_of_a_video_encoder() -> None:
    torch.manual_seed(0)
    fields = {"image_size": (16, 16), "tubelet_size": (2, 8, 8), "num_frames": 4, "embed_dim": WIDTH, "depth": 1}
    fields |= {"num_heads": 2, "pooler_num_heads": 2}
    encoder: Any = create_model("vjepa2_l16_256", **fields, num_classes=2)
    model = create_model("vjepa2_l16_256", **fields, **encoder.reading_fields("attentive", 1), num_classes=2)
    assert isinstance(model, VideoModel)
    rng = torch.Generator().manual_seed(2)
    label = torch.arange(64) % 2
    tokens = torch.randn(64, 1, 8, WIDTH, generator=rng)
    tokens[:, 0, 3, :6] += 8.0 * label[:, None] - 4.0  # one token tells
    targets = torch.nn.functional.one_hot(label, 2).float()
    readers = {("attentive", 1): Reader(model)}
    sequences = Sequences(tokens=tokens, position=None, readers=readers, epochs=20, seed=0, device=CPU)
    setting = ReadingSetting(kind="attentive", depth=1, rate=3e-3, weight_decay=0.01)
    rows = torch.arange(48)
    (head,), scale = train_reading(sequences, rows, targets[rows], [setting], "softmax")
    logits = reading_logits(sequences, torch.arange(48, 64), setting, head, scale)
    assert (logits.argmax(-1) == label[48:]).float().mean() > 0.8
    sequences.readers["attentive", 1].put(head, scale)
    with torch.inference_mode():
        torch.testing.assert_close(model.eval().forward_head(tokens[48:, 0]), logits)


def test_encoders_without_such_a_head_are_refused_in_one_line() -> None:
    with torch.device("meta"):
        model: Any = create_model("videomae_b16")
        other: Any = create_model("vjepa2_l16_256")
    with pytest.raises(ConfigError, match="VideoMAE has no attentive head: take linear or knn, or another encoder"):
        model.reading_fields("attentive", 1)
    with pytest.raises(ConfigError, match="VJEPA2 has no temporal head"):
        other.reading_fields("temporal", 1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depths": (5,)}, "from 1 to 4, got"),
        ({"rates": ()}, "hold a number each"),
        ({"weight_decays": (-0.1,)}, "not be negative"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ProbeConfig(**fields)


def test_the_winner_of_layers_over_frames_is_an_ordinary_checkpoint(two_classes: Path, tmp_path: Path) -> None:
    small = {"protocol.resize_short_side": 32, "protocol.crop_size": [32, 32], "protocol.num_frames": 4}
    grid: Any = {"heads": ("temporal", "attentive"), "rates": (1e-3,), "weight_decays": (0.01,), "epochs": 1}
    found = tubelet.probe(
        two_classes, "lite0", out=tmp_path / "p" / "one", folds=3, device="cpu", progress=False,
        fields={**small, "data.num_workers": 0}, **grid,
    )  # fmt: skip
    assert found.winner.startswith(("temporal, 1 layer", "attentive, 1 layer"))
    classifier = tubelet.load(tmp_path / "p" / "one" / "best", "cpu")
    film = sorted((two_classes / "left").glob("*.mp4"))[0]
    assert set(classifier.predict(film).labels) == {"left", "growing"}
    assert classifier.windows(film, window=0.8, sample_fps=5).segments
    record = json.loads((tmp_path / "p" / "one" / "probe.json").read_text(encoding="utf-8"))
    assert len(record["answers"]) == found.num_clips == 10
    right = sum(answer["encoder"] == answer["label"] for answer in record["answers"]) / 10
    assert right == pytest.approx(record["encoder"]["metrics"]["top1"])
