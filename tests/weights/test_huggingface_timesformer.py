"""HuggingFace's TimeSformer both ways, against ``transformers`` itself; what it computes wrongly is right here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import TimesformerConfig, TimesformerForVideoClassification, VideoMAEImageProcessor

from tubelet.data.clips.normalize import normalize
from tubelet.data.loading.read_views import read_views
from tubelet.errors import CheckpointError, ConfigError
from tubelet.models import create_model
from tubelet.weights.convert.parity import measure_parity
from tubelet.weights.convert.sources import SOURCES, record_of
from tubelet.weights.convert.write import write_huggingface
from tubelet.weights.mapping.converter import ConvertOptions
from tubelet.weights.open_checkpoint import open_checkpoint

LABELS = {0: "wave", 1: "clap", 2: "jump"}
KINDS = {"divided_space_time": "divided", "joint_space_time": "joint", "space_only": "space"}
convert = SOURCES["huggingface"].convert


def huggingface_model(kind: str, **options: Any) -> TimesformerForVideoClassification:
    fields: dict[str, Any] = {
        "attention_type": kind,
        "image_size": 32,
        "patch_size": 8,
        "num_frames": 4,
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 40,
        "id2label": LABELS,
        "label2id": {name: i for i, name in LABELS.items()},
    }
    torch.manual_seed(0)
    model = TimesformerForVideoClassification(TimesformerConfig(**{**fields, **options}))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model.eval()


def saved(folder: Path, kind: str, processor: dict[str, Any] | None = None, **options: Any) -> Any:
    model = huggingface_model(kind, **options)
    model.save_pretrained(folder)
    if processor is not None:
        sizes = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
        VideoMAEImageProcessor(**{**sizes, **processor}).save_pretrained(folder)
    return model


def clip(num_frames: int = 4) -> Tensor:
    return torch.randn(2, 3, num_frames, 32, 32)


def theirs(model: Any, x: Tensor) -> Tensor:
    with torch.inference_mode():
        return model(x.transpose(1, 2)).logits


@pytest.mark.parametrize("kind", ["divided_space_time", "joint_space_time"])
@pytest.mark.parametrize("options", [{}, {"hidden_act": "gelu_new", "qkv_bias": False, "layer_norm_eps": 1e-2}])
def test_a_folder_is_read_to_the_same_logits_and_written_back_to_them(
    tmp_path: Path, kind: str, options: dict[str, Any]
) -> None:
    original, x = saved(tmp_path / "in", kind, **options), clip()
    model, record = open_checkpoint(tmp_path / "in")
    assert record.model_name == f"timesformer_ti16_{KINDS[kind]}"
    assert record.labels == tuple(LABELS.values())
    torch.testing.assert_close(model(x), theirs(original, x), atol=1e-5, rtol=1e-5)
    write_huggingface(model, record, tmp_path / "out")
    back, loading = TimesformerForVideoClassification.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    torch.testing.assert_close(theirs(back.eval(), x), theirs(original, x), atol=1e-6, rtol=1e-6)


def test_another_frame_count_is_right_here_where_huggingface_s_divided_model_is_wrong(tmp_path: Path) -> None:
    """What it should compute is what its own model made for that frame count does with the same weights."""
    original = saved(tmp_path, "divided_space_time")
    made_for_8 = huggingface_model("divided_space_time", num_frames=8)
    state = original.state_dict()
    table = "timesformer.embeddings.time_embeddings"
    state[table] = torch.nn.functional.interpolate(state[table].mT, size=8, mode="nearest").mT
    made_for_8.load_state_dict(state)
    x = clip(8)
    model, _ = open_checkpoint(tmp_path)
    torch.testing.assert_close(model(x), theirs(made_for_8, x), atol=1e-5, rtol=1e-5)
    assert (theirs(original, x) - theirs(made_for_8, x)).abs().max() > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_the_difference_to_transformers_is_measured_of_space_only_too(tmp_path: Path, kind: str) -> None:
    saved(tmp_path, kind)
    found = measure_parity(convert(tmp_path, ConvertOptions()), SOURCES["huggingface"], tmp_path, None, 1e-4)
    assert found["measured"]
    assert found["max_abs_difference"] < 1e-5
    assert ("averaged before the norm" in found["against"]) == (kind == "space_only")


def test_what_the_other_side_does_otherwise_is_told_on_the_way_back(tmp_path: Path) -> None:
    model, record = create_model("timesformer_ti16_space", depth=1, num_classes=3), None
    saved(tmp_path / "in", "space_only")
    record = record_of(convert(tmp_path / "in", ConvertOptions()))
    notes = write_huggingface(model, record, tmp_path / "out")
    assert any("a row of logits per frame" in note for note in notes)
    assert any("drop_path_rate 0.1 stays behind" in note for note in notes)


@pytest.mark.parametrize(
    "processor", [{"image_mean": [0.45] * 3, "image_std": [0.225] * 3}, {}, {"do_normalize": False}]
)
def test_pixels_are_the_processor_s_on_the_way_in_and_on_the_way_back(
    tmp_path: Path, processor: dict[str, Any]
) -> None:
    saved(tmp_path / "in", "joint_space_time", processor)
    plain = ConvertOptions(protocol={"target_fps": None, "frame_stride": 1, "num_spatial_crops": 1})
    converted = convert(tmp_path / "in", plain)
    write_huggingface(converted.model, record_of(converted), tmp_path / "out")
    frames = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    p = record_of(convert(tmp_path / "out", plain)).protocol
    ours = normalize(read_views(frames, p).pixels[0], p).transpose(0, 1)  # T C H W
    for folder in ("in", "out"):
        original = VideoMAEImageProcessor.from_pretrained(tmp_path / folder)(list(frames), return_tensors="pt")
        torch.testing.assert_close(ours, original["pixel_values"][0], rtol=0, atol=2e-6)


def test_without_a_processor_the_pixels_are_those_of_training(tmp_path: Path) -> None:
    saved(tmp_path, "divided_space_time")
    p = record_of(convert(tmp_path, ConvertOptions())).protocol
    assert (p.mean, p.std, p.averaging, p.views_text) == ((0.45,) * 3, (0.225,) * 3, "logits", "1x3")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attention_type": "sparse"}, "attention_type is 'sparse'"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"patch_size": [8, 16]}, "does not describe a TimeSformer"),
        ({"num_frames": 7}, r"time_embed\.table has shape \(7, 24\)"),
        ({"model_type": "xclip"}, "model_type is 'xclip', expected 'vivit' or 'timesformer'"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    saved(tmp_path, "divided_space_time")
    content = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps({**content, **change}), encoding="utf-8")
    with pytest.raises(CheckpointError, match=message):
        convert(tmp_path, ConvertOptions())


def test_another_kind_of_attention_than_the_folder_s_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, "divided_space_time")
    with pytest.raises(ConfigError, match="the folder holds divided_space_time"):
        convert(tmp_path, ConvertOptions(model={"name": "timesformer_b16_joint"}))
    with pytest.raises(ConfigError, match=r"--model\.depth: a HuggingFace folder says itself"):
        convert(tmp_path, ConvertOptions(model={"depth": 3}))


def test_a_model_that_wants_bgr_answers_the_same_there_on_rgb_frames(tmp_path: Path) -> None:
    """Kernel, mean and deviation are turned around; the license goes along."""
    saved(tmp_path / "in", "divided_space_time")
    pixels = {"mean": [0.1, 0.4, 0.6], "std": [0.2, 0.3, 0.4], "crop_size": [32, 32], "resize_short_side": 32}
    plain = {"target_fps": None, "frame_stride": 1, "num_spatial_crops": 1}
    (tmp_path / "in" / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n", encoding="utf-8")
    converted = convert(tmp_path / "in", ConvertOptions(protocol={**plain, **pixels, "channel_order": "bgr"}))
    model, record = converted.model, record_of(converted)
    notes = write_huggingface(model, record, tmp_path / "out")
    assert any("reads BGR" in note for note in notes)
    frames = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)  # RGB
    back = TimesformerForVideoClassification.from_pretrained(tmp_path / "out").eval()
    pixel_values = VideoMAEImageProcessor.from_pretrained(tmp_path / "out")(list(frames), return_tensors="pt")
    ours = normalize(read_views(frames, record.protocol).pixels[0], record.protocol)
    with torch.inference_mode():
        torch.testing.assert_close(model(ours[None]), back(**pixel_values).logits, rtol=1e-5, atol=1e-5)
    again = record_of(convert(tmp_path / "out", ConvertOptions(protocol=plain)))
    assert (again.protocol.channel_order, again.protocol.mean) == ("rgb", (0.6, 0.4, 0.1))
    assert again.provenance["license"] == "cc-by-nc-4.0"


@pytest.mark.parametrize(("kind", "size"), [("divided_space_time", 37), ("joint_space_time", 33)])
def test_pixels_that_fill_no_patch_are_left_out_as_there(kind: str, size: int, tmp_path: Path) -> None:
    """Pictures of 37 or 33 pixels in patches of 8: transformers' convolution has no padding."""
    original = saved(tmp_path, kind, image_size=size)
    converted = convert(tmp_path, ConvertOptions())
    assert converted.model.config.remainder == "drop"
    x = torch.randn(2, 3, 4, size, size)
    with torch.inference_mode():
        expected = original(x.transpose(1, 2)).logits
        torch.testing.assert_close(converted.model(x), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(converted.model(x[..., :32, :32]), expected, atol=1e-4, rtol=1e-4)
