"""V-JEPA 2's released files and HuggingFace's folders: which encoder, which probe, heads and levels, refusals."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import VJEPA2Config as HuggingFaceConfig
from transformers import VJEPA2ForVideoClassification, VJEPA2Model

from tubelet.config import to_dict
from tubelet.errors import CheckpointError, ConfigError
from tubelet.inference.predictor import load
from tubelet.models import create_model, model_config
from tubelet.models.vjepa2.config import VJEPA2PredictorConfig
from tubelet.models.vjepa2.predictor import VJEPA2Pretraining
from tubelet.models.vjepa2.recognize import levels_of, model_of, protocol_of
from tubelet.models.vjepa2.weights import convert, to_official
from tubelet.protocol import Protocol
from tubelet.weights.checkpoint.checkpoint import Record, load_checkpoint, save_checkpoint
from tubelet.weights.config import InitConfig
from tubelet.weights.convert.parity import measure_parity
from tubelet.weights.convert.sources import SOURCES, record_of
from tubelet.weights.convert.write import write_huggingface
from tubelet.weights.init.initialize import initialize
from tubelet.weights.init.source import read_source
from tubelet.weights.mapping.converter import ConvertOptions
from tubelet.weights.open_checkpoint import open_checkpoint

FIELDS: dict[str, Any] = {"num_classes": 3, "num_frames": 4, "image_size": (16, 16), "tubelet_size": (2, 8, 8)}
FIELDS |= {"embed_dim": 36, "depth": 3, "num_heads": 3, "pooler_depth": 2, "pooler_num_heads": 2}
GIVEN: dict[str, Any] = {"num_frames": 4, "image_size": [16, 16], "num_heads": 3}
PROBE = ConvertOptions(model={**GIVEN, "pooler_num_heads": 2})
LABELS = {0: "wave", 1: "clap", 2: "jump"}
huggingface = SOURCES["huggingface"]


def randomized(model: Any, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def ours(seed: int = 0, **fields: Any) -> Any:
    return randomized(create_model("vjepa2_l16_256", **{**FIELDS, **fields}), seed)


def part(model: Any, name: str, prefix: str) -> dict[str, Tensor]:
    """One part of the official parameters, with what training puts before the names."""
    tensors = to_official(model).items()
    return {f"{prefix}{n.removeprefix(f'{name}.')}": t for n, t in tensors if n.startswith(f"{name}.")}


def encoder_file(path: Path, averaged: Any, raw: Any) -> Path:
    prefix = "module.backbone."
    predictor = randomized(VJEPA2Pretraining(raw.config, VJEPA2PredictorConfig(embed_dim=12, depth=1, num_heads=2)))
    content = {
        "encoder": {**part(raw, "encoder", prefix), f"{prefix}pos_embed": torch.zeros(1, 8, 36)},
        "target_encoder": part(averaged, "encoder", prefix),
        "predictor": part(predictor, "predictor", prefix),
        "epoch": 3,
    }
    torch.save(content, path)
    return path


def probe_file(path: Path, model: Any, count: int = 1) -> Path:
    torch.save({"classifiers": [part(model, "classifier", "module.")] * count, "epoch": 20}, path)
    return path


def clip() -> Tensor:
    return torch.randn(2, 3, 4, 16, 16, generator=torch.Generator().manual_seed(1))


# ---- released files


@pytest.mark.parametrize(
    ("which", "taken"), [(None, "averaged"), ("ema", "averaged"), ("encoder", "raw"), ("model", "raw")]
)
def test_the_averaged_encoder_is_taken_unless_the_other_is_asked_for(tmp_path: Path, which: Any, taken: str) -> None:
    models = {"averaged": ours(1, num_classes=0), "raw": ours(2, num_classes=0)}
    file = encoder_file(tmp_path / "vitx.pt", **models)
    converted = convert(file, ConvertOptions(model=GIVEN, which=which))
    assert converted.model(clip()).equal(models[taken](clip()))
    assert any(f"{taken} weights taken" in note and "takes them" in note for note in converted.report.notes)
    reasons = set(converted.report.dropped.values())
    assert any("predictor" in reason for reason in reasons)
    assert any("beside" in reason for reason in reasons)
    record = record_of(converted)
    assert (record.labels, record.license, record.provenance["code_license"]) == ((), None, "mit")
    assert (record.protocol.target_fps, record.protocol.resize_short_side) == (4.0, 18)


def test_an_encoder_that_is_not_there_is_not_replaced_by_the_other(tmp_path: Path) -> None:
    torch.save({"encoder": part(ours(), "encoder", "module.backbone.")}, tmp_path / "x.pt")
    assert convert(tmp_path / "x.pt", ConvertOptions(model=GIVEN)).model is not None
    with pytest.raises(CheckpointError, match="holds no target_encoder, which which=ema asks for; it has encoder"):
        convert(tmp_path / "x.pt", ConvertOptions(model=GIVEN, which="ema"))


def test_which_encoder_means_nothing_to_other_files(tmp_path: Path) -> None:
    torch.save({"model": {"blocks.0.weight": torch.ones(2)}}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="which=encoder is for files that hold an encoder beside its average"):
        SOURCES["videomae"].convert(tmp_path / "x.pth", ConvertOptions(which="encoder"))


def test_a_probe_and_its_encoder_in_one_folder_become_a_classifier(tmp_path: Path) -> None:
    original = ours()
    encoder_file(tmp_path / "encoder.pt", original, ours(2))
    probe_file(tmp_path / "probe.pt", original)
    converted = convert(tmp_path, PROBE)
    assert not converted.report.fresh
    save_checkpoint(tmp_path / "c", converted.model, record_of(converted))
    loaded, _ = load_checkpoint(tmp_path / "c")
    assert loaded(clip()).equal(original(clip()))


def test_what_is_no_pair_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds a probe without its encoder; put both files into one folder"):
        convert(probe_file(tmp_path / "probe.pt", ours()), PROBE)
    probe_file(tmp_path / "again.pt", ours())
    with pytest.raises(CheckpointError, match="two files hold a part called classifier"):
        convert(tmp_path, PROBE)
    with pytest.raises(CheckpointError, match="'classifiers' holds 20 probes"):
        convert(probe_file(tmp_path / "twenty.pt", ours(), 20), PROBE)


def test_a_file_of_version_2_1_maps_strictly_and_is_said_to_be_unproven(tmp_path: Path) -> None:
    original = randomized(create_model("vjepa2_1_b16_384", **{**FIELDS, "num_classes": 0, "norm_layers": (0, 2)}))
    torch.save({"ema_encoder": part(original, "encoder", "module.backbone.")}, tmp_path / "x.pt")
    converted = convert(tmp_path / "x.pt", ConvertOptions(model={**GIVEN, "norm_layers": [0, 2]}))
    assert not converted.report.dropped
    assert converted.model(clip()).equal(original(clip()))
    assert any("unproven" in note for note in converted.provenance["model_notes"])
    with pytest.raises(CheckpointError, match=r"HuggingFace has V-JEPA 2, no VJEPA21"):
        write_huggingface(converted.model, record_of(converted), tmp_path / "out")


def test_heads_are_the_released_model_s_or_asked_for(tmp_path: Path) -> None:
    file = encoder_file(tmp_path / "x.pt", ours(), ours())
    with pytest.raises(CheckpointError, match=r"width 36 is none of .* give --model\.num_heads"):
        convert(file, ConvertOptions())
    for width, heads in ((1024, 16), (1280, 16), (1408, 22)):
        _, fields, notes = model_of(giant_shapes(width), {})
        assert fields["num_heads"] == heads
        assert any(f"{heads} heads" in note for note in notes)


def giant_shapes(width: int, num_classes: int = 0) -> dict[str, Tensor]:
    with torch.device("meta"):
        source = {
            "encoder.patch_embed.proj.weight": torch.empty(width, 3, 2, 16, 16),
            "encoder.blocks.39.mlp.fc1.weight": torch.empty(4 * width, width),
            "encoder.blocks.0.mlp.fc1.weight": torch.empty(4 * width, width),
        }
        if num_classes:
            source["classifier.linear.weight"] = torch.empty(num_classes, width)
            source["classifier.pooler.blocks.2.norm1.weight"] = torch.empty(width)
    return source


@pytest.mark.parametrize(
    ("width", "num_classes", "levels", "clips"),
    [
        (1024, 174, (), (2, 16, 4, 256)),
        (1408, 174, (), (2, 64, 2, 384)),
        (1024, 400, (), (8, 16, 4, 256)),
        (1024, 48, (17, 19, 21, 23), (4, 32, 2, 256)),
        (1408, 48, (24, 29, 34, 39), (4, 32, 2, 384)),
    ],
)
def test_probes_are_read_as_they_were_trained_and_tested(
    width: int, num_classes: int, levels: tuple[int, ...], clips: tuple[Any, ...]
) -> None:
    name, fields, notes = model_of(giant_shapes(width, num_classes), {})
    assert any("segments of" in note for note in notes)
    config = model_config(name, fields)
    assert (config.out_layers, config.pooler_num_heads, config.pooler_depth) == (levels, 16, 4)
    p, notes = protocol_of(config)
    assert (p.num_segments, p.num_frames // p.num_segments, p.frame_stride, p.crop_size[0]) == clips
    assert (p.sampling, p.views_text, p.averaging) == ("windows", "1x3", "probs")
    assert (p.resize_short_side, p.mean, p.std) == (p.crop_size[0], (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (config.num_segments, config.num_frames) == (p.num_segments, p.num_frames)
    assert any("pooled at once" in note for note in notes)


def test_segments_may_be_views_where_that_is_asked_for() -> None:
    name, fields, _ = model_of(giant_shapes(1024, 174), {"num_segments": 1})
    p, notes = protocol_of(model_config(name, fields))
    assert (p.sampling, p.num_frames, p.views_text, p.num_segments) == ("dense", 16, "2x3", 1)
    assert any("segments at once; here each is a view" in note for note in notes)


def test_a_checkpoint_predicts_with_the_segments_and_pixels_of_its_probe(tmp_path: Path) -> None:
    model = ours(num_frames=8, num_segments=2)
    protocol = Protocol(
        num_frames=8,
        sampling="windows",
        num_segments=2,
        frame_stride=2,
        resize_short_side=16,
        crop_size=(16, 16),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        num_temporal_views=1,
        num_spatial_crops=3,
        averaging="probs",
        labels={"label": ("wave", "clap", "jump")},
    )
    fields = to_dict(model.config)
    save_checkpoint(tmp_path, model, Record(model_name="vjepa2_l16_256", model_config=fields, protocol=protocol))
    frames = np.random.default_rng(0).integers(0, 255, (60, 16, 20, 3), np.uint8)
    found = load(tmp_path).predict(frames)
    windows = [(0, 2, 5, 7), (30, 32, 35, 37)]  # 4 frames spread over 8, from the start of each half
    probs = torch.zeros(3)
    for left in (0, 2, 4):
        crop = torch.from_numpy(frames[:, :, left : left + 16]).permute(3, 0, 1, 2) / 255
        x = (crop - torch.tensor(protocol.mean)[:, None, None, None]) / torch.tensor(protocol.std)[:, None, None, None]
        tokens = torch.cat([model.encoder(x[None, :, list(window)])[0] for window in windows], dim=1)
        probs += model.head(model.pooler(tokens))[0].softmax(-1).detach() / 3
    expected = dict(zip(("wave", "clap", "jump"), probs.tolist(), strict=True))
    assert dict(zip(found.labels, found.probs, strict=True)) == pytest.approx(expected, abs=1e-5)
    four = dataclasses.replace(protocol, num_segments=4)
    with pytest.raises(ConfigError, match="takes 4 segments of a video, the model pools 2"):
        load(tmp_path).with_protocol(four).predict(frames)


def test_a_probe_starts_fresh_on_an_encoder_and_comes_along_from_a_probe(tmp_path: Path) -> None:
    for name, model in (("encoder", ours(num_classes=0)), ("probe", ours())):
        converted = convert_of(tmp_path, model)
        save_checkpoint(tmp_path / name, converted.model, record_of(converted))
        init = InitConfig(source=str(tmp_path / name))
        new = create_model("vjepa2_l16_256", **FIELDS)
        account = initialize(new, read_source(init, "vjepa2_l16_256"), init, Protocol(labels={"label": tuple("abc")}))
        assert new.encoder.state_dict()["norm.weight"].equal(model.encoder.norm.weight)
        assert any(n.startswith("pooler.") for n in account["fresh"]) == (name == "encoder")
        assert {"head.weight", "head.bias"} <= set(account["fresh"])


def convert_of(folder: Path, model: Any) -> Any:
    torch.save(to_official(model), folder / "x.pt")  # the official names with their part in front
    has_probe = model.config.num_classes
    return convert(folder / "x.pt", PROBE if has_probe else ConvertOptions(model=GIVEN))


# ---- HuggingFace


def saved(folder: Path, kind: Any = VJEPA2ForVideoClassification, **options: Any) -> Any:
    fields: dict[str, Any] = {"patch_size": 8, "crop_size": 16, "frames_per_clip": 4, "hidden_size": 36}
    fields |= {"num_attention_heads": 3, "num_hidden_layers": 2, "mlp_ratio": 2.0, "num_pooler_layers": 1}
    fields |= {"pred_hidden_size": 12, "pred_num_attention_heads": 1, "pred_num_hidden_layers": 1}
    fields |= {"id2label": LABELS, "label2id": {name: i for i, name in LABELS.items()}}
    model = randomized(kind(HuggingFaceConfig(**{**fields, **options})))
    model.save_pretrained(folder)
    return model


def theirs(model: Any, x: Tensor) -> Tensor:
    with torch.inference_mode():
        return model(x.transpose(1, 2)).logits


def test_a_folder_is_read_to_the_same_logits_and_written_back_to_them(tmp_path: Path) -> None:
    original = saved(tmp_path / "in")
    model, record = open_checkpoint(tmp_path / "in")
    assert record.labels == tuple(LABELS.values())
    torch.testing.assert_close(model(clip()), theirs(original, clip()), atol=1e-5, rtol=1e-5)
    image = clip()[:, :, :1]
    torch.testing.assert_close(model(image), theirs(original, image), atol=1e-5, rtol=1e-5)
    notes = write_huggingface(model, record, tmp_path / "out")
    back, loading = VJEPA2ForVideoClassification.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert all("predictor" in name for name in loading["missing_keys"])
    assert any("predictor" in note for note in notes)
    assert not loading["unexpected_keys"]
    torch.testing.assert_close(theirs(back.eval(), clip()), theirs(original, clip()), atol=1e-6, rtol=1e-6)


def test_a_folder_without_a_probe_becomes_an_encoder_and_goes_back(tmp_path: Path) -> None:
    saved(tmp_path / "in", VJEPA2Model)
    converted = huggingface.convert(tmp_path / "in", ConvertOptions())
    assert (converted.model.config.num_classes, record_of(converted).labels) == (0, ())
    assert measure_parity(converted, huggingface, tmp_path / "in", None, 1e-4)["max_abs_difference"] < 1e-5
    write_huggingface(converted.model, record_of(converted), tmp_path / "out")
    again = huggingface.convert(tmp_path / "out", ConvertOptions())
    assert again.model(clip()).equal(converted.model(clip()))


def test_another_size_is_right_here_where_huggingface_takes_the_grid_of_its_config(tmp_path: Path) -> None:
    original, made_for_it = saved(tmp_path), saved(tmp_path / "32", crop_size=32)
    x = torch.randn(1, 3, 4, 32, 32)
    model, _ = open_checkpoint(tmp_path)
    torch.testing.assert_close(model(x), theirs(made_for_it, x), atol=1e-5, rtol=1e-5)
    assert (theirs(original, x) - theirs(made_for_it, x)).abs().max() > 1e-3


def test_a_giant_s_probe_has_the_16_heads_that_it_was_trained_with(tmp_path: Path) -> None:
    saved(tmp_path, hidden_size=176, num_attention_heads=22)
    converted = huggingface.convert(tmp_path, ConvertOptions())
    assert (converted.model.config.num_heads, converted.model.config.pooler_num_heads) == (22, 16)
    assert any("16 heads in the probe" in note for note in converted.provenance["model_notes"])
    found = measure_parity(converted, huggingface, tmp_path, None, 1e-4)
    assert found["max_abs_difference"] < 1e-5 * max(1.0, found["max_abs_logit"])
    assert "its probe with 16 heads" in found["against"]
    with pytest.raises(CheckpointError, match="no probe of 16 heads on an encoder of 22"):
        write_huggingface(converted.model, record_of(converted), tmp_path / "out")
    own = huggingface.convert(tmp_path, ConvertOptions(model={"pooler_num_heads": 22}))
    assert not torch.allclose(own.model(clip()), converted.model(clip()), atol=1e-3)
    with pytest.raises(ConfigError, match=r"--model\.depth: a HuggingFace folder says itself"):
        huggingface.convert(tmp_path, ConvertOptions(model={"depth": 3}))


def test_a_probe_of_diving48_reads_the_levels_that_it_was_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a tiny width, whose levels are set here, since those of the released models need 24 blocks."""
    assert levels_of(48, 1024) == (17, 19, 21, 23)
    monkeypatch.setattr("tubelet.models.vjepa2.recognize._LEVELS", {96: (0, 1)})
    labels = {i: str(i) for i in range(48)}
    saved(tmp_path, hidden_size=96, num_attention_heads=16, id2label=labels, label2id={v: k for k, v in labels.items()})
    converted = huggingface.convert(tmp_path, ConvertOptions())
    assert converted.model.config.out_layers == (0, 1)
    found = measure_parity(converted, huggingface, tmp_path, None, 1e-4)
    assert "on trained levels" in found["against"]
    with pytest.raises(CheckpointError, match="reads the levels 0, 1: it reads the last"):
        write_huggingface(converted.model, record_of(converted), tmp_path / "out")
    last = huggingface.convert(tmp_path, ConvertOptions(model={"out_layers": []}))
    assert last.model.config.out_layers == ()


def test_a_released_probe_pools_the_segments_that_it_was_trained_with_where_transformers_pools_one(
    tmp_path: Path,
) -> None:
    labels = {i: str(i) for i in range(174)}
    saved(tmp_path, hidden_size=96, num_attention_heads=16, id2label=labels, label2id={v: k for k, v in labels.items()})
    converted = huggingface.convert(tmp_path, ConvertOptions())
    assert (converted.model.config.num_segments, converted.protocol.num_segments) == (2, 2)
    found = measure_parity(converted, huggingface, tmp_path, None, 1e-4)
    assert found["max_abs_difference"] < 1e-5 * max(1.0, found["max_abs_logit"])
    assert "its probe on 2 segments" in found["against"]
    with pytest.raises(CheckpointError, match="pools 2 segments at once"):
        write_huggingface(converted.model, record_of(converted), tmp_path / "out")
    alone = huggingface.convert(tmp_path, ConvertOptions(model={"num_segments": 1}))
    assert (alone.model.config.num_frames, alone.protocol.views_text, alone.protocol.num_frames) == (4, "2x3", 4)
    write_huggingface(alone.model, record_of(alone), tmp_path / "out")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pooler_num_heads": 3, "num_segments": 2}, "pools 2 segments at once"),
        ({"pooler_num_heads": 3, "image_size": (16, 24)}, "image_size of 16x24"),
        ({}, "no probe of 2 heads on an encoder of 3"),
    ],
)
def test_what_huggingface_has_not_is_refused(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    record = record_of(convert_of(tmp_path, ours()))
    with pytest.raises(CheckpointError, match=message):
        write_huggingface(ours(**fields), record, tmp_path / "out")
    assert not (tmp_path / "out").exists()
