"""QuickGELU and the MLP around it: one function by both paths, and adapters are seen on both."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tubelet.models.uniformerv2.quick_gelu import QuickGeluMlp, quick_gelu


def test_it_is_the_formula_and_so_is_its_gradient() -> None:
    x = torch.linspace(-30, 30, 401, dtype=torch.float64, requires_grad=True)
    formula = x * torch.sigmoid(1.702 * x)
    (expected,) = torch.autograd.grad(formula.sum(), x)
    (actual,) = torch.autograd.grad(quick_gelu(x).sum(), x)
    torch.testing.assert_close(quick_gelu(x), formula)
    torch.testing.assert_close(actual, expected)


def test_the_path_without_gradients_computes_the_same_and_leaves_its_input_alone() -> None:
    mlp, x = QuickGeluMlp(6, 24).double(), torch.randn(2, 3, 5, 6, dtype=torch.float64)
    before = x.clone()
    expected = mlp.fc2(mlp.fc1(x) * torch.sigmoid(1.702 * mlp.fc1(x)))
    with torch.inference_mode():
        torch.testing.assert_close(mlp(x), expected)
    torch.testing.assert_close(mlp(x), expected)
    assert torch.equal(x, before)


def test_gradients_of_the_mlp_are_those_of_its_formula_for_whatever_is_trained() -> None:
    mlp, x = QuickGeluMlp(6, 24).double(), torch.randn(2, 5, 6, dtype=torch.float64, requires_grad=True)
    wide = mlp.fc1(x)
    result, formula = mlp(x), mlp.fc2(wide * torch.sigmoid(1.702 * wide))
    torch.testing.assert_close(result, formula)
    weights = torch.randn_like(formula)
    for wanted in ([x, *mlp.parameters()], [mlp.fc2.weight], [mlp.fc1.bias, x]):
        expected = torch.autograd.grad((formula * weights).sum(), wanted, retain_graph=True)
        for _ in range(2):  # a second pass over the same graph gives the same
            actual = torch.autograd.grad((result * weights).sum(), wanted, retain_graph=True)
            torch.testing.assert_close(actual, expected)


def test_frozen_layers_get_no_gradient_and_dropout_acts_in_training_alone() -> None:
    mlp, x = QuickGeluMlp(6, 24, drop_rate=0.5), torch.randn(5, 6)
    mlp.fc1.requires_grad_(False)
    mlp.eval()(x).sum().backward()
    assert mlp.fc1.weight.grad is None
    assert mlp.fc2.weight.grad is not None
    assert torch.equal(mlp(x), mlp(x))
    assert not torch.equal(mlp.train()(x), mlp(x))


def test_a_layer_with_an_adapter_around_it_is_called_on_both_paths() -> None:
    class Adapted(nn.Module):
        def __init__(self, base: nn.Linear) -> None:
            super().__init__()
            self.base = base
            self.weight, self.bias = base.weight, base.bias

        def forward(self, x: Tensor) -> Tensor:
            return self.base(x) + 1.0

    plain = QuickGeluMlp(6, 24)
    for name in ("fc1", "fc2"):
        adapted = QuickGeluMlp(6, 24)
        adapted.load_state_dict(plain.state_dict())
        setattr(adapted, name, Adapted(getattr(adapted, name)))
        x = torch.randn(4, 6)
        with torch.no_grad():
            without_gradients = adapted(x)
            assert (without_gradients - plain(x)).abs().max() > 1e-3
        torch.testing.assert_close(adapted(x), without_gradients)
