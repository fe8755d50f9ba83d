"""VTN: any backbone, videos of different length in one batch, a frozen backbone that really is, the paper's sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tubelet.errors import ConfigError
from tubelet.evaluation.cost import count_macs
from tubelet.models import create_model
from tubelet.models.vtn.config import VTNConfig
from tubelet.models.vtn.model import VTN
from tubelet.nn.attention_recorder import record_attention
from tubelet.types import FrameFeatures

TINY_VIT: dict[str, Any] = {"patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2}
TINY_RESNET: dict[str, Any] = {"layers": (1, 1, 1, 1), "channels": (4, 4, 4, 4)}


def tiny(**options: Any) -> VTN:
    torch.manual_seed(0)
    defaults: dict[str, Any] = {
        "num_classes": 5,
        "image_size": (16, 16),
        "backbone": "vit_tiny_patch16_224",
        "backbone_fields": TINY_VIT,
        "num_heads": 2,
        "hidden_dim": 32,
        "attention_window": (4,),
        "head_dim": 16,
    }
    return VTN(VTNConfig(**{**defaults, **options}))


def clip(batch: int = 2, num_frames: int = 6, size: int = 16) -> torch.Tensor:
    return torch.randn(batch, 3, num_frames, size, size)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"name": "vtn_vit_b16"}, 113_502_352),
        ({"name": "vtn_deit_b16"}, 113_502_352),
        ({"name": "vtn_r50"}, 167_626_192),
        ({"name": "vtn_r101"}, 186_618_320),
        ({"name": "vtn_vit_b16", "depth": 1}, 95_783_056),
        ({"name": "vtn_deit_ti16"}, 10_024_528),
    ],
)
def test_parameter_counts_are_the_papers(options: dict[str, Any], count: int) -> None:
    with torch.device("meta"):
        model = create_model(**options)
    assert sum(p.numel() for p in model.parameters()) == count


def test_multiply_adds_of_a_whole_video_are_those_of_its_frames_and_little_more() -> None:
    """4397 G with the products of attention, of which the encoder's dead work (4 of 6 D^2) is not done here."""
    with torch.device("meta"):
        model = create_model("vtn_vit_b16").eval()
    macs = count_macs(model, (3, 250, 224, 224))
    assert 250 * 17.563e9 < macs < 250 * 17.563e9 * 1.002


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"backbone": "resnet50", "backbone_fields": TINY_RESNET},
        {
            "backbone": "convnext_atto",
            "backbone_fields": {"dims": (8, 8, 16, 16), "depths": (1, 1, 1, 1)},
            "image_size": (32, 32),
        },
        {"embed_dim": 32},
        {"positions": "fixed"},
        {"positions": "none"},
        {"encoder": "full"},
        {"encoder": "uniform", "attn_drop_rate": 0.0},
        {"head_dim": None},
        {"depth": 2, "attention_window": (4, 8)},
        {"freeze_backbone": True},
    ],
    ids=str,
)
def test_parts_are_replaceable_and_learn(options: dict[str, Any]) -> None:
    model = tiny(**options).train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    x, labels = clip(4, size=32), torch.tensor([0, 1, 2, 3])
    model.eval()
    losses = []
    for _ in range(15):
        loss = torch.nn.functional.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.02


@pytest.mark.parametrize("size", [(16, 16), (24, 16), (40, 32)])
@pytest.mark.parametrize("num_frames", [1, 3, 11])
def test_frames_and_size_come_from_the_clip(size: tuple[int, int], num_frames: int) -> None:
    assert tiny()(torch.randn(2, 3, num_frames, *size)).shape == (2, 5)


@pytest.mark.parametrize("encoder", ["longformer", "full", "uniform"])
def test_a_short_video_in_a_padded_batch_gets_the_logits_it_gets_alone(encoder: str) -> None:
    model = tiny(encoder=encoder, attn_drop_rate=0.0).eval()
    long, short = torch.randn(1, 9, 24), torch.randn(1, 4, 24)
    number = torch.arange(9)[None] * 3
    padded = torch.cat([long, torch.cat([short, torch.full((1, 5, 24), 1e3)], dim=1)])
    valid = torch.tensor([[True] * 9, [True] * 4 + [False] * 5])
    both = model.encode_time(FrameFeatures(vectors=padded, position=number.expand(2, -1), valid=valid))
    torch.testing.assert_close(both[:1], model.encode_time(FrameFeatures(vectors=long, position=number)))
    torch.testing.assert_close(both[1:], model.encode_time(FrameFeatures(vectors=short, position=number[:, :4])))


def test_a_short_clip_in_a_padded_batch_gets_the_logits_it_gets_alone_whatever_the_pixels_behind_its_end() -> None:
    model, x = tiny().eval(), clip(num_frames=6)
    valid = torch.arange(6) < torch.tensor([[6], [4]])
    number = torch.arange(6).expand(2, -1) * 5
    both = model(x, number, valid)
    torch.testing.assert_close(both[:1], model(x[:1], number[:1]))
    torch.testing.assert_close(both[1:], model(x[1:, :, :4], number[1:, :4]))
    with pytest.raises(ConfigError, match="give them as fields of FrameFeatures"):
        model(model.encode_frames(x, number), number, valid)


def test_forward_is_the_two_stages_and_stages_may_be_chunked() -> None:
    model, x = tiny().eval(), clip(num_frames=7)
    number = torch.randint(0, 500, (2, 7))
    whole = model(x, number)
    chunks = [model.encode_frames(part).vectors for part in x.split(3, dim=2)]
    torch.testing.assert_close(
        model.encode_time(FrameFeatures(vectors=torch.cat(chunks, dim=1), position=number)), whole
    )


def test_frame_numbers_matter_and_wrap_behind_the_table() -> None:
    model = tiny(num_positions=12).eval()
    features = torch.randn(1, 4, 24)
    number = torch.tensor([[0, 3, 5, 9]])

    def logits(position: torch.Tensor) -> torch.Tensor:
        return model.encode_time(FrameFeatures(vectors=features, position=position))

    assert not torch.allclose(logits(number), logits(number + 1))
    torch.testing.assert_close(logits(number), logits(number + 10))


def test_without_frame_numbers_frames_are_a_step_apart() -> None:
    model, x = tiny(frame_step=3).eval(), clip()
    torch.testing.assert_close(model(x), model(x, torch.arange(6).expand(2, -1) * 3))


def test_a_frozen_backbone_keeps_its_statistics_and_no_activations() -> None:
    model = tiny(backbone="resnet50", backbone_fields=TINY_RESNET, freeze_backbone=True).train()
    before = {name: t.clone() for name, t in model.backbone.state_dict().items()}
    features = model.encode_frames(clip(size=32))
    assert not features.vectors.requires_grad
    model.encode_time(features).sum().backward()
    assert all(p.grad is None for p in model.backbone.parameters())
    assert all(t.equal(before[name]) for name, t in model.backbone.state_dict().items())
    assert model.temporal_encoder.training


def test_a_trained_backbone_gets_gradients_and_updates_its_statistics() -> None:
    model = tiny(backbone="resnet50", backbone_fields=TINY_RESNET).train()
    before = model.backbone.bn1.running_mean.clone()
    model(clip(size=32)).sum().backward()
    assert all(p.grad is not None for p in model.backbone.parameters())
    assert not model.backbone.bn1.running_mean.equal(before)


def test_the_last_layer_does_no_dead_work() -> None:
    model = tiny(depth=1)
    with torch.no_grad():
        model.temporal_encoder.layers[0].attn.qkv.weight.fill_(torch.nan)  # type: ignore[union-attr, operator]
    assert model.eval()(clip()).isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "vit_base_patch16_244"}, "timm has no backbone 'vit_base_patch16_244'; did you mean"),
        ({"num_heads": 5}, "width 24 is not divisible by num_heads 5"),
        ({"attention_window": (3,)}, "attention_window must be positive and even"),
        ({"attention_window": (4, 4)}, "attention_window has 2 values; expected one, or one for each of 3 layers"),
        ({"num_positions": 2}, "num_positions must be 3 or more"),
        ({"encoder": "uniform"}, "encoder 'uniform' has no attention weights to drop"),
        ({"backbone_fields": {"depht": 2}}, "does not take backbone_fields"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        tiny(**options)


@pytest.mark.parametrize(("width", "heads"), [(24, 12), (768, 12), (512, 8), (1280, 20), (1000, 5), (40, 1), (7, 1)])
def test_heads_that_are_not_chosen_divide_the_width(width: int, heads: int) -> None:
    assert VTNConfig().heads_for(width) == heads
    assert width % heads == 0


def test_any_backbone_makes_a_model_and_the_number_of_heads_is_said_and_kept(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"), torch.device("meta"):
        model: Any = create_model("vtn_vit_b16", backbone="resnet18")
    assert model.config.num_heads == 8
    assert "encoder: 8 heads, since 12 do not divide its width 512" in caplog.text
    caplog.clear()
    with caplog.at_level("INFO"), torch.device("meta"):
        released: Any = create_model("vtn_vit_b16")
    assert released.config.num_heads == 12
    assert not caplog.records


@pytest.mark.parametrize("encoder", ["mean", "mean_std"])
def test_without_an_encoder_frames_are_averaged_with_how_much_channels_vary(encoder: str) -> None:
    torch.manual_seed(0)
    fields = {"backbone": "resnet18", "encoder": encoder, "head_dim": None, "num_classes": 3, "image_size": (32, 32)}
    model = create_model("vtn_vit_b16", **fields).eval()
    vectors = torch.randn(2, 5, 512)
    valid = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    pooled = model.forward_features(FrameFeatures(vectors=vectors, valid=valid))
    for row, frames in zip(pooled, (vectors[0], vectors[1, :3]), strict=True):
        torch.testing.assert_close(row[:512], frames.mean(0))
        if encoder == "mean_std":
            torch.testing.assert_close(row[512:], frames.std(0, correction=0))
    assert model.num_features == pooled.shape[1]
    assert model(torch.randn(1, 3, 2, 32, 32)).shape == (1, 3)
    with pytest.raises(ConfigError, match="has no layers: leave out depth"):
        create_model("vtn_vit_b16", **fields, depth=2)


def test_an_attentive_encoder_pools_the_frames_that_are_valid_and_says_what_it_looks_at() -> None:
    torch.manual_seed(0)
    fields = {"backbone": "resnet18", "encoder": "attentive", "depth": 2, "num_heads": 8, "head_dim": None}
    model: Any = create_model("vtn_vit_b16", **fields, num_classes=3, image_size=(32, 32)).eval()
    vectors = torch.randn(1, 5, 512)
    valid = torch.tensor([[True] * 3 + [False] * 2])
    with torch.no_grad():
        masked = model(FrameFeatures(vectors=vectors, valid=valid))
        torch.testing.assert_close(masked, model(FrameFeatures(vectors=vectors[:, :3])))
        with record_attention(model) as steps:
            assert model(torch.randn(1, 3, 4, 32, 32)).shape == (1, 3)
    assert [step.kind for step in steps] == ["time", "pool"]
    assert [tuple(step.probs.shape[-2:]) for step in steps] == [(4, 4), (1, 4)]
    with pytest.raises(ConfigError, match="has neither windows nor positions: leave out hidden_dim"):
        create_model("vtn_vit_b16", **fields, hidden_dim=64)
