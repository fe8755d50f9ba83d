"""Multiply-adds against formulas worked out by hand, for models on the meta device and with weights."""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from tubelet.evaluation.cost import ClipShape, count_macs, count_parameters, measure_latency, peak_memory_bytes
from tubelet.models import create_model

D, HEADS = 8, 2
CLIP: ClipShape = (3, 4, 8, 8)  # 2 x 2 x 2 tubelets of (2, 4, 4)


class OneAttention(nn.Module):
    """A tubelet convolution, one attention layer and a head: small enough to count on paper."""

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer = nn.Conv3d(3, D, (2, 4, 4), stride=(2, 4, 4))
        self.qkv = nn.Linear(D, 3 * D)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(D, 5)
        self.scale: Tensor
        self.register_buffer("scale", torch.ones(()))

    def forward(self, clip: Tensor) -> Tensor:
        tokens = self.tokenizer(clip).flatten(2).transpose(1, 2)  # [B, N, D]
        q, k, v = self.qkv(tokens).reshape(*tokens.shape[:2], 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        attended = scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        logits: Tensor = self.head(self.drop(attended * self.scale).mean(dim=1))
        return logits


TOKENS = 8
BY_HAND = (
    TOKENS * D * (3 * 2 * 4 * 4)  # tokenizer
    + TOKENS * D * 3 * D  # query, key, value
    + 2 * TOKENS * TOKENS * D  # scores, and the weighted sum of values
    + D * 5  # head of one pooled token
)


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_macs_are_those_counted_by_hand(device: str) -> None:
    with torch.device(device):
        model = OneAttention()
    assert count_macs(model, CLIP) == BY_HAND


def test_counting_leaves_the_model_as_it_was() -> None:
    model = OneAttention()
    model.drop.eval()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    count_macs(model, CLIP)
    assert model.training
    assert not model.drop.training
    for name, tensor in model.state_dict().items():
        assert tensor.device.type == "cpu"
        assert torch.equal(tensor, before[name])


def test_macs_of_a_large_model_need_no_memory() -> None:
    before = peak_memory_bytes(torch.device("cpu"))
    with torch.device("meta"):
        model = create_model("vivit_h16x2_joint")  # 630 million parameters: 2.5 GB if they were held
    assert count_macs(model, (3, 32, 224, 224)) > 10**12
    after = peak_memory_bytes(torch.device("cpu"))
    assert before is not None
    assert after is not None
    assert after - before < 5 * 10**8


def test_shared_parameters_count_once_and_buffers_not_at_all() -> None:
    model = OneAttention()
    expected = (96 * D + D) + (D * 3 * D + 3 * D) + (D * 5 + 5)
    assert count_parameters(model) == expected
    assert count_parameters(nn.ModuleList([model, model])) == expected


def test_latency_summarizes_the_repetitions_after_the_warmup() -> None:
    calls = []
    model = OneAttention()
    model.register_forward_pre_hook(lambda module, args: calls.append((module.training, torch.is_grad_enabled())))
    latency = measure_latency(model, torch.zeros(1, *CLIP), repetitions=3, warmup=2)
    assert latency.repetitions == 3
    assert 0 < latency.fastest_seconds <= latency.median_seconds <= latency.slowest_seconds
    assert calls == [(False, False)] * 5
    with pytest.raises(ValueError, match="at least 1"):
        measure_latency(model, torch.zeros(1, *CLIP), repetitions=0)


def test_peak_memory_is_in_bytes() -> None:
    held = torch.ones(25_000_000)  # 4 bytes each
    peak = peak_memory_bytes(torch.device("cpu"))
    assert peak is not None
    assert held.nbytes < peak < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_peak_memory_is_not_made_up_where_nobody_keeps_it() -> None:
    assert peak_memory_bytes(torch.device("mps")) is None
