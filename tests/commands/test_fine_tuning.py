"""``tubelet train --init``: one line from someone else's weights to a classifier of one's own classes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from support import PROTOCOL, content_of, error_of, write_checkpoint
from tubelet import cli, load
from tubelet.recipe import load_recipe
from weights.image_models import timm_folder, timm_vit

SHORT = (
    *("--training.num_epochs", "1", "--training.batch_size", "8", "--data.num_workers", "0", "--device", "cpu"),
    *("--protocol.num_frames", "4", "--protocol.num_temporal_views", "1"),
)

TRUNK = (
    *("--model", "uniformerv2_b16", "--model.embed_dim", "24", "--model.num_heads", "4", "--model.patch_size", "8"),
    *("--model.global_layers", "1"),
)
VTN = ("--model", "vtn_vit_b16", "--model.depth", "1", "--model.num_heads", "2", "--model.hidden_dim", "16")


def train(videos: Path, out: Path, source: Path, *options: str) -> dict[str, Any]:
    """A run's run.json."""
    argv = ["train", "--data", str(videos), "--out", str(out), "--init", str(source), *SHORT, *options]
    assert cli.main(argv) == 0
    return json.loads((out / "run.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return timm_folder(tmp_path_factory.mktemp("timm") / "vit", timm_vit())


def test_an_image_model_alone_decides_size_and_pixels(
    videos: Path, vit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    account = train(videos, tmp_path / "run", vit, "--protocol.target_fps", "5")["init"]
    recipe = load_recipe(str(tmp_path / "run" / "recipe.yaml"))
    assert recipe.init is not None
    assert recipe.init.source == str(vit)
    assert recipe.init.tokenizer == "central_frame"
    assert (recipe.protocol.crop_size, recipe.protocol.mean) == ((16, 24), (0.4, 0.4, 0.4))
    record = load(tmp_path / "run" / "best", "cpu").record
    assert record.model_name.endswith("_fe")
    assert record.provenance["init"] == account
    config = record.model_config
    assert (config["embed_dim"], config["depth"], config["tubelet_size"]) == (24, 2, [2, 8, 8])
    assert (config["activation"], config["norm_eps"]) == ("gelu", 1e-6)
    told = capsys.readouterr().err
    assert f"init: {account['summary']}" in told
    assert "init: head: made fresh for 8 classes (clockwise, counter_clockwise, down, growing, ...)" in told
    assert {row["target"] for row in account["rows"]} >= {"tokenizer.proj.weight", "head.weight"}


def test_a_checkpoint_alone_decides_model_and_protocol_and_a_run_goes_on_without_it(
    videos: Path, tmp_path: Path
) -> None:
    """Other classes than the checkpoint's, other frames, a frozen part that stays as it was to the bit."""
    names = {"label": ("a", "b", "c")}
    source = write_checkpoint(tmp_path / "source", type(PROTOCOL)(**{**vars(PROTOCOL), "labels": names}))
    before = load_file(source / "model.safetensors")
    freeze = ("--freeze", "tokenizer", "spatial_encoder.*")
    options = ("--optim.layer_decay", "0.5", "--optim.head_lr", "0.1", "--protocol.num_frames", "6")
    options += ("--training.num_epochs", "2")  # at first the head, which starts at zero, passes no gradient on
    account = train(videos, tmp_path / "run", source, *freeze, *options)["init"]
    assert account["notes"][0] == "temporal_encoder.pos_embed: 2x1x1 -> 3x1x1"
    recipe = load_recipe(str(tmp_path / "run" / "recipe.yaml"))
    assert (recipe.protocol.frame_stride, recipe.protocol.crop_size) == (PROTOCOL.frame_stride, PROTOCOL.crop_size)
    after = load_file(tmp_path / "run" / "last" / "model.safetensors")
    same = {name for name, tensor in after.items() if name in before and tensor.equal(before[name])}
    assert same == {name for name in after if name.startswith(("tokenizer.", "spatial_encoder."))}
    shutil.rmtree(source)
    content = content_of(tmp_path / "run" / "best")
    assert cli.main(["train", "--resume", str(tmp_path / "run"), "--device", "cpu"]) == 0
    assert content_of(tmp_path / "run" / "best") == content


def test_a_network_that_stays_whole_brings_what_belongs_to_its_weights_along(
    videos: Path, vit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A UniFormerV2's trunk its style, a VTN which backbone it is; the run goes on without them."""
    own = tmp_path / "vit"
    shutil.copytree(vit, own)
    clip = ("--protocol.crop_size", "16,24", "--protocol.target_fps", "5")
    trunk = (*TRUNK, "--model.depth", "2", "--model.trunk.norm_eps", "1e-5")
    account = train(videos, tmp_path / "trunk", own, *clip, *trunk)["init"]
    model = load_recipe(str(tmp_path / "trunk" / "recipe.yaml")).model
    style = {"pre_norm": False, "patch_bias": True, "activation": "gelu", "position": "class_and_patches"}
    assert {name: model["trunk"][name] for name in style} == style
    assert model["trunk"]["norm_eps"] == 1e-5  # the user's word counts, and is said
    assert "norm_eps: the image model was trained with 1e-06, the recipe sets 1e-05" in account["notes"]
    assert "--protocol.mean 0.4,0.4,0.4 takes theirs" in capsys.readouterr().err
    train(videos, tmp_path / "vtn", own, *clip, *VTN, "--model.head_dim", "8")
    model = load_recipe(str(tmp_path / "vtn" / "recipe.yaml")).model
    assert (model["backbone"], model["backbone_fields"]["embed_dim"]) == ("vit_tiny_patch16_224", 24)
    shutil.rmtree(own)
    for run in ("trunk", "vtn"):
        before = content_of(tmp_path / run / "best")
        assert cli.main(["train", "--resume", str(tmp_path / run), "--device", "cpu"]) == 0
        assert content_of(tmp_path / run / "best") == before


def test_the_same_command_again_goes_on_with_the_run(videos: Path, vit: Path, tmp_path: Path) -> None:
    options = ("--model", "vivit_ti16x2_joint", "--model.embed_dim", "24", "--model.depth", "2", "--model.num_heads")
    options += ("4", "--model.tubelet_size", "2,8,8", "--protocol.crop_size", "16,24", "--protocol.target_fps", "5")
    train(videos, tmp_path / "run", vit, *options)
    before = content_of(tmp_path / "run" / "best")
    train(videos, tmp_path / "run", vit, *options)
    assert content_of(tmp_path / "run" / "best") == before


def test_adapters_train_from_the_command_line_and_resume(videos: Path, tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "source")
    train(videos, tmp_path / "run", source, "--lora", "rank=2,alpha=4")
    state = load_file(tmp_path / "run" / "best" / "model.safetensors")
    assert all(".lora_" in name or name.startswith("head.") for name in state)
    before = content_of(tmp_path / "run" / "best")
    assert cli.main(["train", "--resume", str(tmp_path / "run"), "--device", "cpu"]) == 0
    assert content_of(tmp_path / "run" / "best") == before
    assert load(tmp_path / "run" / "best", "cpu").record.adapter is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--init", "{vit}", "--freeze", "tokeniser"], "is called 'tokeniser'; did you mean 'tokenizer'?"),
        (["--init", "{vit}", "--freeze", "*"], "leaves no parameter of ViViTFactorizedEncoder to train"),
        (["--init", "{vit}", "--lora", "16"], "--lora 16: expected rank=16, or rank=16,alpha=32"),
        (["--init", "{vit}", "--lora", "rnak=16"], "unknown key 'lora.rnak'; did you mean 'rank'?"),
        (["--lora", "rank=16"], "give init.source (--init)"),
        (["--init", "{vit}", "--model", "vivit_ti16x2_fe"], "has embed_dim 24, depth 2, num_heads 4, the video model"),
        (
            ["--init", "{vit}", "--model", "torchvision/r3d_18"],
            "is an image model, which starts models of ViViT, TimeSformer, UniFormerV2, VTN; TorchvisionVideo",
        ),
        (["--init", "{vit}", *TRUNK, "--model.depth", "3"], "has depth 2, the video model depth 3"),
        (
            ["--init", "{vit}", *TRUNK, "--init.tokenizer", "inflation"],
            "init.tokenizer says how an image ViT is taken apart; UniFormerV2 takes",
        ),
        (["--init", "{vit}", *VTN, "--init.keep_head", "true"], "init.keep_head: VTN has no place for"),
        (["--init", "{vit}", "--init.tokenizer", "mean"], "'init.tokenizer' must be one of central_frame, inflation"),
        (["--init", "no_such_model"], "no_such_model: no such file or folder, no model of timm"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_leaves_no_folder(
    videos: Path, vit: Path, tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    argv = ["train", "--data", str(videos), "--out", str(out), *SHORT, *(o.format(vit=vit) for o in options)]
    assert message in error_of(argv, capsys)
    assert not out.exists()


def test_a_file_alone_starts_a_model(videos: Path, tmp_path: Path) -> None:
    """timm's weights without its config: pixels stay those of the recipe, what was taken for granted is said."""
    file = tmp_path / "vit.safetensors"
    save_file(timm_vit(img_size=(16, 16)).state_dict(), file)
    options = ("--protocol.target_fps", "5", "--model.num_heads", "4")
    notes = train(videos, tmp_path / "run", file, *options)["init"]["notes"]
    assert "activation=gelu, norm_eps=1e-06 taken for granted: timm's default, not in the weights" in notes
    assert "num_heads is not in the image model's weights: 4 of the video model" in notes
