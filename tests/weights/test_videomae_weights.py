"""VideoMAE's released files and HuggingFace's folders: names, what they are taken for, pixels, licenses, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    VideoMAEConfig,
    VideoMAEForPreTraining,
    VideoMAEForVideoClassification,
    VideoMAEImageProcessor,
)

from tubelet.errors import CheckpointError
from tubelet.inference.predictor import load
from tubelet.models import create_model, model_config
from tubelet.models.videomae.config import VideoMAEDecoderConfig
from tubelet.models.videomae.pretraining import VideoMAEPretraining
from tubelet.models.videomae.recognize import protocol_of
from tubelet.models.videomae.weights import convert, to_official
from tubelet.protocol import Protocol
from tubelet.report.model_card import model_card
from tubelet.weights.checkpoint.checkpoint import load_checkpoint, save_checkpoint
from tubelet.weights.config import InitConfig
from tubelet.weights.convert.parity import measure_parity
from tubelet.weights.convert.sources import SOURCES, record_of
from tubelet.weights.convert.write import write_huggingface
from tubelet.weights.init.initialize import initialize
from tubelet.weights.init.source import read_source
from tubelet.weights.mapping.converter import ConvertOptions
from tubelet.weights.open_checkpoint import open_checkpoint

FIELDS: dict[str, Any] = {"num_classes": 3, "num_frames": 4, "image_size": (16, 16), "tubelet_size": (2, 8, 8)}
FIELDS |= {"embed_dim": 24, "depth": 2, "num_heads": 2}
GIVEN = ConvertOptions(model={"num_frames": 4, "image_size": [16, 16], "num_heads": 2})
LABELS = {0: "wave", 1: "clap", 2: "jump"}
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
huggingface = SOURCES["huggingface"]


def randomized(model: Any) -> Any:
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


def ours(**fields: Any) -> Any:
    return randomized(create_model("videomae_b16", **{**FIELDS, **fields}))


def pretrained() -> VideoMAEPretraining:
    return randomized(VideoMAEPretraining(ours().config, VideoMAEDecoderConfig(embed_dim=12, depth=1, num_heads=2)))


def released(model: nn.Module, path: Path, key: str = "module", **extra: Tensor) -> Path:
    torch.save({key: {**to_official(model), **extra}, "epoch": 99}, path)
    return path


def clip() -> Tensor:
    return torch.randn(2, 3, 4, 16, 16, generator=torch.Generator().manual_seed(1))


# ---- released files


@pytest.mark.parametrize("key", ["module", "model"])
@pytest.mark.parametrize("fields", [{}, {"global_pool": "first", "final_norm": "tokens"}, {"qkv_bias": False}])
def test_a_fine_tuned_file_becomes_a_checkpoint_of_the_same_function(
    tmp_path: Path, key: str, fields: dict[str, Any]
) -> None:
    original = ours(**fields)
    converted = convert(released(original, tmp_path / "x.pth", key), GIVEN)
    assert not converted.report.dropped
    assert not converted.report.fresh
    save_checkpoint(tmp_path / "c", converted.model, record_of(converted))
    loaded, record = load_checkpoint(tmp_path / "c")
    assert torch.equal(loaded(clip()), original(clip()))
    assert (record.license, record.provenance["code_license"]) == ("cc-by-nc-4.0", "cc-by-nc-4.0")
    p = record.protocol
    assert (p.mean, p.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (p.frame_stride, p.views_text, p.averaging) == (4, "5x3", "probs")


def test_weights_of_version_two_do_not_say_what_may_be_done_with_them(tmp_path: Path) -> None:
    original = ours(image_size=(28, 28), tubelet_size=(2, 14, 14), mlp_ratio=48 / 11, embed_dim=22)
    options = ConvertOptions(model={"num_frames": 4, "image_size": [28, 28], "num_heads": 2})
    record = record_of(convert(released(original, tmp_path / "g.pth"), options))
    assert record.license is None
    assert record.provenance["original"] == "OpenGVLab/VideoMAEv2"
    assert record.provenance["code_license"] == "mit"


def test_a_pre_trained_file_becomes_an_encoder_that_a_classifier_starts_from(tmp_path: Path) -> None:
    """Its norm is not used, that behind the mean starts at one and zero, and the head is fresh."""
    original = pretrained()
    converted = convert(released(original, tmp_path / "p.pth", "model"), GIVEN)
    assert all("decoder" in reason for reason in converted.report.dropped.values())
    assert converted.model.tokens(clip()).flatten(1, 3).equal(original.encoder(clip())[0])
    assert record_of(converted).protocol.labels == {}
    save_checkpoint(tmp_path / "c", converted.model, record_of(converted))
    encoder = load(tmp_path / "c", "cpu")
    with pytest.raises(CheckpointError, match="an encoder without classes"):
        encoder.check_classes()
    assert "no classes: an encoder" in model_card(record_of(converted), None, "me/x")
    model = create_model("videomae_b16", **FIELDS)
    source = read_source(InitConfig(source=str(tmp_path / "c")), "videomae_b16")
    account = initialize(
        model, source, InitConfig(source=str(tmp_path / "c")), Protocol(labels={"label": tuple("abc")})
    )
    assert account["license"] == "cc-by-nc-4.0"
    assert account["fresh"] == ["fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias"]
    assert any("dropped: norm" in row["operation"] for row in account["rows"])
    assert model.fc_norm.weight.equal(torch.ones(24))
    assert not model.fc_norm.bias.any()
    for name, tensor in original.encoder.blocks.state_dict().items():
        assert model.encoder.blocks.state_dict()[name].equal(tensor)


def test_another_grid_at_the_start_is_noted(tmp_path: Path) -> None:
    converted = convert(released(ours(), tmp_path / "x.pth"), GIVEN)
    save_checkpoint(tmp_path / "c", converted.model, record_of(converted))
    init = InitConfig(source=str(tmp_path / "c"))
    model = create_model("videomae_b16", **{**FIELDS, "num_frames": 8})
    account = initialize(model, read_source(init, "videomae_b16"), init, Protocol(labels={"label": tuple("abc")}))
    assert any(
        note.startswith("positions: computed for 4x2x2, which the weights were not") for note in account["notes"]
    )


def test_heads_are_the_released_model_s_or_asked_for(tmp_path: Path) -> None:
    small = released(ours(embed_dim=384, num_heads=6, depth=1), tmp_path / "s.pth")
    options = ConvertOptions(model={"num_frames": 4, "image_size": [16, 16]})
    converted = convert(small, options)
    assert converted.model.config.num_heads == 6
    assert any("6 heads, as the released model of width 384" in n for n in converted.provenance["model_notes"])
    with pytest.raises(CheckpointError, match=r"width 24 is none of .* give --model\.num_heads"):
        convert(released(ours(), tmp_path / "x.pth"), options)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("pos_embed", "a learned table of positions"),
        ("blocks.0.gamma_1", "layer scale"),
        ("blocks.0.attn.scale", "cosine attention"),
        ("blocks.0.attn.k_bias", r"attn\.k_bias \(24,\) is not used"),
    ],
)
def test_layers_that_it_has_not_are_refused_by_name(tmp_path: Path, extra: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        convert(released(ours(), tmp_path / "x.pth", **{extra: torch.ones(24)}), GIVEN)
    torch.save({"model": {"stem.weight": torch.ones(3)}}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"no VideoMAE: expected patch_embed\.proj\.weight .* found stem\.weight"):
        convert(tmp_path / "other.pth", GIVEN)


@pytest.mark.parametrize(
    ("num_classes", "expected"),
    [(400, ("dense", 4, "5x3")), (174, ("uniform", None, "2x3")), (101, ("dense", 4, "5x3")), (7, ("dense", 4, "5x3"))],
)
def test_the_protocol_is_that_of_the_data_set(num_classes: int, expected: tuple[Any, ...]) -> None:
    p, notes = protocol_of(model_config("videomae_b16", {"num_classes": num_classes}))
    assert (p.sampling, p.frame_stride, p.views_text) == expected
    assert (p.num_frames, p.resize_short_side, p.crop_size, p.averaging) == (16, 224, (224, 224), "probs")
    assert notes


# ---- HuggingFace


def saved(folder: Path, kind: Any = VideoMAEForVideoClassification, **options: Any) -> Any:
    fields: dict[str, Any] = {"image_size": 16, "patch_size": 8, "num_frames": 4, "tubelet_size": 2, "hidden_size": 24}
    fields |= {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 40, "decoder_hidden_size": 12}
    fields |= {"decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2, "decoder_intermediate_size": 24}
    fields |= {"id2label": LABELS, "label2id": {name: i for i, name in LABELS.items()}}
    model = randomized(kind(VideoMAEConfig(**{**fields, **options})))
    model.save_pretrained(folder)
    return model


def theirs(model: Any) -> Tensor:
    with torch.inference_mode():
        return model(clip().transpose(1, 2)).logits


@pytest.mark.parametrize("options", [{}, {"use_mean_pooling": False}, {"qv_bias": False, "hidden_act": "gelu_new"}])
def test_a_folder_is_read_to_the_same_logits_and_written_back_to_them(tmp_path: Path, options: dict[str, Any]) -> None:
    original = saved(tmp_path / "in", **options)
    model, record = open_checkpoint(tmp_path / "in")
    assert record.labels == tuple(LABELS.values())
    torch.testing.assert_close(model(clip()), theirs(original), atol=1e-5, rtol=1e-5)
    notes = record.provenance["model_notes"]
    assert any("no class token" in note for note in notes) == ("use_mean_pooling" in options)
    write_huggingface(model, record, tmp_path / "out")
    back, loading = VideoMAEForVideoClassification.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    torch.testing.assert_close(theirs(back.eval()), theirs(original), atol=1e-6, rtol=1e-6)


def test_biases_of_both_generations_are_read_and_lost_ones_are_refused(tmp_path: Path) -> None:
    original = saved(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    assert any(name.endswith("q_bias") for name in tensors)
    new = {n.replace("q_bias", "query.bias").replace("v_bias", "value.bias"): t for n, t in tensors.items()}
    save_file(new, file, {"format": "pt"})
    torch.testing.assert_close(open_checkpoint(tmp_path)[0](clip()), theirs(original), atol=1e-5, rtol=1e-5)
    save_file({name: t for name, t in tensors.items() if "q_bias" not in name}, file, {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"q_bias needs .*q_bias, which the source lacks"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("mean_pooling", [False, True])
def test_a_pre_trained_folder_becomes_an_encoder_and_goes_back(tmp_path: Path, mean_pooling: bool) -> None:
    """transformers leaves the encoder's norm out where its config says mean pooling."""
    saved(tmp_path / "in", VideoMAEForPreTraining, use_mean_pooling=mean_pooling)
    converted = huggingface.convert(tmp_path / "in", ConvertOptions())
    assert set(converted.report.fresh) == ({"fc_norm.weight", "fc_norm.bias"} if mean_pooling else set())
    record = record_of(converted)
    assert (record.labels, converted.model.config.num_classes) == ((), 0)
    found = measure_parity(converted, huggingface, tmp_path / "in", None, 1e-4)
    assert found["max_abs_difference"] < 1e-5
    if mean_pooling:
        with pytest.raises(CheckpointError, match="a norm behind the pooling without a classifier"):
            write_huggingface(converted.model, record, tmp_path / "out")
        return
    write_huggingface(converted.model, record, tmp_path / "out")
    again = huggingface.convert(tmp_path / "out", ConvertOptions())
    assert again.model(clip()).equal(converted.model(clip()))


def test_heads_are_those_of_the_config_and_doubtful_ones_are_said(tmp_path: Path) -> None:
    saved(tmp_path, hidden_size=384, num_attention_heads=16, num_hidden_layers=1)
    converted = huggingface.convert(tmp_path, ConvertOptions())
    assert converted.model.config.num_heads == 16
    (note,) = converted.provenance["model_notes"]
    assert "the released model of width 384 has 6" in note


def test_a_processor_s_default_is_not_what_the_weights_were_trained_with(tmp_path: Path) -> None:
    saved(tmp_path / "in")
    sizes = {"size": {"shortest_edge": 20}, "crop_size": {"height": 16, "width": 16}}
    for given, expected, noted in (
        ({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}, (0.485, 0.229), True),
        (IMAGENET, (0.485, 0.229), False),
        ({"image_mean": [0.4] * 3, "image_std": [0.2] * 3}, (0.4, 0.2), False),
    ):
        VideoMAEImageProcessor(**sizes, **given).save_pretrained(tmp_path / "in")
        record = record_of(huggingface.convert(tmp_path / "in", ConvertOptions()))
        assert (record.protocol.mean[0], record.protocol.std[0]) == expected
        assert (record.protocol.resize_short_side, record.protocol.crop_size) == (20, (16, 16))
        assert any("0.5, the default" in note for note in record.provenance["protocol_notes"]) == noted


def test_pixels_that_a_checkpoint_was_trained_with_survive_the_way_there_and_back(tmp_path: Path) -> None:
    saved(tmp_path / "in")
    half = ConvertOptions(protocol={"mean": [0.5] * 3, "std": [0.5] * 3})
    converted = huggingface.convert(tmp_path / "in", half)
    write_huggingface(converted.model, record_of(converted), tmp_path / "out")
    assert record_of(huggingface.convert(tmp_path / "out", ConvertOptions())).protocol.mean == (0.5,) * 3
    assert list(VideoMAEImageProcessor.from_pretrained(tmp_path / "out").image_mean) == [0.5] * 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"final_norm": "tokens"}, "a mean of normalized tokens"),
        ({"other_grid": "interpolated"}, "other_grid=interpolated"),
        ({"remainder": "drop"}, "remainder=drop"),
    ],
)
def test_what_huggingface_has_not_is_refused(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    record = record_of(convert(released(ours(), tmp_path / "x.pth"), GIVEN))
    with pytest.raises(CheckpointError, match=message):
        write_huggingface(ours(**fields), record, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_stays_behind_is_told(tmp_path: Path) -> None:
    converted = convert(released(ours(), tmp_path / "x.pth"), GIVEN)
    notes = write_huggingface(converted.model, record_of(converted), tmp_path / "out")
    assert any("epsilon 1e-05, this model's has 1e-06" in note for note in notes)
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert (config["layer_norm_eps"], config["use_mean_pooling"]) == (1e-6, True)
    assert "license: cc-by-nc-4.0" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
