"""Released UniFormerV2 files: official and MMAction2 names, heads of K710, and the protocol that comes along."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tubelet.errors import CheckpointError
from tubelet.models import create_model, list_models, model_config
from tubelet.models.uniformerv2.recognize import model_of
from tubelet.models.uniformerv2.weights import convert, from_official, to_official
from tubelet.weights.checkpoint.checkpoint import load_checkpoint, save_checkpoint
from tubelet.weights.convert.sources import record_of
from tubelet.weights.mapping.converter import ConvertOptions

FIELDS: dict[str, Any] = {
    "num_classes": 12,
    "image_size": (32, 32),
    "embed_dim": 64,
    "depth": 3,
    "num_heads": 1,
    "global_layers": 2,
}


def model(wiring: str = "", **options: Any) -> Any:
    made = create_model(f"uniformerv2_b16{wiring}", **{**FIELDS, **options})
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.1)
    return made.eval()


def released(made: Any, path: Path) -> Path:
    """An official file: flat names behind ``backbone.``."""
    torch.save({f"backbone.{name}": tensor for name, tensor in to_official(made).items()}, path)
    return path


def of_mmaction2(made: Any, path: Path) -> Path:
    """MMAction2 keeps the head's norm in the backbone and its linear layer in ``cls_head``."""
    names = {"transformer.proj.0.": "backbone.transformer.norm.", "transformer.proj.2.": "cls_head.fc_cls."}
    state = {}
    for name, tensor in to_official(made).items():
        start = next((s for s in names if name.startswith(s)), None)
        state[names[start] + name.removeprefix(start) if start else f"backbone.{name}"] = tensor
    torch.save({"meta": {"epoch": 55}, "state_dict": state}, path)
    return path


def clip(num_frames: int = 8) -> Tensor:
    return torch.randn(1, 3, num_frames, 32, 32)


@pytest.mark.parametrize("wiring", ["", "_ssv2"])
@pytest.mark.parametrize("write", [released, of_mmaction2])
def test_a_released_file_gives_the_same_logits_and_its_configuration(wiring: str, write: Any, tmp_path: Path) -> None:
    made = model(wiring)
    converted = convert(write(made, tmp_path / "model.pyth"), ConvertOptions())
    x = clip()
    with torch.inference_mode():
        assert torch.equal(converted.model(x), made(x))
    assert type(converted.model) is type(made)
    for key, value in {**FIELDS, "patch_size": 16, "frozen": False}.items():
        assert getattr(converted.model.config, key) == value, key
    assert not converted.report.dropped
    assert not converted.report.fresh
    save_checkpoint(tmp_path / "checkpoint", converted.model, record_of(converted))
    again, record = load_checkpoint(tmp_path / "checkpoint")
    with torch.inference_mode():
        assert torch.equal(again(x), made(x))
    assert record.protocol.averaging == "probs"
    assert record.labels == tuple(map(str, range(12)))


@pytest.mark.parametrize("name", list_models("uniformerv2_"))
def test_a_released_size_is_called_by_its_name(name: str) -> None:
    with torch.device("meta"):
        source = to_official(create_model(name))
    found, fields, _ = model_of(source, {})
    of_file, of_name = model_config(found, fields), model_config(name)
    assert found == name
    assert of_file == dataclasses.replace(of_name, remainder="drop")  # as the original's convolution does


def test_a_frozen_image_vit_with_a_temporal_stem_converts_and_the_report_says_so(tmp_path: Path) -> None:
    made = model("_ssv2", frozen=True, drop_path_rate=0.0)
    converted = convert(released(made, tmp_path / "model.pyth"), ConvertOptions())
    assert any("keep their weights in training too" in note for note in converted.provenance["model_notes"])
    assert not any(p.requires_grad for p in converted.model.get_submodule("trunk").parameters())


@pytest.mark.parametrize(
    ("wiring", "options"),
    [
        ("", {"frozen": True}),
        ("_ssv2", {"frozen": True, "drop_path_rate": 0.0}),
        ("", {"global_mlp_ratio": 2.5}),
        ("_ssv2", {"num_local": 1, "dw_reduction": 2.0}),
        ("_ssv2", {"local_layers": 0}),
        ("_ssv2", {"temporal_downsample": False}),
        ("_ssv2", {"stem_kernel": 5}),
    ],
)
def test_names_and_shapes_show_the_wiring(wiring: str, options: dict[str, Any], tmp_path: Path) -> None:
    made = model(wiring, **options)
    converted = convert(released(made, tmp_path / "model.pyth"), ConvertOptions())
    for key, value in options.items():
        assert getattr(converted.model.config, key) == value, key
    x = clip()
    with torch.inference_mode():
        assert torch.equal(converted.model(x), made(x))


def test_the_protocol_of_kinetics_and_of_something_something_comes_along(tmp_path: Path) -> None:
    kinetics = record_of(convert(released(model(num_classes=400), tmp_path / "a.pyth"), ConvertOptions()))
    motions = record_of(convert(released(model("_ssv2", num_classes=174), tmp_path / "b.pyth"), ConvertOptions()))
    for protocol in (kinetics.protocol, motions.protocol):
        assert (protocol.sampling, protocol.averaging) == ("sparse", "probs")
        assert (protocol.mean, protocol.std) == ((0.45,) * 3, (0.225,) * 3)
        assert (protocol.resize_short_side, protocol.crop_size) == (32, (32, 32))
    assert (kinetics.protocol.num_frames, kinetics.protocol.views_text, kinetics.protocol.channel_order) == (
        8,
        "4x3",
        "rgb",
    )
    assert (motions.protocol.num_frames, motions.protocol.views_text, motions.protocol.channel_order) == (
        16,
        "1x3",
        "bgr",
    )
    assert any("OpenCV" in note for note in motions.provenance["protocol_notes"])
    assert kinetics.provenance["license"] == "mit"
    # MMAction2 decodes to RGB.
    other = record_of(convert(of_mmaction2(model("_ssv2", num_classes=174), tmp_path / "c.pth"), ConvertOptions()))
    assert other.protocol.channel_order == "rgb"
    assert other.provenance["license"] == "apache-2.0"


@pytest.mark.parametrize(
    ("options", "views"),
    [
        ({"num_frames": 32}, "2x3"),
        ({"num_frames": 16}, "4x3"),
        ({"num_classes": 200}, "10x3"),
        ({"frozen": True}, "3x1"),
    ],
)
def test_views_are_those_of_the_published_table(options: dict[str, Any], views: str, tmp_path: Path) -> None:
    made = model(**options)
    given = {"num_frames": options["num_frames"]} if "num_frames" in options else {}
    record = record_of(convert(released(made, tmp_path / "a.pyth"), ConvertOptions(model=given)))
    assert record.protocol.views_text == views


def test_fields_that_weights_do_not_show_can_be_given_and_are_noted_otherwise(tmp_path: Path) -> None:
    made = model(num_heads=4, global_layers=(0, 2))
    file, x = released(made, tmp_path / "a.pyth"), clip()
    assumed = convert(file, ConvertOptions())
    given = convert(file, ConvertOptions(model={"num_heads": 4, "global_layers": (0, 2), "num_frames": 16}))
    with torch.inference_mode():
        assert torch.equal(given.model(x), made(x))
        assert not torch.equal(assumed.model(x), made(x))
    assert record_of(given).protocol.num_frames == 16
    notes = " ".join(record_of(assumed).provenance["model_notes"])
    assert all(name in notes for name in ("num_frames=8", "num_heads=1", "global_layers"))


def test_the_k400_head_is_the_first_rows_of_k710_and_others_follow_a_map(tmp_path: Path) -> None:
    made = model()
    file, x = released(made, tmp_path / "k710.pyth"), clip()
    (tmp_path / "map.json").write_text(json.dumps([7, 0, 11]), encoding="utf-8")
    with torch.inference_mode():
        logits = made(x)
        first = convert(file, ConvertOptions(model={"head_rows": 5}, labels=("a", "b", "c", "d", "e")))
        torch.testing.assert_close(first.model(x), logits[:, :5])
        mapped = convert(file, ConvertOptions(model={"head_rows": str(tmp_path / "map.json")}))
        torch.testing.assert_close(mapped.model(x), logits[:, [7, 0, 11]])
    assert record_of(first).labels == ("a", "b", "c", "d", "e")
    assert "head:" in " ".join(record_of(mapped).provenance["model_notes"])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (13, "the head has 12 classes; row 12 is not among them"),
        (0, "0 rows"),
        ([1, 1], "2 rows, 1 of them distinct"),
        ("missing.json", "missing.json cannot be read as JSON"),
        ([0.5], "a JSON file with a list of row numbers"),
    ],
)
def test_rows_that_the_head_does_not_have_are_refused(rows: Any, message: str, tmp_path: Path) -> None:
    file = released(model(), tmp_path / "a.pyth")
    with pytest.raises(CheckpointError, match=message):
        convert(file, ConvertOptions(model={"head_rows": rows}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone.conv1.weight": None}, "no weights of a UniFormerV2: conv1.weight is missing"),
        ({"backbone.transformer.dec.1.attn.in_proj_weight": None}, "needs transformer.dec.1.attn.in_proj_weight.q"),
        ({"backbone.proj": torch.ones(3)}, r"proj \(3,\) is not used"),
        ({"backbone.ln_pre.bias": torch.ones(63)}, "trunk.norm_pre.bias has shape"),
        ({"backbone.positional_embedding": torch.ones(6, 64)}, "5 positions of patches; expected .* a square grid"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(change: dict[str, Tensor | None], message: str, tmp_path: Path) -> None:
    state = {f"backbone.{name}": tensor for name, tensor in to_official(model()).items()} | change
    torch.save({name: tensor for name, tensor in state.items() if tensor is not None}, tmp_path / "a.pyth")
    with pytest.raises(CheckpointError, match=message) as refused:
        convert(tmp_path / "a.pyth", ConvertOptions())
    assert str(refused.value).startswith(f"{tmp_path / 'a.pyth'}: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "options", [{"fusion": "parallel"}, {"trunk": {"position": "relative"}}, {"trunk": {"layer_scale": 0.1}}]
)
def test_what_the_original_cannot_hold_is_not_written_in_its_names(options: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="the format cannot hold this model"):
        to_official(model(**options))


def test_several_queries_or_another_fusion_do_not_load_from_an_official_file() -> None:
    source = to_official(model())
    for options in ({"num_queries": 4}, {"fusion": "hierarchical_q"}):
        with pytest.raises(CheckpointError, match=r"fusion\.query has shape"):
            from_official(source, model(**options))
