"""The protocol refuses what contradicts itself and survives its way through JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tubelet.config import from_dict, to_dict
from tubelet.errors import ConfigError
from tubelet.protocol import Protocol


def test_a_protocol_comes_back_from_json_as_it_was() -> None:
    protocol = Protocol(
        num_frames=7,
        frame_stride=None,
        target_fps=12.5,
        crop_size=(96, 128),
        resize_short_side=112,
        num_channels=1,
        mean=(0.3,),
        std=(0.2,),
        averaging="probs",
        labels={"verb": ("put", "take"), "noun": ("cup", "Tür", "鍋")},
    )
    assert from_dict(Protocol, json.loads(json.dumps(to_dict(protocol)))) == protocol


def test_views_are_temporal_clips_times_spatial_crops() -> None:
    protocol = Protocol(num_temporal_views=5, num_spatial_crops=3)
    assert (protocol.num_views, protocol.views_text) == (15, "5x3")


def test_uniform_sampling_needs_neither_stride_nor_rate() -> None:
    assert Protocol(sampling="uniform", frame_stride=None, target_fps=None).sampling == "uniform"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"target_fps": 8.0}, "either frame_stride .* or target_fps .*, got frame_stride=2 and target_fps=8.0"),
        ({"frame_stride": None}, "got frame_stride=None and target_fps=None"),
        ({"num_frames": 0}, "num_frames must be positive, got 0"),
        ({"frame_stride": -1}, "frame_stride must be positive, got -1"),
        ({"num_temporal_views": 0}, "num_temporal_views must be positive, got 0"),
        ({"resize_short_side": 0, "crop_size": (0, 0)}, "resize_short_side must be positive, got 0"),
        ({"crop_size": (224, 0)}, r"crop_size \(224, 0\) must be positive"),
        ({"crop_size": (300, 280)}, "shorter side at most resize_short_side=256"),
        ({"num_channels": 1}, "one value for each of 1 channels, got 3 and 3"),
        ({"mean": (0.5, 0.5)}, "got 2 and 3"),
        ({"std": (0.5, 0.0, 0.5)}, "std must be positive"),
    ],
)
def test_a_protocol_that_contradicts_itself_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Protocol(**fields)
