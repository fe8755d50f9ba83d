"""Models in masked pre-training: hidden pixels reach no encoder, all of it learns, and it stays the model's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tubelet.errors import ConfigError
from tubelet.models import create_model
from tubelet.nn.masked.autoencoder import PaintingError
from tubelet.nn.video_model import VideoModel

SIZE: dict[str, Any] = {"num_classes": 0, "num_frames": 4, "image_size": (24, 24), "tubelet_size": (2, 8, 8)}
WIDTH: dict[str, Any] = {"embed_dim": 16, "depth": 2, "num_heads": 2}
MODELS: dict[str, dict[str, Any]] = {
    "videomae_s16": {},
    "vivit_ti16x2_joint": {},
    "vivit_ti16x2_fe": {"temporal_depth": 1},
}
MASKED = torch.tensor([[0, 1, 2, 4, 5, 8, 9, 10, 11, 13, 14, 17], [1, 2, 3, 4, 6, 7, 10, 11, 12, 13, 15, 16]])


def made(name: str, normalize: bool = True, **fields: Any) -> tuple[VideoModel, PaintingError]:
    torch.manual_seed(0)
    model = create_model(name, **SIZE, **WIDTH, **MODELS[name], **fields)
    assert isinstance(model, VideoModel)
    autoencoder = model.masked_autoencoder(8, 1, 2)
    return model, PaintingError(autoencoder, MASKED.shape[1], normalize, (0.5,) * 3, (0.5,) * 3)


def hidden_pixels() -> torch.Tensor:
    tokens = torch.zeros(2, 18).scatter(1, MASKED, 1.0).view(2, 1, 2, 3, 3)
    return tokens.repeat_interleave(2, 2).repeat_interleave(8, 3).repeat_interleave(8, 4).bool()


@pytest.mark.parametrize("name", MODELS)
def test_what_is_hidden_changes_the_target_alone(name: str) -> None:
    _, error = made(name)
    clip, hidden = torch.randn(2, 3, 4, 24, 24), hidden_pixels()
    other = torch.where(hidden, torch.randn_like(clip), clip)
    painted = error.autoencoder(clip, MASKED)
    assert painted.shape == (2, 12, 2 * 8 * 8 * 3)
    assert error.autoencoder(other, MASKED).equal(painted)
    assert not error(other, MASKED).equal(error(clip, MASKED))
    changed = torch.where(hidden, clip, torch.randn_like(clip))
    assert not error.autoencoder(changed, MASKED).equal(painted)


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_of_the_encoder_learns_and_is_the_model_s_own(name: str) -> None:
    model, error = made(name)
    error(torch.randn(2, 3, 4, 24, 24), MASKED).mean().backward()
    without = [key for key, value in error.named_parameters() if value.grad is None or not value.grad.any()]
    assert [key for key in without if not key.endswith("cls_token")] == []
    own = {id(value) for value in error.parameters()}
    assert all(id(value) in own for value in model.parameters())


def test_a_few_steps_of_model_2_paint_better() -> None:
    _, error = made("vivit_ti16x2_fe", normalize=False)
    optimizer = torch.optim.AdamW(error.parameters(), lr=5e-3)
    clip = torch.rand(2, 3, 1, 3, 3).repeat(1, 1, 4, 8, 8)
    losses = []
    for _ in range(20):
        loss = error(clip, MASKED).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


def test_fields_that_masks_know_nothing_of_are_refused() -> None:
    with pytest.raises(ConfigError, match="patch_drop_rate"):
        made("vivit_ti16x2_joint", patch_drop_rate=0.5)
    plain = create_model("vivit_ti16x2_avgpool", **SIZE, **WIDTH)
    assert isinstance(plain, VideoModel)
    with pytest.raises(ConfigError, match="has no masked pre-training"):
        plain.masked_autoencoder(8, 1, 2)
