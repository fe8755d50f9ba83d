"""Scenic's checkpoints say by names and shapes what model they are; what they do not say is asked for, not guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from support import assert_one_line
from tubelet.errors import CheckpointError
from tubelet.models import create_model
from tubelet.models.vivit.recognize import model_of, protocol_of
from tubelet.models.vivit.weights import convert, to_scenic
from tubelet.weights.convert.sources import record_of
from tubelet.weights.mapping.converter import ConvertOptions
from tubelet.weights.mapping.read import read_weights

FLAX = Path(__file__).parents[1] / "fixtures" / "flax"
SMALL: dict[str, Any] = {
    **{"num_classes": 7, "num_frames": 4, "image_size": [32, 48], "tubelet_size": [2, 16, 16]},
    **{"embed_dim": 16, "depth": 2, "num_heads": 4, "mlp_ratio": 2.5},
}
# What names and shapes cannot say of each model, beside frames and height of a grid that is no square.
ASKED: dict[str, dict[str, Any]] = {
    "vivit_ti16x2_joint": {},
    "vivit_ti16x2_fe": {"temporal_depth": 3, "temporal_num_heads": 2, "temporal_mlp_ratio": 1.5},
    "vivit_ti16x2_avgpool": {},
    "vivit_ti16x2_fsa": {"attention_order": "time_space"},
    "vivit_ti16x2_fdp": {},
}


def random_model(name: str, **fields: Any) -> nn.Module:
    model = create_model(name, **{**SMALL, **ASKED[name], **fields})
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


def write_npz(path: Path, model: nn.Module) -> Path:
    with path.open("wb") as stream:
        np.savez(stream, **{name: tensor.numpy() for name, tensor in to_scenic(model).items()})
    return path


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize("fields", [{}, {"representation_size": 8}], ids=["", "pre_logits"])
def test_every_model_comes_back_from_its_parameters(tmp_path: Path, name: str, fields: dict[str, Any]) -> None:
    """Model, heads, depths and widths of both encoders are inferred; the logits are equal to the bit."""
    model = random_model(name, **fields)
    given = {"num_frames": 4, "image_size": [32, 48], "name": name} | (ASKED[name] if name.endswith("fsa") else {})
    converted = convert(write_npz(tmp_path / "w.npz", model), ConvertOptions(model=given))
    assert type(converted.model) is type(model)
    clip = torch.randn(2, 3, 4, 32, 48)
    with torch.inference_mode():
        assert converted.model(clip).equal(model(clip))
    back = to_scenic(converted.model)
    assert all(tensor.equal(back[n]) for n, tensor in to_scenic(model).items())


@pytest.mark.parametrize("name", ["optimizer_target", "params_in_chunks", "params_bfloat16"])
def test_a_file_of_flax_is_converted_without_being_told_anything(name: str) -> None:
    converted = convert(FLAX / name, ConvertOptions())
    record = record_of(converted)
    fields = record.model_config
    assert (fields["num_frames"], fields["image_size"], fields["tubelet_size"]) == (4, [12, 12], [2, 4, 4])
    assert (fields["depth"], fields["num_heads"], fields["mlp_ratio"], fields["temporal_depth"]) == (1, 2, 2.0, 1)
    assert (record.provenance["source"], record.provenance["license"]) == ("scenic", "apache-2.0")
    assert record.labels == ("0", "1", "2", "3", "4")
    kernel = read_weights(FLAX / name).tensors["output_projection/kernel"]
    assert converted.model.get_parameter("head.weight").equal(kernel.float().T)
    assert ("torch.bfloat16 converted to torch.float32" in converted.report.notes) == name.endswith("16")


def published(name: str, num_classes: int, **fields: Any) -> dict[str, torch.Tensor]:
    """Scenic's parameters at real size, without values."""
    with torch.device("meta"):
        return to_scenic(create_model(name, num_classes=num_classes, **fields))


@pytest.mark.parametrize(
    ("weights", "given", "name", "expected"),
    [
        (("vivit_b16x2_joint", 400), {}, "vivit_b16x2_joint", {"num_frames": 32, "image_size": [224, 224]}),
        (("vivit_l16x2_fe", 600), {}, "vivit_l16x2_fe", {"num_frames": 32, "num_heads": 16, "temporal_depth": 4}),
        (("vivit_b16x2_avgpool", 400), {}, "vivit_b16x2_avgpool", {"num_frames": 32, "global_pool": "token"}),
        (("vivit_h14x2_joint", 400), {}, "vivit_h14x2_joint", {"tubelet_size": [2, 14, 14], "depth": 32}),
        (
            ("vivit_b16x2_fdp", 400),
            {"name": "vivit_b16x2_fdp"},
            "vivit_b16x2_fdp",
            {"global_pool": "avg", "image_size": [224, 224]},
        ),
    ],
)
def test_published_sizes_are_recognized_by_name(
    weights: tuple[str, int], given: dict[str, Any], name: str, expected: dict[str, Any]
) -> None:
    found, fields, _ = model_of(published(*weights), given)
    assert found == name
    assert {key: fields[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("num_classes", "size", "stride", "resize", "said"),
    [
        (400, 224, 2, 256, "Kinetics-400"),
        (600, 224, 2, 256, "Kinetics-600"),
        (397, 224, 1, 256, "Epic-Kitchens-100"),
        (174, 256, 1, 288, "SSv2"),
        (10, 224, 2, 256, "none of scenic's data sets"),
    ],
)
def test_the_protocol_is_the_one_of_the_data_that_the_classes_tell(
    num_classes: int, size: int, stride: int, resize: int, said: str
) -> None:
    weights = published("vivit_l16x2_fe", num_classes, image_size=(size, size))
    protocol, notes = protocol_of(model_of(weights, {})[1])
    assert (protocol.num_frames, protocol.frame_stride, protocol.views_text) == (32, stride, "4x3")
    assert (protocol.resize_short_side, protocol.crop_size) == (resize, (size, size))
    assert (protocol.mean, protocol.std) == ((0.5,) * 3, (0.5,) * 3)
    assert said in notes[0]


def test_epic_kitchens_has_300_nouns_and_then_97_verbs(tmp_path: Path) -> None:
    model = random_model("vivit_ti16x2_fe", num_classes=397)
    given = {"num_frames": 4, "image_size": [32, 48], "name": "vivit_ti16x2_fe"}
    file = write_npz(tmp_path / "w.npz", model)
    numbered = record_of(convert(file, ConvertOptions(model=given)))
    assert [(head, len(names), names[-1]) for head, names in numbered.protocol.labels.items()] == [
        ("noun", 300, "299"),
        ("verb", 97, "96"),
    ]
    assert any("300 nouns and 97 verbs" in note for note in numbered.provenance["model_notes"])
    # The same word may be a noun and a verb.
    names = {"noun": ("water", *map(str, range(299))), "verb": ("water", *map(str, range(96)))}
    assert record_of(convert(file, ConvertOptions(model=given, labels=names))).protocol.labels == names
    flat = tuple(f"class {i}" for i in range(397))
    assert record_of(convert(file, ConvertOptions(model=given, labels=flat))).protocol.labels == {"label": flat}
    with pytest.raises(CheckpointError) as caught:
        convert(file, ConvertOptions(model=given, labels={**names, "verb": ("water",)}))
    assert_one_line(caught, "have 301 names (noun 300, verb 1), the model has 397 logits")
    with pytest.raises(CheckpointError, match="'water' twice"):
        convert(file, ConvertOptions(model=given, labels={**names, "verb": ("water",) * 97}))


def refusal(weights: dict[str, torch.Tensor], given: dict[str, Any]) -> str:
    with pytest.raises(CheckpointError) as refused:
        model_of(weights, given)
    assert_one_line(refused)
    return str(refused.value)


def test_what_names_and_shapes_leave_open_is_asked_for() -> None:
    assert "--model.attention_order" in refusal(published("vivit_b16x2_fsa", 400), {})
    said = refusal(published("vivit_b16x2_fdp", 400), {})
    assert "vivit_b16x2_joint (Model 1) or vivit_b16x2_fdp (Model 4)" in said
    assert "--model.num_frames" in refusal(to_scenic(random_model("vivit_ti16x2_joint")), {})
    sampled = to_scenic(random_model("vivit_ti16x2_joint", tubelet_size=[1, 16, 16], num_sampled_frames=2))
    assert "--model.num_sampled_frames" in refusal(sampled, {"image_size": [32, 48]})
    found = model_of(sampled, {"image_size": [32, 48], "num_sampled_frames": 2, "num_frames": 4})[1]
    assert (found["num_sampled_frames"], found["tubelet_size"]) == (2, [1, 16, 16])


def test_what_is_taken_for_granted_is_said() -> None:
    _, _, notes = model_of(published("vivit_b16x2_fdp", 400), {"name": "vivit_b16x2_fdp"})
    assert any("the mean over tokens, scenic's default" in note for note in notes)
    assert any("num_frames 32 as in every published model" in note for note in notes)


def test_weights_of_something_else_are_refused() -> None:
    assert "expected embedding/kernel, found a, ..." in refusal({"a": torch.zeros(1)}, {})
    weights = published("vivit_ti16x2_fe", 5)
    weights["embedding/kernel"] = torch.zeros(3)
    assert "not those of a ViViT of scenic" in refusal(weights, {})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("embedding/bias", None, "tokenizer.proj.bias needs embedding/bias, which the source lacks"),
        ("extra/kernel", torch.zeros(2), r"extra/kernel \(2,\) is not used"),
        ("output_projection/bias", torch.full((7,), torch.nan), "output_projection/bias holds values that are not"),
        ("output_projection/bias", torch.zeros(7, dtype=torch.float16), "is torch.float16 among tensors that are"),
        ("pre_logits/kernel", torch.zeros(9, 16), "pre_logits.0.weight"),
    ],
)
def test_a_damaged_parameter_is_refused_by_name(
    tmp_path: Path, name: str, value: torch.Tensor | None, message: str
) -> None:
    weights = to_scenic(random_model("vivit_ti16x2_fe", image_size=[32, 32]))
    weights = {n: t for n, t in weights.items() if n != name} | ({} if value is None else {name: value})
    with (tmp_path / "w.npz").open("wb") as stream:
        np.savez(stream, **{n: t.numpy() for n, t in weights.items()})
    with pytest.raises(CheckpointError, match=message) as refused:
        convert(tmp_path / "w.npz", ConvertOptions())
    assert_one_line(refused, str(tmp_path / "w.npz"))
