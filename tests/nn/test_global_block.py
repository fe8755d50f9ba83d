"""The pieces of UniFormerV2's blocks against PyTorch's own layers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tubelet.models.uniformerv2.global_block import CrossAttention, DynamicPositionEncoding, GlobalUniBlock
from tubelet.models.uniformerv2.local_block import LocalMHRA, RelativeAttention


@pytest.mark.parametrize("num_frames", [1, 2, 5])
def test_positions_are_the_three_dimensional_convolution_gradients_included(num_frames: int) -> None:
    dpe = DynamicPositionEncoding(5).double()
    x = torch.randn(2, num_frames, 4, 6, 5, dtype=torch.float64, requires_grad=True)
    weights = torch.randn_like(x)
    reference = dpe.conv(x.movedim(-1, 1)).movedim(1, -1)
    expected = torch.autograd.grad((reference * weights).sum(), [x, *dpe.parameters()])
    torch.testing.assert_close(dpe(x), reference)
    with torch.no_grad():
        torch.testing.assert_close(dpe(x), reference)
    actual = torch.autograd.grad((dpe(x) * weights).sum(), [x, *dpe.parameters()])
    torch.testing.assert_close(actual, expected)


def test_positions_train_in_mixed_precision_and_where_the_tokens_take_no_gradient() -> None:
    dpe, x = DynamicPositionEncoding(8), torch.randn(1, 3, 4, 4, 8, requires_grad=True)
    expected = torch.autograd.grad(dpe(x).square().sum(), [x, *dpe.parameters()])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = dpe(x)
    assert y.dtype == torch.bfloat16
    actual = torch.autograd.grad(y.float().square().sum(), [x, *dpe.parameters()])
    assert {gradient.dtype for gradient in actual} == {torch.float32}
    for ours, full in zip(actual, expected, strict=True):
        assert (ours - full).norm() < 0.02 * full.norm()
    frozen = torch.autograd.grad(dpe(x.detach()).square().sum(), list(dpe.parameters()))
    torch.testing.assert_close(frozen, expected[1:])


def test_local_mhra_is_the_stack_of_convolutions_of_the_original() -> None:
    branch = LocalMHRA(8, 2.0).double()
    for parameter in branch.parameters():
        nn.init.normal_(parameter)
    stack = nn.Sequential(
        nn.BatchNorm3d(8),
        nn.Conv3d(8, 4, 1),
        nn.Conv3d(4, 4, (3, 1, 1), padding=(1, 0, 0), groups=4),
        nn.Conv3d(4, 8, 1),
    ).double()
    state = [*branch.state_dict().values()]
    stack.load_state_dict({name: state[i].view(t.shape) for i, (name, t) in enumerate(stack.state_dict().items())})
    x = torch.randn(2, 5, 6, 8, dtype=torch.float64)  # B T S D
    for mode in (True, False):  # the first pass moves the running statistics that the second one uses
        branch.train(mode)
        stack.train(mode)
        expected = stack(x.unflatten(2, (2, 3)).movedim(-1, 1)).movedim(1, -1).flatten(2, 3)
        torch.testing.assert_close(branch(x), expected)


def test_cross_attention_is_pytorch_s() -> None:
    ours, theirs = CrossAttention(12, 3).double(), nn.MultiheadAttention(12, 3, batch_first=True).double()
    nn.init.normal_(ours.proj.weight)
    nn.init.normal_(theirs.in_proj_bias)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.q.weight, ours.kv.weight]))
        ours.q.bias.copy_(theirs.in_proj_bias[:12])
        ours.kv.bias.copy_(theirs.in_proj_bias[12:])
        theirs.out_proj.load_state_dict(ours.proj.state_dict())
    query, keys = torch.randn(2, 2, 12, dtype=torch.float64), torch.randn(2, 9, 12, dtype=torch.float64)
    valid = torch.rand(2, 9) > 0.3
    expected = theirs(query, keys, keys, key_padding_mask=~valid, need_weights=False)[0]
    torch.testing.assert_close(ours(query, keys, valid), expected)


def test_a_fresh_global_block_gives_back_its_queries_and_leaves_the_tokens_alone() -> None:
    block, tokens, query = GlobalUniBlock(12, 3), torch.randn(2, 4, 7, 12), torch.randn(2, 1, 12)
    before = tokens.clone()
    assert torch.equal(block(query, block.keys(tokens, (2, 3))), query)
    assert torch.equal(tokens, before)


def test_class_tokens_are_keys_without_positions() -> None:
    block, tokens = GlobalUniBlock(12, 3), torch.randn(2, 4, 7, 12)
    keys = block.keys(tokens, (2, 3)).unflatten(1, (4, 7))
    assert torch.equal(keys[:, :, 0], tokens[:, :, 0])
    assert (keys[:, :, 1:] - tokens[:, :, 1:]).abs().amin((0, 1, 3)).gt(0).all()


def test_relative_attention_adds_its_bias_to_the_scores_of_each_head() -> None:
    attention = RelativeAttention(12, 3, (2, 2)).double()
    nn.init.normal_(attention.bias_table)
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    q, k, v = (t.unflatten(-1, (3, 4)).transpose(1, 2) for t in attention.qkv(x).chunk(3, dim=-1))
    scores = q @ k.transpose(-1, -2) / 2 + attention.bias((2, 2))
    expected = attention.proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x, (2, 2)), expected)


def test_relative_bias_depends_on_the_offset_alone_and_on_which_is_the_class_token() -> None:
    attention = RelativeAttention(12, 3, (2, 3))
    nn.init.normal_(attention.bias_table)
    bias = attention.bias((2, 3))  # heads 7 7: class token, then rows of three
    assert torch.equal(bias[:, 1, 2], bias[:, 5, 6])  # one to the right
    assert torch.equal(bias[:, 1, 4], bias[:, 3, 6])  # one down
    assert not torch.equal(bias[:, 1, 2], bias[:, 2, 1])
    special = [bias[:, 0, 1], bias[:, 1, 0], bias[:, 0, 0]]
    assert torch.equal(torch.stack(special), attention.bias_table[-3:])


def test_relative_bias_of_another_grid_is_interpolated_smoothly() -> None:
    attention = RelativeAttention(12, 3, (3, 3))
    with torch.no_grad():
        attention.bias_table.copy_(torch.arange(28.0)[:, None].expand(-1, 3))
    bias = attention.bias((5, 4))
    assert bias.shape == (3, 21, 21)
    table: Tensor = F.interpolate(torch.arange(25.0).view(1, 1, 5, 5), size=(9, 7), mode="bicubic")
    assert bias[0, 1:, 1:].min() == table.min()
    assert bias[0, 1:, 1:].max() == table.max()
    assert bias[0, 0, 0] == 27
