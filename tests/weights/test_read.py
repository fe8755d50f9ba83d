"""Tensors come out of every format the field uses; what is damaged or would run code is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from payload import Payload
from safetensors.torch import save_file
from torch import Tensor

from support import assert_one_line
from tubelet.errors import CheckpointError
from tubelet.weights.mapping.read import read_weights

FLAX = Path(__file__).parents[1] / "fixtures" / "flax"


def weights() -> dict[str, Tensor]:
    return {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1.5]), "steps": torch.tensor(7)}


def assert_same(read: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert read.keys() == expected.keys()
    for name, tensor in expected.items():
        assert read[name].dtype == tensor.dtype, name
        assert read[name].equal(tensor), name


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as refused:
        read_weights(path)
    assert_one_line(refused, str(path))
    return str(refused.value)


def write_npz(path: Path) -> None:
    with path.open("wb") as stream:
        np.savez(stream, **{name: tensor.numpy() for name, tensor in weights().items()})


WRITERS: dict[str, Callable[[Path], Any]] = {
    "w.safetensors": lambda p: save_file(weights(), p),
    "w.npz": write_npz,
    "w.pth": lambda p: torch.save(weights(), p),
    "old.pt": lambda p: torch.save(weights(), p, _use_new_zipfile_serialization=False),
    "without_a_suffix": lambda p: torch.save(weights(), p),
    "wrong.pth": lambda p: save_file(weights(), p),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_tensors_to_the_bit_whatever_the_file_is_called(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    assert_same(read_weights(tmp_path / name).tensors, weights())


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda w: {"state_dict": w, "epoch": 3, "arch": "x"},
        lambda w: {"model_state": w, "optimizer_state": {"lr": 0.1}, "cfg": "text"},
        lambda w: {"model": w},
        lambda w: {"model": {"module." + k: v for k, v in w.items()}},
        lambda w: {"state_dict": {"module._orig_mod." + k: v for k, v in w.items()}},
    ],
)
def test_what_training_code_puts_around_a_state_dict_is_taken_off(
    tmp_path: Path, wrapped: Callable[[dict[str, Tensor]], Any]
) -> None:
    torch.save(wrapped(weights()), tmp_path / "w.pyth")
    assert_same(read_weights(tmp_path / "w.pyth").tensors, weights())


def test_a_prefix_that_not_every_name_has_stays(tmp_path: Path) -> None:
    content = {"module.a": torch.ones(1), "b": torch.ones(1)}
    torch.save(content, tmp_path / "w.pth")
    assert read_weights(tmp_path / "w.pth").tensors.keys() == content.keys()


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "checkpoint", "checkpoint_1200"])
def test_a_folder_stands_for_the_weights_in_it(tmp_path: Path, name: str) -> None:
    save_file(weights(), tmp_path / name)
    assert_same(read_weights(tmp_path).tensors, weights())


def write_shards(folder: Path) -> dict[str, str]:
    where = {"a.weight": "model-1-of-2.safetensors", "a.bias": "model-2-of-2.safetensors"}
    where["steps"] = where["a.bias"]
    for shard in set(where.values()):
        save_file({name: weights()[name] for name in where if where[name] == shard}, folder / shard)
    return where


def write_index(folder: Path, where: Any) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}), encoding="utf-8")


def test_shards_are_read_as_their_index_says(tmp_path: Path) -> None:
    write_index(tmp_path, write_shards(tmp_path))
    assert_same(read_weights(tmp_path).tensors, weights())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda where: where.update(lost="model-1-of-2.safetensors"), "disagree about 1 tensors, such as lost"),
        (lambda where: where.pop("steps"), "disagree about 1 tensors, such as steps"),
        (lambda where: where.update(x="../secret.safetensors"), "does not lie beside it"),
        (lambda where: where.update(x="/etc/passwd"), "does not lie beside it"),
        (lambda where: where.update(x="model-3-of-3.safetensors"), "which is not there"),
    ],
)
def test_an_index_that_its_files_do_not_bear_out_is_refused(
    tmp_path: Path, change: Callable[[dict[str, str]], object], message: str
) -> None:
    where = write_shards(tmp_path)
    change(where)
    write_index(tmp_path, where)
    with pytest.raises(CheckpointError) as refused:
        read_weights(tmp_path)
    assert_one_line(refused, message, "index.json")


@pytest.mark.parametrize("suffix", [".pth", ".pyth", ".bin", ""])
@pytest.mark.parametrize("new_format", [True, False])
def test_a_pickle_with_a_payload_is_refused_by_the_name_of_what_it_calls_and_creates_nothing(
    tmp_path: Path, suffix: str, new_format: bool
) -> None:
    file, created = tmp_path / f"evil{suffix}", tmp_path / "created"
    content = {"state_dict": weights(), "hook": Payload(created)}
    torch.save(content, file, _use_new_zipfile_serialization=new_format)
    said = refusal(file)
    assert "refused" in said
    assert ".system" in said
    assert not created.exists()
    torch.load(file, weights_only=False)  # the payload works where it is let
    assert created.exists()


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_torchscript_archive_is_said_to_hold_code_and_how_its_tensors_are_had(tmp_path: Path) -> None:
    """OpenAI's ViT-B-16.pt is one."""
    file = tmp_path / "ViT-B-16.pt"
    torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)).save(str(file))
    said = refusal(file)
    assert "is a TorchScript archive, which holds code; nothing of it was run" in said
    assert "--init vit_base_patch16_clip_quickgelu_224.openai" in said
    assert "damaged" not in said


def test_an_npz_with_a_pickled_array_is_refused_by_name_and_creates_nothing(tmp_path: Path) -> None:
    created = tmp_path / "created"
    with (tmp_path / "evil.npz").open("wb") as stream:
        np.savez(stream, good=np.ones(2), bad=np.array([Payload(created)], dtype=object))
    assert "bad cannot be read as numbers" in refusal(tmp_path / "evil.npz")
    assert not created.exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.npz", "w.pth", "old.pt"])
@pytest.mark.parametrize("kept", [0, 1, 9, 30, 0.5, 0.95])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str, kept: float) -> None:
    WRITERS[name](tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(kept if kept >= 1 else kept * len(content))])
    refusal(tmp_path / name)


@pytest.mark.parametrize("kept", [1, 20, 0.5, 0.99])
def test_a_truncated_flax_file_is_refused(tmp_path: Path, kept: float) -> None:
    content = (FLAX / "optimizer_target").read_bytes()
    (tmp_path / "checkpoint").write_bytes(content[: int(kept if kept >= 1 else kept * len(content))])
    refusal(tmp_path / "checkpoint")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(1)], "holds a list, expected a state dict"),
        ({"a": torch.ones(1), "epoch": 3}, "epoch is no tensor (1 of 2 entries)"),
        ({}, "holds no tensors"),
    ],
)
def test_a_pickle_of_something_else_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "w.pth")
    assert message in refusal(tmp_path / "w.pth")


def test_no_file_another_file_and_a_folder_without_weights_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nowhere").endswith("no such file or folder")
    (tmp_path / "notes.txt").write_text("these are my weights")
    assert "its first bytes are b'these ar'" in refusal(tmp_path / "notes.txt")
    assert "found none of them" in refusal(tmp_path)
    for step in (10, 20):
        save_file(weights(), tmp_path / f"checkpoint_{step}")
    assert "checkpoint_10, checkpoint_20: name one of them" in refusal(tmp_path)


def flax_leaf(number: int, *shape: int) -> Tensor:
    """As ``fixtures/flax/write_checkpoints.py`` counts its values."""
    values = (np.arange(np.prod(shape)) % 101 + number) / 64
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


@pytest.mark.parametrize("name", ["optimizer_target", "params_in_chunks", "params_bfloat16"])
def test_files_that_flax_wrote_are_read_without_flax(name: str) -> None:
    """The parameters alone, whole and in pieces, under the names of the tree."""
    read = read_weights(FLAX / name).tensors
    assert len(read) == 44
    block = "SpatialTransformer/encoderblock_0"
    expected = {
        "embedding/kernel": flax_leaf(1, 2, 4, 4, 3, 8),  # 3072 bytes: three pieces where they are of 1024
        "cls_TemporalTransformer": flax_leaf(4, 1, 1, 8),
        "output_projection/bias": flax_leaf(6, 5),
        f"{block}/MultiHeadDotProductAttention_0/query/kernel": flax_leaf(12, 8, 2, 4),
        f"{block}/LayerNorm_0/scale": flax_leaf(19, 8),
    }
    for tensor, values in expected.items():
        assert read[tensor].dtype == (torch.bfloat16 if "bfloat16" in name else torch.float32)
        assert read[tensor].float().equal(values), tensor


def test_npz_files_of_training_states_give_their_parameters(tmp_path: Path) -> None:
    arrays = {"opt/target/a/kernel": np.ones((2, 2), np.float32), "opt/state/step": np.array(3)}
    with (tmp_path / "w.npz").open("wb") as stream:
        np.savez(stream, **arrays)
    assert_same(read_weights(tmp_path / "w.npz").tensors, {"a/kernel": torch.ones(2, 2)})
