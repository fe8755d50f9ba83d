"""Names, keywords and the messages for those that do not exist."""

from __future__ import annotations

import pytest
import torch

import tubelet
from tubelet.errors import ConfigError
from tubelet.models import MODELS, create_model, list_models, model_config


@pytest.mark.parametrize("name", MODELS)
def test_every_name_builds(name: str) -> None:
    with torch.device("meta"):
        create_model(name)


@pytest.mark.parametrize("name", list_models("vivit_"))
def test_the_head_of_a_vivit_starts_at_zero(name: str) -> None:
    depths = {"depth": 1, "temporal_depth": 1} if name.endswith("_fe") else {"depth": 1}
    small = create_model(name, image_size=(32, 32) if "16x2" in name else (28, 28), num_frames=2, **depths)
    assert small.get_parameter("head.weight").shape[0] == 400
    assert not small.get_parameter("head.weight").any()
    assert not small.get_parameter("head.bias").any()


def test_any_config_field_is_a_keyword() -> None:
    config = model_config("vivit_b16x2_fe", {"num_classes": 7, "temporal_depth": 2, "image_size": [64, 96]})
    assert (config.num_classes, config.temporal_depth, config.image_size) == (7, 2, (64, 96))
    with torch.device("meta"):
        assert tubelet.create_model("vivit_b16x2_fe", num_classes=7).get_parameter("head.weight").shape == (7, 768)


def test_names_of_one_kind_can_be_listed() -> None:
    assert list_models() == list(MODELS)
    assert list_models("vivit*") == [name for name in MODELS if name.startswith("vivit")]
    assert list_models("*_fe") == [name for name in MODELS if name.endswith("_fe")]
    assert list_models("vtn_r[0-9]?") == ["vtn_r50"]
    assert list_models("b16x2*") == []  # a pattern matches whole names
    assert list_models("_b16x2_") == [f"vivit_b16x2_{kind}" for kind in ("joint", "fe", "fsa", "fdp", "avgpool")]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vivit_b16x2_jiont", {}, "unknown model 'vivit_b16x2_jiont'; did you mean 'vivit_b16x2_joint'?"),
        ("vivit_b16x2_fe", {"temporal_dept": 2}, "'vivit_b16x2_fe.temporal_dept'; did you mean 'temporal_depth'?"),
        ("vivit_b16x2_joint", {"num_clases": 2}, "'vivit_b16x2_joint.num_clases'; did you mean 'num_classes'?"),
        ("vivit_b16x2_joint", {"depth": "12"}, "'vivit_b16x2_joint.depth' must be int, got '12'"),
        ("vivit_b16x2_joint", {"global_pool": "mean"}, "must be one of token, first, avg, max, sum, got 'mean'"),
        ("vivit_b16x2_joint", {"image_size": 224}, "'vivit_b16x2_joint.image_size' must be int, int, got 224"),
    ],
)
def test_a_wrong_name_or_field_is_refused_with_the_nearest(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        create_model(name, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_models_of_one_seed_are_equal() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(create_model("vivit_ti16x2_fe", depth=1, image_size=(32, 32), num_frames=4).state_dict())
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name
