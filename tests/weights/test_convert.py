"""Every source tensor is used or dropped for a reason, every target tensor is filled, or nothing is mapped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tubelet.errors import CheckpointError
from tubelet.models import create_model
from tubelet.models.vivit.weights import from_scenic, to_scenic
from tubelet.weights.mapping.rules import TRANSPOSED, Operation, Rule, map_back, map_weights, stacked

RULES = [
    Rule("{i}.weight", ("layer{i}/kernel",), TRANSPOSED),
    Rule("{i}.bias", ("layer{i}/q/bias", "layer{i}/k/bias"), stacked(2)),
]


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 6))


def source() -> dict[str, Tensor]:
    return {
        "layer0/kernel": torch.arange(12.0).reshape(3, 4),
        "layer0/q/bias": torch.zeros(2),
        "layer0/k/bias": torch.ones(2),
        "layer1/kernel": torch.randn(4, 6),
        "layer1/q/bias": torch.randn(3),
        "layer1/k/bias": torch.randn(3),
    }


def refusal(weights: Mapping[str, Tensor], **options: Any) -> str:
    with pytest.raises(CheckpointError) as refused:
        map_weights(weights, model(), RULES, **options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_rules_with_a_number_fill_every_layer_and_the_report_says_from_what() -> None:
    weights, target = source(), model()
    state, report = map_weights(weights, target, RULES)
    assert state["0.weight"].equal(weights["layer0/kernel"].T)
    assert state["0.bias"].equal(torch.tensor([0.0, 0.0, 1.0, 1.0]))
    assert report.filled[3].target == "1.bias"
    assert report.filled[3].sources == ("layer1/q/bias", "layer1/k/bias")
    assert report.dropped == report.fresh == {}
    assert str(report) == "4 tensors filled, 0 fresh, 0 of the source dropped"
    target.load_state_dict(state)


def test_a_missing_source_is_named_with_the_tensor_that_needs_it() -> None:
    weights = source()
    del weights["layer1/k/bias"]
    said = refusal(weights)
    assert "1.bias needs layer1/k/bias, which the source lacks" in said
    assert "layer1/q/bias (3,) is not used" not in said


def test_a_source_that_is_left_over_is_named_with_its_shape() -> None:
    assert refusal({**source(), "layer2/kernel": torch.zeros(1, 2)}).endswith("layer2/kernel (1, 2) is not used")


def test_a_source_is_dropped_only_for_a_reason_which_the_report_gives() -> None:
    weights = {**source(), "optimizer/count": torch.zeros(()), "optimizer/mu/x": torch.zeros(3), "head": torch.zeros(1)}
    reasons = {r"optimizer/.*": "training state"}
    assert refusal(weights, dropped=reasons).endswith("head (1,) is not used")
    _, report = map_weights(weights, model(), RULES, {**reasons, "head": "another head"})
    assert report.dropped == {
        "optimizer/count": "training state",
        "optimizer/mu/x": "training state",
        "head": "another head",
    }


def test_a_pattern_drops_whole_names_only() -> None:
    assert "head2 (1,) is not used" in refusal({**source(), "head2": torch.zeros(1)}, dropped={"head": "another head"})


def test_a_misshapen_source_is_named_with_both_shapes() -> None:
    said = refusal({**source(), "layer0/kernel": torch.zeros(4, 3)})
    assert said == "weights do not fit Sequential: 0.weight has shape (4, 3), layer0/kernel gives (3, 4)"


def test_sources_that_do_not_even_fit_each_other_are_named() -> None:
    said = refusal({**source(), "layer0/q/bias": torch.zeros(2, 2)})
    assert said.endswith("0.bias (4,) cannot be made from layer0/q/bias (2, 2), layer0/k/bias (2,)")


def test_a_target_without_a_rule_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"0\.bias has no source; 1\.bias has no source; .* is not used"):
        map_weights(source(), model(), RULES[:1])


def test_four_problems_are_named_and_the_rest_counted() -> None:
    said = refusal({f"x{i}": torch.zeros(1) for i in range(7)})
    assert said.count(";") == 3
    assert said.endswith("(and 7 more)")  # four targets without sources, seven sources left over, four named


def scenic_average_pool(width: int = 8, heads: int = 2, classes: int = 5) -> dict[str, Tensor]:
    """Scenic's parameters of an average-pool model with one block, patches of 2 x 4 x 4 and 2 x 2 patches."""
    block = "SpatialTransformer/encoderblock_0"
    attention, mlp = f"{block}/MultiHeadDotProductAttention_0", f"{block}/MlpBlock_0"
    shapes: dict[str, tuple[int, ...]] = {
        "embedding/kernel": (2, 4, 4, 3, width),
        "embedding/bias": (width,),
        "cls_SpatialTransformer": (1, 1, width),
        "SpatialTransformer/posembed_input/pos_embedding": (1, 5, width),
        **{f"{attention}/{n}/kernel": (width, heads, width // heads) for n in ("query", "key", "value")},
        **{f"{attention}/{n}/bias": (heads, width // heads) for n in ("query", "key", "value")},
        f"{attention}/out/kernel": (heads, width // heads, width),
        f"{attention}/out/bias": (width,),
        f"{mlp}/Dense_0/kernel": (width, 4 * width),
        f"{mlp}/Dense_0/bias": (4 * width,),
        f"{mlp}/Dense_1/kernel": (4 * width, width),
        f"{mlp}/Dense_1/bias": (width,),
        "output_projection/kernel": (width, classes),
        "output_projection/bias": (classes,),
    }
    for norm in (f"{block}/LayerNorm_0", f"{block}/LayerNorm_1", "SpatialTransformer/encoder_norm"):
        shapes |= {f"{norm}/scale": (width,), f"{norm}/bias": (width,)}
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def average_pool() -> nn.Module:
    return create_model(
        "vivit_ti16x2_avgpool",
        num_classes=5,
        num_frames=4,
        image_size=(8, 8),
        tubelet_size=(2, 4, 4),
        embed_dim=8,
        depth=1,
        num_heads=2,
    )


def test_scenic_weights_fill_a_model_by_name() -> None:
    weights, target = scenic_average_pool(), average_pool()
    state, report = from_scenic(weights, target)
    target.load_state_dict(state)
    assert {name for tensor in report.filled for name in tensor.sources} == set(weights)
    assert state["head.weight"].equal(weights["output_projection/kernel"].T)
    assert state["tokenizer.proj.weight"][3, 1, 0, 2, 3] == weights["embedding/kernel"][0, 2, 3, 1, 3]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("SpatialTransformer/encoderblock_0/MultiHeadDotProductAttention_0/key/kernel", (4, 2, 4)),
        ("SpatialTransformer/encoderblock_0/MultiHeadDotProductAttention_0/out/kernel", (8,)),
        ("SpatialTransformer/posembed_input/pos_embedding", (1, 6, 8)),
        ("output_projection/kernel", (5, 8)),
    ],
)
def test_a_misshapen_scenic_weight_is_named(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(CheckpointError) as refused:
        from_scenic({**scenic_average_pool(), name: torch.zeros(shape)}, average_pool())
    assert name in str(refused.value)


def test_a_scenic_block_too_many_is_left_over() -> None:
    extra = "SpatialTransformer/encoderblock_1/LayerNorm_0/scale"
    with pytest.raises(CheckpointError, match=r"encoderblock_1/LayerNorm_0/scale \(8,\) is not used"):
        from_scenic({**scenic_average_pool(), extra: torch.ones(8)}, average_pool())


def test_the_way_back_gives_the_source_to_the_bit() -> None:
    weights, target = scenic_average_pool(), average_pool()
    state, _ = from_scenic(weights, target)
    target.load_state_dict(state)
    back = to_scenic(target)
    assert back.keys() == weights.keys()
    for name, tensor in weights.items():
        assert back[name].equal(tensor), name


def test_an_operation_without_a_way_back_is_refused_by_name() -> None:
    rules = [Rule("{i}.weight", ("{i}/sum",), Operation("summed", lambda x: x)), RULES[1]]
    with pytest.raises(CheckpointError, match=r"cannot hold this model: 0\.weight has no place there; 1\.weight has"):
        map_back(model().state_dict(), rules)


def test_what_stays_fresh_keeps_its_value_and_is_listed_with_the_reason() -> None:
    target, weights = model(), {k: v for k, v in source().items() if k.startswith("layer0")}
    state, report = map_weights(weights, target, RULES, fresh={r"1\..*": "new for 6 classes"})
    assert state["1.weight"].equal(target.get_parameter("1.weight"))
    assert report.fresh == {"1.weight": "new for 6 classes", "1.bias": "new for 6 classes"}
    assert [f.target for f in report.filled] == ["0.weight", "0.bias"]


def test_the_report_has_a_row_per_rule_and_reason() -> None:
    weights = {**source(), "step": torch.zeros(())}
    _, report = map_weights(weights, model(), RULES, dropped={"step": "training state"})
    assert report.rows() == [
        {"target": "{i}.weight", "sources": ["layer{i}/kernel"], "operation": "transposed", "count": 2},
        {"target": "{i}.bias", "sources": ["layer{i}/q/bias", "layer{i}/k/bias"], "operation": "2 stacked", "count": 2},
        {"target": "", "sources": ["step"], "operation": "dropped: training state", "count": 1},
    ]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_values_that_are_not_finite_are_refused_by_name(value: float) -> None:
    weights = source()
    weights["layer1/k/bias"][1] = value
    assert refusal(weights).endswith("layer1/k/bias holds values that are not finite")


def test_one_tensor_of_another_number_format_is_refused_by_name() -> None:
    weights = source()
    weights["layer1/k/bias"] = weights["layer1/k/bias"].half()
    assert refusal(weights).endswith("layer1/k/bias is torch.float16 among tensors that are torch.float32")


def test_a_source_in_half_precision_is_converted_and_the_report_says_so() -> None:
    state, report = map_weights({name: t.half() for name, t in source().items()}, model(), RULES)
    assert {t.dtype for t in state.values()} == {torch.float32}
    assert report.notes == ("torch.float16 converted to torch.float32",)
