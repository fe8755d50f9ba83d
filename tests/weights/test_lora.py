"""Adapters train beside a base, are kept without it, and merge into a plain model with the same answers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from support import MODEL, PROTOCOL, assert_one_line, tiny_model, write_checkpoint
from tiny_vivit import KINDS, clips, tiny
from tubelet import cli, load
from tubelet.errors import CheckpointError, ConfigError
from tubelet.models import create_model
from tubelet.weights.checkpoint.checkpoint import Adapter, Record, load_checkpoint, read_record, save_checkpoint
from tubelet.weights.checkpoint.lora import add_adapters, merge_adapters, trained_names
from tubelet.weights.config import InitConfig, LoraConfig
from tubelet.weights.init.initialize import initialize
from tubelet.weights.init.source import read_source
from weights.image_models import timm_folder, timm_vit, video_model

HEAD = ("head.weight", "head.bias")


def shaken(model: nn.Module) -> nn.Module:
    """As after training: every parameter that trains has moved."""
    generator = torch.Generator().manual_seed(5)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_fresh_adapters_change_nothing_and_merged_ones_answer_as_before(kind: str) -> None:
    model, plain = tiny(kind), tiny(kind)
    plain.load_state_dict(model.state_dict())
    clip = clips(2)
    with torch.inference_mode():
        names = add_adapters(model, LoraConfig(rank=4), HEAD)
        assert model(clip).equal(plain(clip))
        adapted = shaken(model)(clip)
        assert not torch.allclose(adapted, plain(clip), atol=1e-2)
        merge_adapters(model)
        torch.testing.assert_close(model(clip), adapted, rtol=1e-5, atol=1e-5)
    assert all(type(model.get_submodule(name)) is type(plain.get_submodule(name)) for name in names)
    assert model.state_dict().keys() == plain.state_dict().keys()
    changed = {n for n, t in plain.state_dict().items() if not t.equal(model.state_dict()[n])}
    assert changed == {*HEAD, *(f"{name}.weight" for name in names)}


def test_only_adapters_and_what_is_fresh_train() -> None:
    model = tiny("fe")
    names = add_adapters(model, LoraConfig(rank=2, targets=("qkv",)), HEAD)
    assert len(names) == 4
    assert trained_names(model) == {*HEAD, *(f"{n}.lora_{x}.default.weight" for n in names for x in "AB")}


@pytest.mark.parametrize("fields", [{"rank": 0}, {"alpha": 0.0}, {"dropout": 1.0}, {"targets": ()}])
def test_values_that_mean_nothing_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"lora\."):
        LoraConfig(**fields)


def test_targets_that_do_not_exist_are_named() -> None:
    with pytest.raises(ConfigError) as caught:
        add_adapters(tiny("joint"), LoraConfig(targets=("qvk",)), HEAD)
    assert_one_line(caught, "lora.targets qvk names no linear layer of ViViTJoint", "did you mean 'qkv'?")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "base")


def adapted_checkpoint(base: Path, out: Path, name: str = MODEL, fields: dict[str, Any] | None = None) -> nn.Module:
    """A checkpoint with trained adapters on a base, and the model with them in it."""
    if fields is None:
        _, fields = tiny_model()
    model = create_model(name, **fields)
    init, lora = InitConfig(source=str(base)), LoraConfig(rank=4)
    account = initialize(model, read_source(init, name), init, PROTOCOL)
    add_adapters(model, lora, account["fresh"])
    adapter = Adapter(lora=lora, init=init, base_sha256=account["sha256"])
    record = Record(model_name=name, model_config=fields, protocol=PROTOCOL, adapter=adapter)
    save_checkpoint(out, shaken(model), record)
    return model


def test_a_checkpoint_holds_adapters_and_head_and_names_its_base(base: Path, tmp_path: Path) -> None:
    model = adapted_checkpoint(base, tmp_path / "adapted")
    state = load_file(tmp_path / "adapted" / "model.safetensors")
    assert state.keys() == trained_names(model)
    assert all(".lora_" in name or name in HEAD for name in state)
    adapter = read_record(tmp_path / "adapted").adapter
    assert adapter is not None
    assert adapter.init.source == str(base)
    assert len(adapter.base_sha256) == 64


def test_load_and_merge_give_the_logits_that_were_trained(base: Path, tmp_path: Path) -> None:
    model = adapted_checkpoint(base, tmp_path / "adapted")
    out = tmp_path / "checkpoints" / "merged"
    assert cli.main(["merge", str(tmp_path / "adapted"), str(out)]) == 0
    merged, record = load_checkpoint(out)
    assert record.adapter is None
    assert record.provenance["adapters_merged"]["base"] == str(base)
    assert merged.state_dict().keys() == tiny_model()[0].state_dict().keys()
    clip = torch.randn(2, 3, 4, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(merged(clip), model(clip), rtol=1e-5, atol=1e-5)
        assert load(tmp_path / "adapted", "cpu").model(clip).equal(merged(clip))


def test_what_an_image_base_does_not_have_is_in_the_checkpoint(tmp_path: Path) -> None:
    """The encoder over time is random at first: without it in the file, every load would answer something else."""
    folder = timm_folder(tmp_path / "vit", timm_vit())
    fields = {**vars(video_model("fe", num_classes=8).config)}
    model = adapted_checkpoint(folder, tmp_path / "adapted", "vivit_ti16x2_fe", fields)
    state = load_file(tmp_path / "adapted" / "model.safetensors")
    assert "temporal_encoder.blocks.0.attn.qkv.weight" in state
    clip = torch.randn(1, 3, 6, 16, 24)
    with torch.inference_mode():
        torch.testing.assert_close(load(tmp_path / "adapted", "cpu").model(clip), model(clip), rtol=1e-5, atol=1e-5)


def test_a_base_that_moved_is_asked_for_and_another_one_is_refused(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapted_checkpoint(base, tmp_path / "adapted")
    moved = base.rename(tmp_path / "moved")
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path / "adapted", "cpu")
    assert_one_line(caught, f"its adapters need their base {base}", "--base PATH")
    torch.manual_seed(1)
    other = write_checkpoint(tmp_path / "other", dataclasses.replace(PROTOCOL, labels={"label": ("a", "b")}))
    argv = ["merge", str(tmp_path / "adapted"), str(tmp_path / "out"), "--base"]
    assert cli.main([*argv, str(other)]) == 1
    assert "its adapters belong to a base with sha256" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert cli.main([*argv, str(moved)]) == 0


def test_adapters_that_are_incomplete_are_refused(base: Path, tmp_path: Path) -> None:
    adapted_checkpoint(base, tmp_path / "adapted")
    file = tmp_path / "adapted" / "model.safetensors"
    state = load_file(file)
    save_file({name: tensor for name, tensor in state.items() if name != "head.bias"}, file)
    with pytest.raises(CheckpointError, match=r"lacks head\.bias"):
        load(tmp_path / "adapted", "cpu")


def test_adapters_are_not_taken_for_a_model_nor_a_model_for_adapters(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapted_checkpoint(base, tmp_path / "adapted")
    with pytest.raises(CheckpointError, match=r"holds LoRA adapters on .*, not a whole model; make one with"):
        load_checkpoint(tmp_path / "adapted")
    with pytest.raises(CheckpointError, match="holds LoRA adapters"):
        read_source(InitConfig(source=str(tmp_path / "adapted")))
    assert cli.main(["merge", str(base), str(tmp_path / "out")]) == 1
    assert "there is nothing to merge" in capsys.readouterr().err
    content = json.loads((base / "tubelet.json").read_text(encoding="utf-8"))
    assert content["adapter"] is None
