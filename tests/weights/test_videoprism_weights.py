"""VideoPrism from the official files and from transformers' folders, and back where the other side can hold it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import (
    VideoPrismClipModel,
    VideoPrismConfig,
    VideoPrismForVideoClassification,
    VideoPrismVideoModel,
    VideoPrismVisionModel,
)
from transformers.models.videoprism import VideoPrismTextConfig, VideoPrismVisionConfig

from tubelet.errors import CheckpointError, ConfigError
from tubelet.models import create_model
from tubelet.models.videoprism.weights import convert as convert_official
from tubelet.models.videoprism.weights import official_rules, stacked_layers, to_official
from tubelet.weights.checkpoint.checkpoint import load_checkpoint, save_checkpoint
from tubelet.weights.config import InitConfig
from tubelet.weights.convert.parity import measure_parity
from tubelet.weights.convert.sources import SOURCES, record_of
from tubelet.weights.convert.write import write_huggingface
from tubelet.weights.init.initialize import initialize
from tubelet.weights.init.source import read_source
from tubelet.weights.mapping.converter import ConvertOptions
from tubelet.weights.mapping.rules import map_back
from tubelet.weights.open_checkpoint import open_checkpoint

SMALL: dict[str, Any] = {
    "num_classes": 3,
    "num_frames": 4,
    "image_size": (16, 16),
    "patch_size": 8,
    "embed_dim": 24,
    "depth": 2,
    "temporal_depth": 1,
    "num_heads": 4,
    "mlp_ratio": 2.0,
}
LABELS = ("wave", "clap", "jump")
HF: dict[str, Any] = {
    **{"image_size": 16, "num_frames": 4, "tubelet_size": [1, 8, 8], "hidden_size": 24, "num_attention_heads": 4},
    **{"intermediate_size": 48, "num_spatial_layers": 2, "num_temporal_layers": 1, "num_auxiliary_layers": 1},
}
from_huggingface = SOURCES["huggingface"].convert


def randomized(model: Any) -> Any:
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


def clip() -> Tensor:
    return torch.rand(2, 3, 4, 16, 16)


def saved(path: Path, tensors: dict[str, Tensor]) -> Path:
    np.savez(path, **{name: tensor.detach().numpy() for name, tensor in tensors.items()})  # type: ignore[arg-type]
    return path


def encoder_file(model: Any, path: Path) -> Path:
    state = {name: t for name, t in model.state_dict().items() if not name.startswith(("pool.", "head."))}
    return saved(path, stacked_layers(map_back(state, official_rules(model, has_pool=False))))


def tower_file(model: Any, path: Path) -> Path:
    """With a text tower, as released files have it."""
    state = {name: t for name, t in model.state_dict().items() if not name.startswith("head.")}
    text = {"params/text_encoder/unimodal_transformer/x_layers/layer_norm/scale": torch.randn(12, 24)}
    return saved(path, {**stacked_layers(map_back(state, official_rules(model))), **text})


def test_a_classifier_becomes_a_checkpoint_of_the_same_function_with_the_protocol_of_the_original(
    tmp_path: Path,
) -> None:
    original, x = randomized(create_model("videoprism_b18", **SMALL)), clip()
    converted = convert_official(saved(tmp_path / "c.npz", to_official(original)), ConvertOptions(labels=LABELS))
    assert converted.model(x).equal(original(x))
    assert not converted.report.fresh
    p = converted.protocol
    assert (p.num_frames, p.sampling, p.crop_size, p.views_text) == (4, "segment_start", (16, 16), "1x1")
    assert (p.mean, p.std) == ((0.0,) * 3, (1.0,) * 3)  # ImageNet's would be wrong
    assert converted.provenance["license"] == "apache-2.0"
    assert any("soft_cap 50" in note for note in converted.provenance["model_notes"])
    save_checkpoint(tmp_path / "out", converted.model, record_of(converted))
    model, record = load_checkpoint(tmp_path / "out")
    assert record.labels == LABELS
    assert model.eval()(x).equal(original(x))


def test_an_encoder_alone_is_refused_without_classes_and_starts_a_training_with_them(tmp_path: Path) -> None:
    original, x = randomized(create_model("videoprism_b18", **SMALL)), clip()
    file = encoder_file(original, tmp_path / "encoder.npz")
    with pytest.raises(CheckpointError, match=r"has no classifier, so it cannot predict: give --labels FILE"):
        convert_official(file, ConvertOptions())
    converted = convert_official(file, ConvertOptions(labels=("a", "b")))
    assert torch.equal(converted.model.tokens(x), original.tokens(x))  # type: ignore[operator]
    assert {name.partition(".")[0] for name in converted.report.fresh} == {"pool", "head"}
    save_checkpoint(tmp_path / "out", converted.model, record_of(converted))
    init = InitConfig(source=str(tmp_path / "out"))
    model: Any = create_model("videoprism_b18", **{**SMALL, "num_classes": 7})
    provenance = initialize(model, read_source(init, "videoprism_b18"), init, converted.protocol)
    assert torch.equal(model.eval().tokens(x), original.tokens(x))
    assert provenance["license"] == "apache-2.0"


def test_the_video_tower_is_read_without_its_text_tower(tmp_path: Path) -> None:
    original, x = randomized(create_model("videoprism_lvt_b18", **SMALL)), clip()
    file = tower_file(original, tmp_path / "lvt.npz")
    converted = convert_official(file, ConvertOptions(model={"num_classes": 2}))
    assert converted.name.startswith("videoprism_lvt")
    assert torch.equal(converted.model.video_embedding(x), original.video_embedding(x))  # type: ignore[operator]
    assert all("text tower" in reason for reason in converted.report.dropped.values())
    assert len(converted.report.dropped) == 1
    with pytest.raises(CheckpointError, match="no place for a classifier"):
        to_official(original)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"params/encoder/spatial_ln/scale": None}, r"spatial_encoder\.norm\.weight needs encoder/spatial_ln/scale"),
        ({"params/encoder/extra": torch.zeros(1)}, r"encoder/extra \(1,\) is not used"),
        ({"params/encoder/spatial_pos_emb/emb_var": torch.zeros(5, 24)}, r"no square: give --model\.image_size"),
        ({"params/encoder/spatial_pos_emb/emb_var": None}, r"no VideoPrism: expected spatial_pos_emb/emb_var, found"),
    ],
)
def test_an_official_file_that_does_not_fit_is_refused(
    tmp_path: Path, change: dict[str, Tensor | None], message: str
) -> None:
    tensors = {**to_official(randomized(create_model("videoprism_b18", **SMALL))), **change}
    file = saved(tmp_path / "c.npz", {name: tensor for name, tensor in tensors.items() if tensor is not None})
    with pytest.raises(CheckpointError, match=message):
        convert_official(file, ConvertOptions())


def huggingface(model_class: Any, folder: Path, **options: Any) -> Any:
    vision = VideoPrismVisionConfig(**{**HF, **options})
    if model_class is VideoPrismClipModel:
        text = VideoPrismTextConfig(
            vocab_size=9, hidden_size=24, intermediate_size=32, num_hidden_layers=1, num_attention_heads=4
        )
        model = VideoPrismClipModel(VideoPrismConfig(text_config=text.to_dict(), vision_config=vision.to_dict()))
    else:
        model = model_class(vision)
    randomized(model).save_pretrained(folder)
    return model


def theirs(model: Any, x: Tensor) -> Tensor:
    with torch.inference_mode():
        return model(x.transpose(1, 2)).logits.squeeze(1)


@pytest.mark.parametrize("options", [{}, {"attn_logit_softcapping": 2.0, "layer_norm_eps": 1e-2}])
def test_a_classifier_of_transformers_is_read_to_the_same_logits_and_written_back(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    named = {"id2label": dict(enumerate(LABELS)), "label2id": {name: i for i, name in enumerate(LABELS)}}
    original, x = huggingface(VideoPrismForVideoClassification, tmp_path / "in", **named, **options), clip()
    (tmp_path / "in" / "README.md").write_text("---\nlicense: apache-2.0\n---\n", encoding="utf-8")
    model, record = open_checkpoint(tmp_path / "in")
    assert (record.labels, record.license) == (LABELS, "apache-2.0")
    torch.testing.assert_close(model(x), theirs(original, x), atol=1e-5, rtol=1e-5)
    notes = write_huggingface(model, record, tmp_path / "out")
    assert any("[B, 1, K]" in note for note in notes)
    back, loading = VideoPrismForVideoClassification.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    torch.testing.assert_close(theirs(back.eval(), x), theirs(original, x), atol=1e-6, rtol=1e-6)
    found = measure_parity(from_huggingface(tmp_path / "in", ConvertOptions()), SOURCES["huggingface"], tmp_path / "in",
                           None, 1e-4)  # fmt: skip
    assert found["measured"]
    assert found["max_abs_difference"] < 1e-5


def test_one_frame_is_not_broadcast_over_the_times_as_there(tmp_path: Path) -> None:
    original = huggingface(VideoPrismForVideoClassification, tmp_path, num_labels=2)
    model, _ = open_checkpoint(tmp_path)
    x = clip()[:, :, :1]
    with torch.inference_mode():
        assert original.vision_model(x.transpose(1, 2)).last_hidden_state.shape[1] == 4 * 4
    assert model.tokens(x).flatten(1, 3).shape[1] == 4  # type: ignore[operator]


@pytest.mark.parametrize("model_class", [VideoPrismVisionModel, VideoPrismVideoModel, VideoPrismClipModel])
def test_folders_without_a_classifier_are_read_for_the_classes_that_are_given(tmp_path: Path, model_class: Any) -> None:
    original, x = huggingface(model_class, tmp_path, **({} if model_class is VideoPrismVisionModel else WIDE)), clip()
    with pytest.raises(CheckpointError, match="has no classifier"):
        from_huggingface(tmp_path, ConvertOptions())
    model: Any = from_huggingface(tmp_path, ConvertOptions(labels=LABELS)).model
    with torch.inference_mode():
        if model_class is VideoPrismVisionModel:
            torch.testing.assert_close(model.tokens(x).flatten(1, 3), original(x.transpose(1, 2)).last_hidden_state)
        else:
            tower = original.video_model if model_class is VideoPrismClipModel else original
            expected = tower(x.transpose(1, 2)).pooler_output.squeeze(1)
            torch.testing.assert_close(model.video_embedding(x), expected, atol=1e-5, rtol=1e-5)


WIDE = {"intermediate_size": 96}  # four times the width of a token, as the original's video tower pools


def test_a_model_that_transformers_does_not_have_is_refused_by_what_differs(tmp_path: Path) -> None:
    file = saved(tmp_path / "c.npz", to_official(randomized(create_model("videoprism_b18", **SMALL))))
    converted = convert_official(file, ConvertOptions(labels=LABELS))
    with pytest.raises(CheckpointError, match=r"pools at intermediate_size 48, this model at 24"):
        write_huggingface(converted.model, record_of(converted), tmp_path / "out")
    lvt = tower_file(randomized(create_model("videoprism_lvt_b18", **SMALL)), tmp_path / "lvt.npz")
    converted = convert_official(lvt, ConvertOptions(labels=LABELS))
    with pytest.raises(CheckpointError, match="its tower no classifier"):
        write_huggingface(converted.model, record_of(converted), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_act": "relu"}, "hidden_act 'relu'"),
        ({"tubelet_size": [2, 8, 8]}, "tubelets of 2x8x8"),
        ({"num_frames": 7}, r"temporal_encoder\.pos_embed\.table has shape \(7, 24\)"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    huggingface(VideoPrismForVideoClassification, tmp_path, num_labels=2)
    content = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps({**content, **change}), encoding="utf-8")
    with pytest.raises(CheckpointError, match=message):
        from_huggingface(tmp_path, ConvertOptions())
    with pytest.raises((ConfigError, CheckpointError)):
        from_huggingface(tmp_path, ConvertOptions(model={"depth": 3}))


@pytest.mark.parametrize(
    ("processor", "message"),
    [
        ({"do_normalize": False, "num_frames": 8}, "samples 8 frames, the model is made for 4"),
        ({"do_normalize": True}, "VideoPrism was trained on 0 to 1"),
        ({"do_normalize": False}, "squeezes frames to 16x16"),
    ],
)
def test_what_a_processor_does_otherwise_is_said(tmp_path: Path, processor: dict[str, Any], message: str) -> None:
    huggingface(VideoPrismForVideoClassification, tmp_path, num_labels=2)
    content = {"size": {"height": 16, "width": 16}, **processor}
    (tmp_path / "video_preprocessor_config.json").write_text(json.dumps(content), encoding="utf-8")
    record = record_of(from_huggingface(tmp_path, ConvertOptions()))
    assert any(message in note for note in record.provenance["protocol_notes"])
    assert record.protocol.num_frames == 4
    assert any(record.protocol.mean) == processor["do_normalize"]
