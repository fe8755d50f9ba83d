"""What must hold for each TimeSformer, whatever its weights."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import timm
import torch
from tiny_timesformer import FIELDS, KINDS, clips, tiny
from torch import nn

from tubelet.errors import ConfigError, TubeletError
from tubelet.evaluation.cost import count_macs, count_parameters
from tubelet.models import create_model
from tubelet.models.timesformer.from_image import from_image_vit
from tubelet.types import FrameFeatures

# name: parameters and GMACs of the official code, counted on it with torch's counter.
OFFICIAL = {
    "timesformer_b16_divided": (121_566_352, 195.8),
    "timesformer_b16_hr": (122_024_080, 1702.7),
    "timesformer_b16_l": (121_633_936, 2379.9),
    "timesformer_b16_joint": (86_112_400, 179.6),
    "timesformer_b16_space": (86_106_256, 140.5),
}


@pytest.mark.parametrize("name", OFFICIAL)
def test_parameters_and_multiply_adds_are_those_of_the_official_code(name: str) -> None:
    with torch.device("meta"):
        model: Any = create_model(name)
    parameters, gmacs = OFFICIAL[name]
    shape = (3, model.config.num_frames, *model.config.image_size)
    assert count_parameters(model) == parameters
    assert count_macs(model, shape) / 1e9 == pytest.approx(gmacs, rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_videos_of_a_batch_do_not_touch_each_other(kind: str) -> None:
    model, batch = tiny(kind).double(), clips(3).double()
    together = model(batch)
    assert together.shape == (3, 5)
    for i in range(3):
        torch.testing.assert_close(together[i : i + 1], model(batch[i : i + 1]))


@pytest.mark.parametrize("kind", KINDS)
def test_inference_and_training_compute_the_same(kind: str) -> None:
    model, clip = tiny(kind), clips(2)
    kept = clip.clone()
    with torch.inference_mode():
        at_test_time = model(clip)
    torch.testing.assert_close(at_test_time, model.train()(clip).detach(), atol=1e-5, rtol=1e-5)
    assert torch.equal(clip, kept)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_parameter(kind: str) -> None:
    model = tiny(kind, drop_path_rate=0.1).train()
    torch.manual_seed(0)
    model(clips(4)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_autocast_runs_and_stays_near(kind: str) -> None:
    model, clip = tiny(kind), clips(2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = model(clip)
    exact = model(clip)
    assert 0 < (low.float() - exact).abs().max() < 0.1 * exact.abs().max()


# ---- what fails silently elsewhere: another frame count, frames that are not square, another grid


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 16, 24), (3, 16, 24), (7, 16, 24), (4, 32, 8), (5, 8, 40)])
def test_another_clip_is_what_a_model_made_for_it_computes_from_resized_tables(
    kind: str, size: tuple[int, int, int], caplog: pytest.LogCaptureFixture
) -> None:
    """Frames and grid come from the clip. A model that divides by its config's frame count computes something else."""
    model, clip = tiny(kind), clips(2, *size)
    with caplog.at_level(logging.INFO, logger="tubelet"):
        logits = model(clip)
        assert torch.equal(model(clip), logits)
    twin = tiny(kind, num_frames=size[0], image_size=size[1:])
    state = dict(model.state_dict())
    for name, grid in (("pos_embed.table", (1, size[1] // 8, size[2] // 8)), ("time_embed.table", (size[0], 1, 1))):
        if name in state:
            state[name] = model.get_submodule(name.removesuffix(".table"))(grid)
    twin.load_state_dict(state)
    torch.testing.assert_close(twin(clip), logits)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == (size[1:] != (16, 24)) + (size[0] != 4 and kind != "space")
    assert all("resized to" in line for line in told)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_and_columns_of_a_frame_are_not_mixed_up(kind: str) -> None:
    """Turning frames and the table of places together changes nothing, on a grid of 2 x 3 as on one of 3 x 2."""
    model, clip = tiny(kind), clips(2)
    turned = tiny(kind, image_size=(24, 16))
    state = dict(model.state_dict())
    state["tokenizer.proj.weight"] = state["tokenizer.proj.weight"].mT
    class_row, places = state["pos_embed.table"].split([1, 6])
    state["pos_embed.table"] = torch.cat([class_row, places.view(2, 3, -1).transpose(0, 1).reshape(6, -1)])
    turned.load_state_dict(state)
    torch.testing.assert_close(turned(clip.mT), model(clip))


def test_divided_attention_over_time_sees_its_own_place_only() -> None:
    """With attention over space and the MLP off, a patch moves the tokens of its place and of no other."""
    model = tiny("divided", depth=1).double()
    block = model.blocks[0]
    for layer in (block.attn.proj, block.mlp.fc2):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    clip = clips(1).double()
    changed = clip.clone()
    changed[:, :, 1, 8:, 16:] += 1  # frame 1, last of 6 places
    before, after = (block(model.embed_video(c), 4)[0, 1:].unflatten(0, (6, 4)) for c in (clip, changed))
    moved = ~torch.isclose(before, after, rtol=1e-9, atol=1e-9).all(-1)  # S T
    assert moved.nonzero().tolist() == [[5, 0], [5, 1], [5, 2], [5, 3]]


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_cut_is_refused_with_both_grids_named(kind: str) -> None:
    with pytest.raises(TubeletError, match=r"4x2\.5x3 .* 4x2x3"):
        tiny(kind)(clips(1, height=20))
    with pytest.raises(TubeletError, match="has 3 channels where the model expects 1"):
        tiny(kind, in_channels=1)(clips(1))


@pytest.mark.parametrize("kind", ["divided", "joint"])
def test_the_order_of_frames_is_seen(kind: str) -> None:
    model, clip = tiny(kind).double(), clips(1).double()
    assert (model(clip.flip(2)) - model(clip)).abs().max() > 1e-2


# ---- space-only attention in two stages


def test_space_only_is_blind_to_the_order_of_frames() -> None:
    model, clip = tiny("space").double(), clips(2).double()
    torch.testing.assert_close(model(clip.flip(2)), model(clip))


def test_forward_is_the_two_stages_and_frames_may_be_encoded_in_chunks() -> None:
    model, clip = tiny("space").double(), clips(2, num_frames=6).double()
    features = model.encode_frames(clip)
    assert features.vectors.shape == (2, 6, 24)
    assert torch.equal(model.encode_time(features), model(clip))
    chunks = torch.cat([model.encode_frames(chunk).vectors for chunk in clip.split(2, dim=2)], dim=1)
    torch.testing.assert_close(model.encode_time(FrameFeatures(vectors=chunks)), model(clip))


def test_a_padded_short_video_gives_the_logits_it_gives_alone() -> None:
    model, clip = tiny("space").double(), clips(2).double()
    valid = torch.tensor([[True, True, True, True], [True, True, False, False]])
    vectors = model.encode_frames(clip).vectors
    together = model.encode_time(FrameFeatures(vectors=vectors, valid=valid))
    torch.testing.assert_close(together[1:], model(clip[1:, :, :2]))


# ---- a fresh model


def fresh(kind: str, **options: Any) -> Any:
    torch.manual_seed(0)
    return create_model(f"timesformer_ti16_{kind}", **{**FIELDS, **options}).eval()


@pytest.mark.parametrize("kind", ["divided", "joint"])
def test_a_fresh_model_has_no_order_in_time(kind: str) -> None:
    """``temporal_fc`` and the table of times start at zero, so that training starts from an image model."""
    model, clip = fresh(kind).double(), clips(1).double()
    torch.testing.assert_close(model(clip.flip(2)), model(clip))
    assert not model.time_embed.table.any()


@pytest.mark.parametrize("same_classes", [True, False])
def test_started_from_an_image_model_a_still_video_gives_the_image_s_logits(same_classes: bool) -> None:
    """Against timm's own ViT: attention over time adds nothing yet, and all frames move the class token alike."""
    num_classes = 5 if same_classes else 9
    torch.manual_seed(1)
    sizes = {"img_size": (16, 16), "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 4, "mlp_ratio": 2}
    image_model = timm.create_model("vit_tiny_patch16_224", num_classes=num_classes, **sizes).eval()
    for parameter in image_model.parameters():
        nn.init.normal_(parameter, std=0.3)
    model = fresh("divided", image_size=(16, 16))
    state, report = from_image_vit(image_model.state_dict(), model, keep_head=same_classes)
    model.load_state_dict(state)
    assert ("head.weight" in report.fresh) == (not same_classes)
    if not same_classes:
        model.head = image_model.head
    images = torch.randn(2, 3, 16, 16)
    video = images.unsqueeze(2).expand(-1, -1, 4, -1, -1)
    torch.testing.assert_close(model(video), image_model(images), atol=1e-4, rtol=1e-4)


def test_loading_at_another_size_is_running_at_that_size() -> None:
    """One rule for tables that are resized at loading and for those that are resized for a clip."""
    small, large = fresh("divided", image_size=(32, 32)), fresh("divided", image_size=(48, 64))
    sizes = {"img_size": (32, 32), "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 4, "mlp_ratio": 2}
    image = timm.create_model("vit_tiny_patch16_224", num_classes=5, **sizes).state_dict()
    for model in (small, large):
        model.load_state_dict(from_image_vit(image, model, keep_head=True)[0])
    clip = clips(1, height=48, width=64)
    torch.testing.assert_close(large(clip), small(clip))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": (16, 20)}, "patch_size 8 does not divide image_size's width 20"),
        ({"num_heads": 5}, "embed_dim 24 is not divisible by num_heads 5"),
        ({"num_frames": 0}, "num_frames must be positive, got 0"),
        ({"attention_type": "joint"}, "attention_type"),
    ],
)
def test_a_config_that_fits_nothing_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny("divided", **options)
