"""Compiled, a model gives the same gradients under the same names; where nothing can be compiled it says so.

The graphs are captured and differentiated as in a run, but not turned into machine code, which takes a compiler and
minutes: tests/soak/test_compiled_runs.py trains, kills and resumes with it.
"""

from __future__ import annotations

import copy

import pytest
import torch

from support import tiny_model
from tubelet.errors import ConfigError
from tubelet.training.gradient_checkpointing import checkpoint_blocks
from tubelet.training.step import check_compiler, compile_forward

CPU = torch.device("cpu")


def test_gradients_and_names_are_those_of_the_model_itself_under_gradient_checkpointing_too() -> None:
    model, _ = tiny_model()
    clip = torch.randn(2, 3, 4, 16, 16)
    model.train()(clip).square().sum().backward()
    expected = {name: parameter.grad for name, parameter in model.named_parameters()}
    other = copy.deepcopy(model)
    other.zero_grad()
    checkpoint_blocks(other)
    compile_forward(other, CPU, backend="aot_eager")(clip).square().sum().backward()
    assert list(other.state_dict()) == list(model.state_dict())
    for name, parameter in other.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name])


def test_a_machine_that_cannot_compile_is_told_in_one_line() -> None:
    with pytest.raises(
        ConfigError, match=r"training\.compile needs a C\+\+ compiler .* set training\.compile to false"
    ):
        check_compiler(CPU, backend="no_such_backend")
