"""HuggingFace's ViViT, with the weights of our Model 1, computes the same logits."""

from __future__ import annotations

import pytest
import torch
from huggingface_vivit import huggingface_twin

from tiny_vivit import clips, tiny


@pytest.mark.parametrize("options", [{}, {"tubelet_size": (4, 2, 4)}])
def test_logits_equal_huggingfaces(options: dict[str, tuple[int, int, int]]) -> None:
    model = tiny("joint", **options)
    for parameter in model.parameters():  # biases and norms included, which start at 0 and 1
        torch.nn.init.normal_(parameter, std=0.2)
    twin = huggingface_twin(model)
    clip = clips(2)
    with torch.inference_mode():
        ours, theirs = model(clip), twin(clip.transpose(1, 2)).logits
    assert ours.abs().max() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
