"""The peers of benchmarks/families.py compute the same function as ours, so that their speeds can be compared."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from huggingface_timesformer import timesformer_twin
from plain_uniformerv2 import plain_twin
from torch import nn

from tubelet.models import create_model
from tubelet.models.uniformerv2.weights import from_official

SMALL: dict[str, Any] = {"embed_dim": 24, "depth": 3, "num_heads": 4, "image_size": [32, 32], "num_classes": 5}


def made(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    model = create_model(name, **{**SMALL, **options})
    for parameter in model.parameters():  # biases and branches that start at zero included
        nn.init.normal_(parameter, std=0.2)
    return model.eval()


@pytest.mark.parametrize("wiring", ["", "_ssv2"])
def test_uniformerv2_as_its_original_computes_it_has_our_logits_and_gradients(wiring: str) -> None:
    model = made(f"uniformerv2_ti16{wiring}", num_frames=4, global_layers=2, drop_rate=0.0, global_drop_rate=0.0)
    twin = plain_twin(model)
    clip = torch.randn(2, 3, 4, 32, 32)
    for each in (model, twin):
        F.cross_entropy(each(clip), torch.tensor([1, 3])).backward()
    torch.testing.assert_close(model(clip), twin(clip), rtol=1e-4, atol=1e-4)
    gradients = {name: parameter.grad for name, parameter in twin.named_parameters() if parameter.grad is not None}
    theirs, _ = from_official({**twin.state_dict(), **gradients}, model)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        scale = parameter.grad.abs().max().item()
        torch.testing.assert_close(parameter.grad, theirs[name], rtol=1e-3, atol=1e-4 * scale)


def test_huggingfaces_timesformer_has_our_logits() -> None:
    model = made("timesformer_ti16_divided", num_frames=3)
    twin = timesformer_twin(model)
    clip = torch.randn(2, 3, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(model(clip), twin(clip.transpose(1, 2)).logits, rtol=1e-4, atol=1e-4)
