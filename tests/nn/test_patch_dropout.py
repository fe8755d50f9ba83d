"""Patch dropout: whole places leave, drawn per video and only in training, and every ViViT trains on what is left."""

from __future__ import annotations

import pytest
import torch

from tubelet.errors import ConfigError
from tubelet.models import create_model
from tubelet.nn.patch_dropout import PatchDropout

GRID = (3, 4, 4)
TINY = {
    "tubelet_size": [2, 8, 8],
    "num_frames": 4,
    "image_size": [32, 32],
    "embed_dim": 16,
    "depth": 2,
    "num_heads": 2,
    "num_classes": 3,
}
MODELS = [f"vivit_ti16x2_{kind}" for kind in ("joint", "fe", "fsa", "fdp", "avgpool")]


def places_of(num_prefix: int) -> torch.Tensor:
    """Tokens [1, N, 2] that say their time index and place; those of the prefix say -1."""
    times, places = torch.meshgrid(torch.arange(3), torch.arange(16), indexing="ij")
    tokens = torch.stack([times.flatten(), places.flatten()], dim=-1).float()
    return torch.cat([torch.full((num_prefix, 2), -1.0), tokens])[None]


@pytest.mark.parametrize("num_prefix", [0, 1])
def test_a_place_is_there_at_all_time_indices_or_at_none_and_order_is_kept(num_prefix: int) -> None:
    dropped = PatchDropout(0.25, num_prefix)(places_of(num_prefix).expand(64, -1, -1), GRID)
    assert dropped.shape == (64, num_prefix + 3 * 12, 2)
    assert (dropped[:, :num_prefix] == -1).all()
    kept = dropped[:, num_prefix:].unflatten(1, (3, 12))
    assert (kept[..., 0] == torch.arange(3)[:, None]).all()
    assert (kept[:, :1, :, 1] == kept[..., 1]).all()  # the same places at every time index
    assert (kept[..., 1].diff(dim=-1) > 0).all()
    assert len({tuple(row) for row in kept[:, 0, :, 1].tolist()}) > 32  # videos draw for themselves
    assert set(kept[..., 1].flatten().tolist()) == set(range(16))


def test_axes_between_share_the_places_of_their_video() -> None:
    x = places_of(1)[:, :17].expand(8, 5, -1, -1)  # B T 1+S D, as the spatial encoder of Model 2 has them
    kept = PatchDropout(0.5, num_prefix=1)(x, (1, 4, 4))
    assert kept.shape == (8, 5, 9, 2)
    assert torch.equal(kept, kept[:, :1].expand_as(kept))
    assert not torch.equal(kept[0], kept[1])


def test_one_place_always_stays_and_evaluation_sees_all() -> None:
    x = places_of(0)
    assert PatchDropout(0.99, 0)(x, GRID).shape == (1, 3, 2)
    assert PatchDropout(0.99, 0).eval()(x, GRID) is x


@pytest.mark.parametrize("name", MODELS)
def test_every_vivit_computes_fewer_tokens_in_training_and_all_in_evaluation(name: str) -> None:
    model, plain = create_model(name, patch_drop_rate=0.5, **TINY), create_model(name, **TINY)
    plain.load_state_dict(model.state_dict())
    rows: list[int] = []
    mlp = next(module for path, module in model.named_modules() if path.endswith("blocks.0.mlp.fc1"))
    mlp.register_forward_hook(lambda _, args, __: rows.append(args[0].shape[:-1].numel()))
    clip = torch.randn(2, 3, 4, 32, 32)
    model.train()(clip).sum().backward()
    model.eval()
    assert torch.equal(model(clip), plain.eval()(clip))
    prefix = {"joint": 2, "fe": 4, "avgpool": 4}.get(name.rpartition("_")[2], 0)
    assert [number - prefix for number in rows] == [2 * 2 * 8, 2 * 2 * 16]


def test_pools_that_need_every_token_refuse_it() -> None:
    for pool in ("first", "sum"):
        with pytest.raises(ConfigError, match="leaves out tokens"):
            create_model("vivit_ti16x2_joint", patch_drop_rate=0.5, global_pool=pool)
    with pytest.raises(ConfigError, match="patch_drop_rate must lie in"):
        create_model("vivit_ti16x2_joint", patch_drop_rate=1.0)
