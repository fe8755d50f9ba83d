"""VideoMAE V2's second mask: which tokens a decoder paints, whose error counts, and what it costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tubelet.errors import ConfigError, TubeletError
from tubelet.evaluation.cost import count_macs
from tubelet.models import create_model
from tubelet.nn.masked.autoencoder import PaintingError
from tubelet.nn.masked.masking import draw_decoded, draw_mask, num_decoded, pixel_targets
from tubelet.recipe import load_recipe
from tubelet.runs.masked_pretraining.pictures import painted_clips
from tubelet.tasks.masked_pretraining.config import MaskedPretrainingConfig

GRID = (4, 6, 8)
SIZE: dict[str, Any] = {"num_classes": 0, "num_frames": 4, "image_size": (32, 32), "tubelet_size": (1, 8, 8)}
WIDTH: dict[str, Any] = {"embed_dim": 16, "depth": 2, "num_heads": 2}


def cells(seed: int, ratio: float = 0.5) -> np.ndarray:
    """Rows of a cell's four patches, by time index and cell."""
    mask = draw_decoded(GRID, ratio, np.random.default_rng(seed)).reshape(4, 3, 2, 4, 2)
    return mask.transpose(0, 1, 3, 2, 4).reshape(4, 12, 4)


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_every_cell_leaves_out_its_share_and_moves_on_by_one_patch_with_time(ratio: float) -> None:
    seen = set()
    for seed in range(20):
        of = cells(seed, ratio)
        assert (of == of[:, :1]).all()
        assert (of.sum(-1) == round(4 * (1 - ratio))).all()
        assert all((np.roll(of[t], -1, axis=-1) == of[t + 1]).all() for t in range(3))
        assert (of.sum(0) == round(4 * (1 - ratio))).all()  # over 4 times each patch as often as any other
        assert int(of.sum()) == num_decoded(GRID, ratio)
        seen.add(of.tobytes())
    assert len(seen) == 4


def test_what_no_cells_fill_is_refused() -> None:
    with pytest.raises(TubeletError, match="do not fill a frame of 7 x 8 patches"):
        draw_decoded((4, 7, 8), 0.5, np.random.default_rng(0))
    with pytest.raises(ConfigError, match=r"0, 0\.25, 0\.5 or 0\.75, got 0\.6"):
        MaskedPretrainingConfig(decoder_mask_ratio=0.6)


def drawn(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Masked tokens and painted ones of two clips of 4 x 4 x 4 tokens."""
    rng = np.random.default_rng(seed)
    hidden = [draw_mask("tube", (4, 4, 4), 0.75, rng).nonzero()[0] for _ in range(2)]
    decoded = [draw_decoded((4, 4, 4), 0.5, rng).nonzero()[0] for _ in range(2)]
    return torch.from_numpy(np.stack(hidden)), torch.from_numpy(np.stack(decoded))


def error_of(masked: torch.Tensor, decoded: torch.Tensor | None) -> PaintingError:
    torch.manual_seed(0)
    model: Any = create_model("videomae_s16", **SIZE, **WIDTH)
    kept = 0 if decoded is None else decoded.shape[1]
    autoencoder = model.masked_autoencoder(8, 1, 2)
    return PaintingError(autoencoder, masked.shape[1], True, (0.5,) * 3, (0.5,) * 3, kept).eval()


def test_the_error_is_of_tokens_that_are_painted_and_were_not_seen() -> None:
    masked, decoded = drawn()
    error, clip = error_of(masked, decoded), torch.randn(2, 3, 4, 32, 32)
    with torch.no_grad():
        found = error(clip, torch.cat([masked, decoded], dim=1))
        painted = error.autoencoder(clip, masked, decoded)
    expected = []
    for i in range(2):
        both = [q for q, token in enumerate(decoded[i].tolist()) if token in masked[i].tolist()]
        assert len(both) == masked.shape[1] // 2 < decoded.shape[1]
        targets = pixel_targets(clip[i : i + 1], decoded[i : i + 1, both], (1, 8, 8), True, (0.5,) * 3, (0.5,) * 3)
        expected.append((painted[i, both] - targets[0]).square().mean())
    torch.testing.assert_close(found[:, 0], torch.stack(expected))


def test_the_decoder_sees_the_visible_tokens_and_those_it_paints_alone() -> None:
    masked, decoded = drawn()
    error, clip = error_of(masked, decoded), torch.randn(2, 3, 4, 32, 32)
    lengths: list[int] = []
    error.autoencoder.decoder.blocks[0].register_forward_hook(lambda *args: lengths.append(args[2].shape[1]))
    error(clip, torch.cat([masked, decoded], dim=1))
    assert lengths == [64 - masked.shape[1] + decoded.shape[1]]
    plain = error_of(masked, None)
    assert count_macs(error, (3, 4, 32, 32)) < 0.9 * count_macs(plain, (3, 4, 32, 32))
    assert error.state_dict().keys() == plain.state_dict().keys()
    torch.testing.assert_close(error.autoencoder(clip, masked), plain.autoencoder(clip, masked))


def test_a_picture_leaves_what_is_neither_seen_nor_painted_gray_and_what_is_seen_as_it_is() -> None:
    masked, decoded = drawn()
    clip = torch.rand(2, 3, 4, 32, 32) - 0.5
    rows = painted_clips(error_of(masked, decoded), clip, torch.cat([masked, decoded], dim=1))
    tubelets = rows.reshape(2, 4, 3, 4, 8, 4, 8, 3)  # clip, time, row of the picture, places and pixels
    for token in range(64):
        t, y, x = token // 16, token // 4 % 4, token % 4
        shown, hidden, painted = tubelets[0, t, :, y, :, x]
        if token not in masked[0].tolist():
            assert (painted == shown).all()
        elif token not in decoded[0].tolist():
            assert (painted == hidden).all()
            assert (painted == 128).all()
        else:
            assert (painted != hidden).any()


def test_a_recipe_s_run_draws_both_masks_and_goes_on_where_it_stood(tmp_path: Path) -> None:
    from support import motion_videos
    from tubelet.runs.run import run_recipe
    from tubelet.session.session import Session

    data = motion_videos(tmp_path / "videos")
    small = {"model.embed_dim": 24, "model.depth": 1, "model.num_heads": 2, "protocol.num_frames": 4}
    small |= {"protocol.resize_short_side": 32, "protocol.crop_size": [32, 32], "training.num_epochs": 1}
    small |= {
        "training.batch_size": 8,
        "data.num_workers": 0,
        "data.source": str(data),
        "model.tubelet_size": [2, 8, 8],
    }
    small |= {"masked_pretraining.decoder_mask_ratio": 0.5, "masked_pretraining.mask_ratio": 0.75}
    fields = [(key, json.dumps(value)) for key, value in small.items()]
    result = run_recipe(load_recipe("pretraining/small", fields), tmp_path / "run", Session())
    metrics = json.loads((tmp_path / "run" / "evaluation" / "val" / "metrics.json").read_text())
    assert not result.state.failed
    assert metrics["loss"] > 0
    assert abs(metrics["constant_baseline"] - 1) < 0.2  # of normalized targets, over what is painted alone
