"""DINOv2 and 3, SigLIP 2, Perception Encoder and EVA-02: mapped exactly, or refused with the reason; none silently."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import save_file

from tubelet.errors import CheckpointError
from tubelet.weights.config import InitConfig
from tubelet.weights.init.source import read_source
from weights.newer_trunks import NETWORKS, STARTED, network, outcome, page

PAGE = (Path(__file__).parents[2] / "docs" / "image_trunks.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NETWORKS)
def test_the_page_says_what_becomes_of_each(name: str, tmp_path: Path) -> None:
    (row,) = (line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |"))
    cells = [cell.strip() for cell in row.strip("|").split(" | ")][2:]
    assert cells == [outcome(name, video, tmp_path) for video in STARTED]
    assert cells[0] == "exact"  # a VTN holds any network whole
    assert "differs" not in cells


def test_the_page_has_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weights.newer_trunks.outcome", lambda *_: "")
    made = [line for line in page().splitlines() if not line.startswith("| `")]
    assert made == [line for line in PAGE.splitlines() if not line.startswith("| `")]
    assert {line.split("`")[1] for line in PAGE.splitlines() if line.startswith("| `")} == set(NETWORKS)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_small_patch16_dinov3", "has register tokens"),
        ("vit_pe_core_base_patch16_224", "has the names of a Perception Encoder, whose positions are rotary"),
        ("vit_pe_spatial_base_patch16_512", "has the names of a Perception Encoder, whose positions are rotary"),
    ],
)
def test_a_file_alone_cannot_lose_rotary_positions(name: str, message: str, tmp_path: Path) -> None:
    """Its tensors fit a trunk by name and shape, and no tensor says how positions enter."""
    file = tmp_path / "image.safetensors"
    save_file(network(name).state_dict(), file)
    with pytest.raises(CheckpointError, match=message):
        read_source(InitConfig(source=str(file)), "uniformerv2_b16")
