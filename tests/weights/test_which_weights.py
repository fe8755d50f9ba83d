"""Files with averaged weights, folders in half precision and Git-LFS pointers, where weights are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from huggingface_files import huggingface_model as huggingface_vivit
from test_huggingface_timesformer import huggingface_model as huggingface_timesformer
from test_timesformer_weights import model
from torch import Tensor

from support import assert_one_line, error_of, write_checkpoint
from tubelet import cli, load
from tubelet.data.sources.volume import npz_members
from tubelet.errors import CheckpointError, ConfigError, DataError
from tubelet.models.timesformer.weights import to_official
from tubelet.weights.checkpoint.checkpoint import load_checkpoint, read_record
from tubelet.weights.config import InitConfig
from tubelet.weights.init.source import read_source
from tubelet.weights.mapping.read import read_weights

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 344987654\n".format("0" * 64)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """A training state that holds a TimeSformer twice, and the models of its raw and averaged weights."""
    raw, averaged = model("divided"), model("divided")
    path = tmp_path_factory.mktemp("ema") / "w.pth"
    torch.save({"model": to_official(raw), "model_ema": to_official(averaged), "epoch": 3}, path)
    return path, raw, averaged


@pytest.mark.parametrize("which", [None, "ema", "model"])
def test_a_conversion_takes_the_weights_asked_for_and_reports_the_others(
    file: tuple[Path, Any, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], which: str | None
) -> None:
    path, raw, averaged = file
    argv = ["convert", "timesformer", str(path), str(tmp_path / "out"), "--model.num_heads", "1"]
    assert cli.main([*argv, *(["--which", which] if which else [])]) == 0
    out, err = capsys.readouterr()
    kind, other = ("raw", "averaged") if which == "model" else ("averaged", "raw")
    count = len(raw.state_dict())
    assert f"note: {kind} weights taken" in err
    assert f"{count} {other} ones left out" in err
    assert "other entries of the file, left out: epoch" in err
    assert f"{count} tensors filled, 0 fresh, {count} of the source dropped" in out
    x = torch.randn(1, 3, 4, 32, 32)
    converted, record = load_checkpoint(tmp_path / "out")
    assert torch.equal(converted(x), (raw if which == "model" else averaged)(x))
    assert any(f"{other} weights beside" in row["operation"] for row in record.provenance["mapping"]["rows"])


def test_the_way_back_and_files_of_one_kind_refuse_the_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"model": to_official(model("joint"))}, tmp_path / "w.pth")
    out = str(tmp_path / "out")
    said = error_of(["convert", "timesformer", str(tmp_path / "w.pth"), out, "--which", "ema"], capsys)
    assert "holds no averaged weights" in said
    checkpoint = str(write_checkpoint(tmp_path / "best"))
    said = error_of(["convert", "tubelet", checkpoint, out, "--to", "huggingface", "--which", "ema"], capsys)
    assert "--which has no meaning on the way back" in said
    assert not (tmp_path / "out").exists()


def test_first_weights_are_the_averaged_ones_unless_asked_otherwise(tmp_path: Path) -> None:
    network = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1)
    raw: dict[str, Tensor] = network.state_dict()
    torch.save({"state_dict": raw, "state_dict_ema": {n: t + 1 for n, t in raw.items()}}, tmp_path / "w.pth")
    path = str(tmp_path / "w.pth")
    for which, offset in ((None, 1), ("ema", 1), ("model", 0)):
        source: Any = read_source(InitConfig(source=path, which=which))  # type: ignore[arg-type]
        assert torch.equal(source.tensors["norm.bias"], raw["norm.bias"] + offset)
        assert "ones left out" in source.notes[0]
    with pytest.raises(ConfigError, match="is a checkpoint of a video model; leave the option out"):
        read_source(InitConfig(source=str(write_checkpoint(tmp_path / "best")), which="ema"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["vivit", "divided_space_time", "joint_space_time", "space_only"])
def test_a_folder_in_half_precision_converts_with_a_measured_parity(
    kind: str, dtype: torch.dtype, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made: Any = huggingface_vivit() if kind == "vivit" else huggingface_timesformer(kind)
    made.to(dtype).save_pretrained(tmp_path / "in")
    assert cli.main(["convert", "huggingface", str(tmp_path / "in"), str(tmp_path / "out")]) == 0
    assert f"note: {dtype} converted to torch.float32" in capsys.readouterr().err
    record = read_record(tmp_path / "out")
    assert record.provenance["parity"]["measured"]
    assert record.provenance["parity"]["max_abs_difference"] < 1e-4
    assert {p.dtype for p in load(tmp_path / "in", "cpu").model.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "w.npz", "model.bin", "checkpoint"])
def test_a_pointer_in_place_of_weights_is_called_one(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(POINTER)
    with pytest.raises(CheckpointError) as refused:
        read_weights(tmp_path / name)
    assert_one_line(refused, name, "is a Git-LFS pointer to a file of 344,987,654 bytes", "git lfs pull")


def test_a_pointer_in_place_of_a_shard_or_a_config_is_called_one(tmp_path: Path) -> None:
    huggingface_vivit().save_pretrained(tmp_path)
    for name in ("model.safetensors", "config.json"):
        kept = (tmp_path / name).read_bytes()
        (tmp_path / name).write_text(POINTER)
        with pytest.raises(CheckpointError) as refused:
            load(tmp_path)
        assert_one_line(refused, name, "is a Git-LFS pointer")
        (tmp_path / name).write_bytes(kept)
    shards = {"weight_map": {"a": "model-1-of-1.safetensors"}}
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(shards))
    (tmp_path / "model-1-of-1.safetensors").write_text(POINTER)
    with pytest.raises(CheckpointError, match=r"model-1-of-1.safetensors: is a Git-LFS pointer"):
        load(tmp_path)


def test_a_pointer_in_a_checkpoint_is_called_one(tmp_path: Path) -> None:
    for name in ("model.safetensors", "tubelet.json"):
        (write_checkpoint(tmp_path / name) / name).write_text(POINTER)
        with pytest.raises(CheckpointError, match=rf"{name}: is a Git-LFS pointer"):
            load(tmp_path / name)


@pytest.mark.parametrize("name", ["clip.mp4", "volume.npy", "volume.nii.gz"])
def test_a_pointer_in_place_of_a_video_or_a_volume_is_called_one(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(POINTER)
    classifier = load(write_checkpoint(tmp_path / "best"), "cpu")
    with pytest.raises(DataError) as refused:
        classifier.predict(tmp_path / name)
    assert_one_line(refused, name, "is a Git-LFS pointer")
    (line,) = classifier.predict_files([tmp_path / name])
    assert "is a Git-LFS pointer" in str(line)


def test_a_pointer_in_place_of_an_archive_of_volumes_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "set.npz").write_text(POINTER)
    with pytest.raises(DataError, match="is a Git-LFS pointer"):
        npz_members(tmp_path / "set.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(1))
    assert npz_members(tmp_path / "other.npz").keys() == {"a"}
