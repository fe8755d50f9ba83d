"""End to end, chunked and from stored vectors: the same scores from every model that has a per-frame stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from support import PROTOCOL, tiny_model
from tubelet.data.clips.normalize import normalize
from tubelet.errors import ConfigError
from tubelet.inference import feature_slices as features_module
from tubelet.inference.view_averaging import predict_views
from tubelet.models import create_model
from tubelet.models.stages import frame_features
from vtn_recipe import RECIPE

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {"num_classes": 8, "num_frames": 8, "image_size": (16, 16), "patch_size": 8, "embed_dim": 24}


def vtn() -> nn.Module:
    fields = {key: value for key, value in RECIPE["model"].items() if key != "name"}
    model = create_model(RECIPE["model"]["name"], **fields, num_classes=8, image_size=(16, 16))
    nn.init.normal_(model.get_parameter("temporal_encoder.pos_embed.table"))  # a wrong frame number must show
    return model


MODELS: dict[str, Callable[[], nn.Module]] = {
    "vtn": vtn,
    "vivit_fe": lambda: tiny_model(num_frames=8)[0],
    "timesformer_space": lambda: create_model("timesformer_ti16_space", **SMALL, depth=1, num_heads=2),
    "uniformerv2": lambda: create_model("uniformerv2_b16", **SMALL, depth=2, num_heads=2, global_layers=1),
    "videoprism": lambda: create_model("videoprism_b18", **SMALL, depth=1, temporal_depth=1, num_heads=2),
}


def made(kind: str) -> nn.Module:
    """In evaluation mode; nothing that starts at zero stays so."""
    torch.manual_seed(0)
    model = MODELS[kind]()
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.3)
    return model.eval()


def views() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    clips = torch.randint(0, 256, (2, 3, 3, 8, 16, 16), dtype=torch.uint8, generator=generator)
    return clips, torch.randint(0, 9, (2, 3, 8), generator=generator).cumsum(-1)


@pytest.mark.parametrize("frames_at_once", [1, 20, 1000])
@pytest.mark.parametrize("kind", MODELS)
def test_chunks_give_the_scores_of_whole_clips_and_hold_no_more_frames(
    kind: str, frames_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, (clips, numbers) = made(kind), views()
    whole = predict_views(model, clips, PROTOCOL, device=CPU, frame_numbers=numbers).probs
    monkeypatch.setattr(features_module, "FRAMES_AT_ONCE", frames_at_once)
    seen: list[int] = []

    def counted(model: nn.Module, clip: Tensor, numbers: Tensor | None) -> Any:
        seen.append(len(clip) * clip.shape[2])
        return frame_features(model, clip, numbers)

    monkeypatch.setattr(features_module, "frame_features", counted)
    chunked = predict_views(model, clips, PROTOCOL, device=CPU, frame_numbers=numbers, mode="chunked").probs
    torch.testing.assert_close(chunked, whole, atol=1e-6, rtol=0)
    assert whole.std(0).max() > 1e-5  # else the comparison sees nothing
    assert sum(seen) == 2 * 3 * 8
    assert max(seen) <= max(frames_at_once, 6 * int(model.frames_per_feature))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["vtn", "timesformer_space"])
def test_stored_vectors_give_the_scores_of_the_pixels(kind: str) -> None:
    model, (clips, numbers) = made(kind), views()
    with torch.inference_mode():
        pixels = normalize(clips.flatten(0, 1), PROTOCOL)
        vectors = frame_features(model, pixels, None).vectors.unflatten(0, (2, 3))
    stored = predict_views(model, vectors, PROTOCOL, device=CPU, frame_numbers=numbers).probs
    whole = predict_views(model, clips, PROTOCOL, device=CPU, frame_numbers=numbers).probs
    torch.testing.assert_close(stored, whole, atol=1e-6, rtol=0)


def test_frame_numbers_reach_a_model_that_takes_them_and_no_other() -> None:
    clips, numbers = views()
    for kind, takes in {"vtn": True, "vivit_fe": False}.items():
        model = made(kind)
        given = predict_views(model, clips, PROTOCOL, device=CPU, frame_numbers=numbers).probs
        wrong = predict_views(model, clips, PROTOCOL, device=CPU, frame_numbers=numbers.flip(0)).probs
        assert torch.equal(given, wrong) != takes


def test_a_model_without_a_per_frame_stage_has_no_chunked_mode() -> None:
    fields = {"tubelet_size": [2, 8, 8], "embed_dim": 16, "depth": 1, "num_heads": 2, "num_frames": 8}
    model = create_model("vivit_ti16x2_joint", num_classes=8, image_size=[16, 16], **fields).eval()
    clips, _ = views()
    with pytest.raises(ConfigError, match="per-frame stage"):
        predict_views(model, clips, PROTOCOL, device=CPU, mode="chunked")
