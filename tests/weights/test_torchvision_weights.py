"""torchvision's own files: which network, which protocol, and the same logits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.models import video

from tubelet.errors import CheckpointError, ConfigError
from tubelet.models import list_models, model_config
from tubelet.models.torchvision.weights import convert, protocol_of
from tubelet.weights.convert.sources import record_of
from tubelet.weights.mapping.converter import ConvertOptions


def test_a_file_of_torchvision_becomes_a_checkpoint_with_its_classes_and_its_test(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = video.mc3_18().eval()
    torch.save(network.state_dict(), tmp_path / "mc3_18-a90a0ba3.pth")
    converted = convert(tmp_path / "mc3_18-a90a0ba3.pth", ConvertOptions())
    record, x = record_of(converted), torch.randn(1, 3, 2, 16, 16)
    assert record.model_name == "torchvision/mc3_18"
    assert record.labels[:2] == ("abseiling", "air drumming")
    p = record.protocol
    assert (p.num_frames, p.target_fps, p.crop_size, p.resize_short_side) == (16, 15.0, (112, 112), 128)
    assert p.mean[0] == pytest.approx(0.43216)
    assert p.averaging == "probs"
    with torch.inference_mode():
        assert torch.equal(converted.model(x), network(x))


@pytest.mark.parametrize("name", list_models("torchvision/"))
def test_every_protocol_gives_the_clip_that_its_network_is_made_for(name: str) -> None:
    config = model_config(name)
    protocol = protocol_of(config.network)
    assert (protocol.num_frames, protocol.crop_size) == (config.num_frames, config.image_size)


def test_what_is_none_of_the_networks_is_refused(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(3, 2), "fc.bias": torch.zeros(3)}, tmp_path / "linear.pth")
    with pytest.raises(CheckpointError, match=r"linear\.pth: names and shapes are those of none"):
        convert(tmp_path / "linear.pth", ConvertOptions())
    with pytest.raises(ConfigError, match=r"--model\.name vivit_ti16x2_fe: expected one of torchvision/r3d_18"):
        convert(tmp_path / "linear.pth", ConvertOptions(model={"name": "vivit_ti16x2_fe"}))
    torch.save({"weight": torch.zeros(3, 2)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="none of torchvision's video networks"):
        convert(tmp_path / "other.pth", ConvertOptions())
