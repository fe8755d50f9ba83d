"""HuggingFace's ViViT comes in with its numbers, labels and pixels, computes the same logits, and goes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_files import LABELS, huggingface_model, saved
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import VivitForVideoClassification, VivitImageProcessor, VivitModel

from support import assert_one_line
from tubelet import load
from tubelet.data.clips.normalize import normalize
from tubelet.data.loading.read_views import read_views
from tubelet.errors import TubeletError
from tubelet.models import create_model
from tubelet.models.vivit.huggingface import convert, from_huggingface
from tubelet.weights.checkpoint.checkpoint import save_checkpoint
from tubelet.weights.convert.sources import record_of
from tubelet.weights.convert.write import write_huggingface
from tubelet.weights.mapping.converter import ConvertOptions


def clip() -> Tensor:
    return torch.randn(2, 3, 4, 32, 32)  # B C T H W


def logits_of(model: VivitForVideoClassification, clip: Tensor) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = model(clip.transpose(1, 2)).logits
    return logits


def refusal(folder: Path, options: ConvertOptions | None = None) -> str:
    with pytest.raises(TubeletError) as refused:
        convert(folder, options or ConvertOptions())
    assert_one_line(refused)
    return str(refused.value)


def change_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes), encoding="utf-8")


def change_weights(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file({name: t.contiguous() for name, t in state.items()}, folder / "model.safetensors")


def to_new_names(folder: Path) -> None:
    """The weights under the module names of transformers 5, which its files do not have."""
    state = VivitForVideoClassification.from_pretrained(folder).state_dict()
    assert any(name.startswith("vivit.layers.0.attention.q_proj") for name in state)
    save_file(dict(state), folder / "model.safetensors")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"hidden_act": "gelu", "qkv_bias": False, "layer_norm_eps": 1e-2},
        {"image_size": [32, 32], "hidden_act": "gelu_pytorch_tanh", "num_attention_heads": 4},
    ],
    ids=["defaults", "exact gelu, no bias, large epsilon", "other spellings"],
)
@pytest.mark.parametrize("new_names", [False, True])
def test_logits_equal_the_originals_under_both_generations_of_names(
    tmp_path: Path, options: dict[str, Any], new_names: bool
) -> None:
    original, x = saved(tmp_path, **options), clip()
    if new_names:
        to_new_names(tmp_path)
    converted = convert(tmp_path, ConvertOptions())
    assert not converted.report.dropped
    assert not converted.report.fresh
    with torch.inference_mode():
        torch.testing.assert_close(converted.model(x), logits_of(original, x), rtol=0, atol=1e-5)


def test_the_activation_and_the_epsilon_of_the_config_matter(tmp_path: Path) -> None:
    """The test above would not pass without them: each moves the logits by more than its tolerance."""
    original, x = saved(tmp_path, hidden_act="gelu", layer_norm_eps=1e-2), clip()
    for change in ({"hidden_act": "gelu_fast"}, {"layer_norm_eps": 1e-6}):
        before = json.loads((tmp_path / "config.json").read_text())
        change_config(tmp_path, **change)
        with torch.inference_mode():
            difference = (convert(tmp_path, ConvertOptions()).model(x) - logits_of(original, x)).abs().max()
        assert difference > 1e-4
        change_config(tmp_path, **before)


def test_a_pooler_is_dropped_for_a_reason_and_a_missing_classifier_leaves_the_head_fresh() -> None:
    base = VivitModel(huggingface_model().config, add_pooling_layer=True)
    target = create_model(
        "vivit_ti16x2_joint", num_classes=5, num_frames=4, image_size=(32, 32), embed_dim=16, depth=2, num_heads=2,
        mlp_ratio=2.5,
    )  # fmt: skip
    state, report = from_huggingface(base.state_dict(), target)
    assert set(report.dropped) == {"pooler.dense.weight", "pooler.dense.bias"}
    assert set(report.dropped.values()) == {"the pooler, which the classifier does not read"}
    assert report.fresh == dict.fromkeys(("head.weight", "head.bias"), "the source has no classifier")
    assert state["encoder.cls_token"].equal(base.state_dict()["embeddings.cls_token"].flatten())


def test_a_folder_without_a_classifier_is_no_classifier(tmp_path: Path) -> None:
    VivitModel(huggingface_model().config).save_pretrained(tmp_path)
    assert "has no classifier (architectures ['VivitModel'])" in refusal(tmp_path)


def test_labels_are_those_of_the_config_else_given_else_numbers(tmp_path: Path) -> None:
    saved(tmp_path)
    assert record_of(convert(tmp_path, ConvertOptions())).labels == ("wave", "clap", "jump")
    given = record_of(convert(tmp_path, ConvertOptions(labels=("a", "b", "c"))))
    assert given.labels == ("a", "b", "c")
    assert given.provenance["labels_from"] == "the list of labels given"
    change_config(tmp_path, id2label={str(i): f"LABEL_{i}" for i in range(3)})
    numbers = record_of(convert(tmp_path, ConvertOptions()))
    assert numbers.labels == ("0", "1", "2")
    assert "numbers 0 to 2" in numbers.provenance["labels_from"]


def test_labels_are_ordered_by_number_and_not_as_text(tmp_path: Path) -> None:
    saved(tmp_path, id2label={i: f"class {i}" for i in range(12)}, label2id={f"class {i}": i for i in range(12)})
    change_config(tmp_path, id2label={str(i): f"class {i}" for i in reversed(range(12))})
    assert record_of(convert(tmp_path, ConvertOptions())).labels == tuple(f"class {i}" for i in range(12))


PIXELS: list[tuple[dict[str, Any], tuple[float, float]]] = [
    ({}, (-3, 1)),  # the processor's own defaults, which ViViT was not trained on
    ({"do_normalize": False}, (-1, 1)),
    ({"do_normalize": False, "offset": False, "rescale_factor": 1 / 255}, (0, 1)),
    ({"offset": False, "rescale_factor": 1 / 255}, (-1, 1)),
    ({"do_normalize": False, "offset": True, "rescale_factor": 1 / 255}, (-1, 0)),
    ({"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}, (-7, 3)),
]


@pytest.mark.parametrize(("processor", "span"), PIXELS)
def test_the_files_own_pixel_range_is_kept_and_told_when_it_is_not_the_trained_one(
    tmp_path: Path, processor: dict[str, Any], span: tuple[float, float]
) -> None:
    saved(tmp_path, processor)
    record = record_of(convert(tmp_path, ConvertOptions()))
    p = record.protocol
    assert (-p.mean[0] / p.std[0], (1 - p.mean[0]) / p.std[0]) == pytest.approx(span)
    assert (p.resize_short_side, p.crop_size, p.num_frames) == (40, (32, 32), 4)
    told = any("ViViT was trained on -1 ... 1" in note for note in record.provenance["protocol_notes"])
    assert told == (span != (-1, 1))


@pytest.mark.parametrize("processor", [p for p, _ in PIXELS])
def test_pixels_are_the_processors_on_the_way_in_and_on_the_way_back(tmp_path: Path, processor: dict[str, Any]) -> None:
    """On a frame that needs no resize, so that no two filters are compared."""
    processor = {**processor, "size": {"shortest_edge": 32}}
    saved(tmp_path / "in", processor)
    once = ConvertOptions(protocol={"frame_stride": 1, "num_temporal_views": 1, "num_spatial_crops": 1})
    converted = convert(tmp_path / "in", once)
    write_huggingface(converted.model, record_of(converted), tmp_path / "back")
    frames = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    p = record_of(
        convert(tmp_path / "back", ConvertOptions(protocol={"frame_stride": 1, "num_temporal_views": 1}))
    ).protocol
    ours = normalize(read_views(frames, p).pixels[0], p).transpose(0, 1)  # T C H W
    for folder in ("in", "back"):
        theirs = VivitImageProcessor.from_pretrained(tmp_path / folder)(list(frames), return_tensors="pt")
        torch.testing.assert_close(ours, theirs["pixel_values"][0], rtol=0, atol=2e-6)


def test_the_protocol_of_the_paper_fills_what_the_files_leave_open_and_a_user_overrides_it(tmp_path: Path) -> None:
    saved(tmp_path)
    protocol = record_of(convert(tmp_path, ConvertOptions())).protocol
    assert (protocol.frame_stride, protocol.views_text, protocol.mean) == (2, "4x3", (0.5, 0.5, 0.5))
    other = record_of(convert(tmp_path, ConvertOptions(protocol={"frame_stride": 1, "num_temporal_views": 1}))).protocol
    assert (other.frame_stride, other.views_text) == (1, "1x3")
    assert "did you mean 'frame_stride'" in refusal(tmp_path, ConvertOptions(protocol={"frame_strid": 1}))


def test_the_license_of_the_model_card_is_recorded(tmp_path: Path) -> None:
    saved(tmp_path)
    assert record_of(convert(tmp_path, ConvertOptions())).provenance["license"] == "unknown"
    (tmp_path / "README.md").write_text('---\ntags:\n- vision\nlicense: "mit"\n---\n# ViViT\n')
    assert record_of(convert(tmp_path, ConvertOptions())).provenance["license"] == "mit"


@pytest.mark.parametrize("options", [{}, {"hidden_act": "gelu", "qkv_bias": False, "layer_norm_eps": 1e-2}])
def test_what_goes_back_loads_in_transformers_with_nothing_missing_and_the_same_logits(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    original, x = saved(tmp_path / "in", {"do_normalize": False}, **options), clip()
    converted = convert(tmp_path / "in", ConvertOptions())
    notes = write_huggingface(converted.model, record_of(converted), tmp_path / "out")
    assert "frame_stride 2, 4 frames" in notes[0]
    twin, info = VivitForVideoClassification.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert twin.config.id2label == LABELS
    torch.testing.assert_close(logits_of(twin.eval(), x), logits_of(original, x), rtol=0, atol=1e-5)
    first, second = (load_file(tmp_path / side / "model.safetensors") for side in ("in", "out"))
    assert first.keys() == second.keys()
    assert all(tensor.equal(second[name]) for name, tensor in first.items())
    assert record_of(convert(tmp_path / "out", ConvertOptions())).protocol == record_of(converted).protocol


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("vivit_ti16x2_fe", {}, "Model 1 only"),
        ("vivit_ti16x2_joint", {"global_pool": "avg"}, "no global_pool=avg"),
        ("vivit_ti16x2_joint", {"representation_size": 8}, "no representation_size=8"),
    ],
)
def test_what_huggingface_has_not_is_refused_and_nothing_is_written(
    tmp_path: Path, name: str, fields: dict[str, Any], message: str
) -> None:
    saved(tmp_path / "in")
    record = record_of(convert(tmp_path / "in", ConvertOptions()))
    sizes: dict[str, Any] = {"embed_dim": 16, "depth": 1, "num_heads": 2, "num_frames": 4, "image_size": (32, 32)}
    with pytest.raises(TubeletError, match=message):
        write_huggingface(create_model(name, num_classes=3, **sizes, **fields), record, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("vivit.layernorm.weight"), "encoder.norm.weight needs vivit.layernorm.weight, which"),
        (lambda s: s.update(extra=torch.zeros(2)), "extra (2,) is not used"),
        (
            lambda s: s.update({"vivit.embeddings.position_embeddings": torch.zeros(1, 16, 9)}),
            "encoder.pos_embed.table has shape (9, 16), vivit.embeddings.position_embeddings gives (16, 9)",
        ),
        (lambda s: s["classifier.bias"].fill_(torch.nan), "classifier.bias holds values that are not finite"),
        (
            lambda s: s.update({"classifier.bias": s["classifier.bias"].half()}),
            "classifier.bias is torch.float16 among tensors that are torch.float32",
        ),
    ],
    ids=["missing", "extra", "transposed", "nan", "half"],
)
def test_tensors_that_do_not_fit_are_refused_by_name(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], object], message: str
) -> None:
    saved(tmp_path)
    change_weights(tmp_path, change)
    assert message in refusal(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "timesformer"}, "model_type is 'timesformer'"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'; expected one of gelu_fast"),
        ({"problem_type": "multi_label_classification"}, "exclude each other"),
        ({"hidden_size": "wide"}, "does not describe a ViViT"),
        ({"num_attention_heads": 3}, "not divisible by num_heads 3"),
        ({"id2label": {"0": "a"}}, "has 1 names, the model has 3 logits"),
        ({"id2label": {"0": "a", "1": "a", "2": "b"}}, "has 'a' twice"),
        ({"id2label": ["a", "b", "c"]}, "id2label is no mapping"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    saved(tmp_path)
    change_config(tmp_path, **changes)
    assert message in refusal(tmp_path)


def test_the_models_fields_are_the_files_and_not_the_users(tmp_path: Path) -> None:
    saved(tmp_path)
    assert "--model.depth" in refusal(tmp_path, ConvertOptions(model={"depth": 3}))
    assert "Model 1 only" in refusal(tmp_path, ConvertOptions(model={"name": "vivit_b16x2_fe"}))


def test_load_takes_the_folder_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The same predictions as from the converted checkpoint, and what one should know is told."""
    saved(tmp_path / "in", {})
    caplog.set_level("INFO", logger="tubelet")
    direct = load(tmp_path / "in", "cpu")
    assert "scales pixels to -3 ... 1" in caplog.text
    converted = convert(tmp_path / "in", ConvertOptions())
    save_checkpoint(tmp_path / "out", converted.model, record_of(converted))
    frames = np.random.default_rng(0).integers(0, 256, (12, 48, 40, 3), dtype=np.uint8)
    first, second = direct.predict(frames), load(tmp_path / "out", "cpu").predict(frames)
    assert first == second
    assert set(first.labels) == set(LABELS.values())
    assert direct.record.provenance["path"] == str(tmp_path / "in")
