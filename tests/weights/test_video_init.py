"""A checkpoint starts a model of its kind for other frames, sizes, tubelets and classes, and a still clip stays one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from support import MODEL, PROTOCOL, assert_one_line, tiny_model
from tiny_vivit import KINDS, tiny
from tubelet.commands.work.inspect import summary
from tubelet.errors import CheckpointError, ConfigError
from tubelet.models import create_model
from tubelet.nn.position import resize_positions
from tubelet.protocol import Protocol
from tubelet.recipe import load_recipe
from tubelet.report.model_card import model_card
from tubelet.weights.checkpoint.checkpoint import Record, save_checkpoint
from tubelet.weights.config import InitConfig
from tubelet.weights.init.initialize import initialize
from tubelet.weights.init.source import read_source
from tubelet.weights.init.video import VideoSource, from_video, rows_by_name


def source_of(model: Any, name: str = "vivit_b16x2") -> VideoSource:
    return VideoSource(model=model, model_name=name, model_config={}, protocol=PROTOCOL, name="old")


@pytest.mark.parametrize("kind", KINDS)
def test_equal_shapes_are_copied_to_the_bit_and_only_the_head_is_fresh(kind: str) -> None:
    old, new = tiny(kind), tiny(kind, num_classes=3)
    state, report = from_video(source_of(old), new, keep_head=False)
    assert set(report.fresh) == {"head.weight", "head.bias"} == set(report.dropped)
    assert not report.notes
    assert all(state[name].equal(tensor) for name, tensor in old.state_dict().items() if "head" not in name)
    kept, report = from_video(source_of(old), tiny(kind), keep_head=True)
    assert all(kept[name].equal(tensor) for name, tensor in old.state_dict().items())
    assert not report.fresh


@pytest.mark.parametrize("generations", [1, 2])
def test_the_license_of_the_weights_goes_to_what_is_trained_from_them(tmp_path: Path, generations: int) -> None:
    """Also to a model of a model, to its card, and to what HuggingFace's folder of it says."""
    old, config = tiny_model()
    record = Record(model_name=MODEL, model_config=config, protocol=PROTOCOL, provenance={"license": "cc-by-nc-4.0"})
    for generation in range(generations):
        path = tmp_path / str(generation)
        save_checkpoint(path, old, record)
        init = InitConfig(source=str(path))
        account = initialize(old, read_source(init), init, PROTOCOL)
        assert account["license"] == "cc-by-nc-4.0"
        assert any(note.startswith("license: cc-by-nc-4.0") for note in account["notes"])
        record = dataclasses.replace(record, provenance={"init": account})
    assert summary(record)["license"] == "cc-by-nc-4.0"
    card = model_card(record, None, "me/x")
    assert "license: cc-by-nc-4.0" in card
    assert str(tmp_path) not in card
    for stated in ({}, {"license": "unknown: not stated"}):
        assert dataclasses.replace(record, provenance=stated).license is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_frames", [1, 3, 4])
def test_another_tubelet_length_gives_a_still_clip_the_same_tokens(kind: str, num_frames: int) -> None:
    old, new = tiny(kind), tiny(kind, num_frames=4 * num_frames, tubelet_size=(num_frames, 4, 4))
    state, report = from_video(source_of(old), new, keep_head=True)
    new.load_state_dict(state)
    assert report.notes == (f"tubelets: 2x4x4 resampled to {num_frames}x4x4",)
    picture = torch.randn(2, 3, 1, 8, 12)
    with torch.inference_mode():
        expected = old(picture.expand(-1, -1, 8, -1, -1))
        torch.testing.assert_close(new(picture.expand(-1, -1, 4 * num_frames, -1, -1)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_tables_are_resized_as_the_model_does_while_it_runs(kind: str) -> None:
    """So a model made for another clip answers at once what the old one answers on that clip."""
    old, new = tiny(kind), tiny(kind, num_frames=12, image_size=(16, 12))
    state, report = from_video(source_of(old), new, keep_head=True)
    new.load_state_dict(state)
    clip = torch.randn(1, 3, 12, 16, 12)
    with torch.inference_mode():
        torch.testing.assert_close(new(clip), old(clip), rtol=1e-5, atol=1e-5)
    change = "1x2x3 -> 1x4x3" if kind in ("fe", "avgpool") else "4x2x3 -> 6x4x3"
    assert any(note.endswith(f"pos_embed: {change}") for note in report.notes)


def test_the_table_over_time_of_model_2_is_linear_with_its_ends_in_place() -> None:
    old, new = tiny("fe"), tiny("fe", num_frames=14)
    state, _ = from_video(source_of(old), new, keep_head=True)
    table, before = state["temporal_encoder.pos_embed.table"], old.temporal_encoder.pos_embed.table
    assert table[0].equal(before[0])  # the class token's
    torch.testing.assert_close(table[[1, 3, 5, 7]], before[[1, 2, 3, 4]])
    torch.testing.assert_close(table, resize_positions(before, (4, 1, 1), (7, 1, 1), 1))


def test_other_channels_and_patches_are_resampled_and_said() -> None:
    old, new = tiny("joint"), tiny("joint", in_channels=1, tubelet_size=(2, 2, 4))
    _, report = from_video(source_of(old), new, keep_head=True)
    assert report.notes == (
        "encoder.pos_embed: 4x2x3 -> 4x4x3",
        "tubelets: 2x4x4 resampled to 2x2x4",
        "channels: 3 resampled to 1",
    )


@pytest.mark.parametrize("name", ["epic_kitchens/vivit_l16x2_fe", "ssv2/vivit_l16x2_fe"])
def test_recipes_that_say_so_start_from_the_checkpoint_of_kinetics(name: str) -> None:
    """At the sizes of the recipes but for the width and the spatial depth."""
    small = {"embed_dim": 16, "depth": 2, "num_heads": 2, "mlp_ratio": 1.0}
    models = []
    for recipe, num_classes in ((load_recipe("kinetics400/vivit_l16x2_fe"), 400), (load_recipe(name), 5)):
        options = recipe.model_options(num_classes)
        models.append(create_model(recipe.model["name"], **{**options, **small}))
    old, new = models
    state, report = from_video(source_of(old, "vivit_l16x2_fe"), new, keep_head=False)
    new.load_state_dict(state)
    assert report.notes[-1] == "temporal blocks: the first 4 of 24 are taken"
    assert set(report.fresh) == {"head.weight", "head.bias"}
    theirs, ours = old.get_submodule("temporal_encoder"), new.get_submodule("temporal_encoder")
    assert all(ours.get_parameter(key).equal(theirs.get_parameter(key)) for key, _ in ours.named_parameters())
    surplus = {key for key, _ in theirs.named_parameters()} - {key for key, _ in ours.named_parameters()}
    reasons = {key: why for key, why in report.dropped.items() if "head" not in key}
    assert reasons == {f"temporal_encoder.{key}": "the model has 4 temporal blocks" for key in surplus}
    assert len(surplus) == 20 * len(list(theirs.get_submodule("blocks.0").parameters()))


@pytest.mark.parametrize(
    ("new", "message"),
    [
        (lambda: tiny("joint"), "a video checkpoint starts a model of its own kind"),
        (lambda: tiny("fe", depth=3), "spatial_encoder.blocks.2.norm1.weight needs spatial_encoder.blocks.2"),
        (lambda: tiny("fe", depth=1), "spatial_encoder.blocks.1.norm1.weight (24,) is not used"),
        (lambda: tiny("fe", temporal_depth=3), "has 2 temporal blocks, the model to train 3: set model.temporal_depth"),
        (lambda: tiny("fe", embed_dim=12), "tokenizer.proj.weight has shape (12, 3, 2, 4, 4)"),
    ],
)
def test_another_network_is_refused(new: Any, message: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        from_video(source_of(tiny("fe")), new(), keep_head=False)
    assert_one_line(caught, "old", message)


def test_the_account_says_head_pixels_and_what_is_fresh() -> None:
    old, _ = tiny_model()
    new, _ = tiny_model()
    account = initialize(new, source_of(old), InitConfig(source="old"), PROTOCOL)
    assert account["fresh"] == ["head.weight", "head.bias"]
    assert account["notes"] == ["head: made fresh for 8 classes (clockwise, counter_clockwise, down, growing, ...)"]
    other = type(PROTOCOL)(**{**vars(PROTOCOL), "mean": (0.2, 0.2, 0.2), "channel_order": "bgr"})
    notes = initialize(new, source_of(old), InitConfig(source="old"), other)["notes"]
    assert "--protocol.mean 0.5,0.5,0.5 takes theirs" in notes[-2]
    assert notes[-1] == "pixels: the weights were trained on rgb frames: --protocol.channel_order rgb"


def with_labels(labels: dict[str, tuple[str, ...]]) -> Protocol:
    return dataclasses.replace(PROTOCOL, labels=labels)


def test_a_head_is_kept_only_for_classes_that_the_checkpoint_has() -> None:
    old, _ = tiny_model()
    new, _ = tiny_model()
    assert initialize(new, source_of(old), InitConfig(source="old", keep_head=True), PROTOCOL)["fresh"] == []
    assert new.get_parameter("head.weight").equal(old.get_parameter("head.weight"))
    names = ("left", *(f"class{i}" for i in range(7)))
    with pytest.raises(ConfigError) as caught:
        initialize(new, source_of(old), InitConfig(source="old", keep_head=True), with_labels({"label": names}))
    assert_one_line(
        caught, "tells clockwise,", "lacks 7 of the data's 8 classes: class0, class1", "leave init.keep_head"
    )


@pytest.mark.parametrize("name", ["uniformerv2_ti16", "timesformer_ti16_joint", "torchvision/mvit_v2_s", "vtn_vit_b16"])
def test_a_head_gives_the_rows_of_the_classes_that_the_data_have_whatever_their_order(name: str) -> None:
    """As Kinetics-400 starts from Kinetics-710; the logits are the checkpoint's own of these classes."""
    kinds: dict[str, dict[str, Any]] = {
        "uniformerv2_ti16": {"depth": 1, "global_layers": 1},
        "timesformer_ti16_joint": {"depth": 1},
        "torchvision/mvit_v2_s": {},
        "vtn_vit_b16": {"head_dim": 8, "depth": 1},  # a hidden layer as wide as the classifier has classes
    }
    with torch.device("meta"):
        old, new = (create_model(name, num_classes=k, **kinds[name]) for k in (8, 3))
    for last in (m for m in old.modules() if isinstance(m, nn.Linear) and m.out_features == 8):
        last.to_empty(device="cpu")
        nn.init.normal_(last.weight)
        nn.init.normal_(last.bias)
    wanted = with_labels({"action": ("up", "left", "clockwise")})
    rows, absent = rows_by_name(PROTOCOL, wanted)
    assert (rows, absent) == ([7, 4, 0], [])
    state, report = from_video(source_of(old, name), new, keep_head=True, head_rows=rows)
    assert not report.fresh
    changed = [tensor for tensor in report.filled if tensor.rule.operation.name == "3 rows by class name"]
    assert [tensor.target.rpartition(".")[2] for tensor in changed] == ["weight", "bias"]
    for tensor in changed:
        assert state[tensor.target].equal(old.state_dict()[tensor.target][[7, 4, 0]])


def test_classes_of_several_heads_are_told_apart_by_head_and_the_account_counts_the_rows() -> None:
    theirs = with_labels({"noun": ("cut", "pan"), "verb": ("cut", "wash")})
    assert rows_by_name(theirs, with_labels({"noun": ("pan", "cut"), "verb": ("cut",)})) == ([1, 0, 2], [])
    assert rows_by_name(theirs, with_labels({"verb": ("wash", "pan")})) == ([3], ["pan"])
    old, _ = tiny_model()
    new, _ = tiny_model(2)
    init = InitConfig(source="old", keep_head=True)
    account = initialize(new, source_of(old), init, with_labels({"label": ("right", "up")}))
    assert account["notes"] == ["head: taken along by class name, 2 of 8 rows, for 2 classes (right, up)"]
    clip = torch.randn(1, 3, 4, 16, 16)
    names = PROTOCOL.labels["label"]
    with torch.inference_mode():
        torch.testing.assert_close(new(clip), old(clip)[:, [names.index("right"), names.index("up")]])


def test_options_of_image_models_are_refused_for_video_models() -> None:
    old, _ = tiny_model()
    with pytest.raises(ConfigError, match=r"init\.tokenizer is for image models; old is a video model"):
        initialize(old, source_of(old), InitConfig(source="old", tokenizer="inflation"), PROTOCOL)


def test_models_that_resize_while_they_run_keep_their_tables() -> None:
    fields = {"num_classes": 3, "image_size": (32, 32), "num_frames": 2, "embed_dim": 16, "depth": 2, "num_heads": 2}
    fields["global_layers"] = 1
    old, new = (create_model("uniformerv2_ti16", **fields) for _ in range(2))
    state, report = from_video(source_of(old, "uniformerv2_ti16"), new, keep_head=True)
    assert all(state[name].equal(tensor) for name, tensor in old.state_dict().items())
    assert not report.notes


@pytest.mark.parametrize(("network", "head"), [("r3d_18", "network.fc"), ("mvit_v2_s", "network.head.1")])
def test_the_head_of_a_torchvision_network_is_made_fresh_for_other_classes(network: str, head: str) -> None:
    with torch.device("meta"):
        old, new = (create_model(f"torchvision/{network}", num_classes=k) for k in (5, 3))
    state, report = from_video(source_of(old, f"torchvision/{network}"), new, keep_head=False)
    assert set(report.fresh) == {f"{head}.weight", f"{head}.bias"} == set(report.dropped)
    assert state[f"{head}.weight"].shape[0] == 3
