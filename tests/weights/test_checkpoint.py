"""A checkpoint comes back to the bit, or is refused with the name of what is wrong."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from support import MODEL, PROTOCOL, content_of, tiny_model, write_checkpoint
from tubelet import load
from tubelet.errors import CheckpointError
from tubelet.weights.checkpoint.checkpoint import RECORD, WEIGHTS, Record, load_checkpoint, read_record, save_checkpoint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "best")


def change_record(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    change(record)
    (folder / RECORD).write_text(json.dumps(record), encoding="utf-8")


def change_weights(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    state = load_file(folder / WEIGHTS)
    change(state)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / WEIGHTS)


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as refused:
        load(folder, "cpu")
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_model_and_record_come_back_to_the_bit(tmp_path: Path) -> None:
    model, config = tiny_model()
    provenance = {"seed": 3, "nested": {"x": [1, 2.5, None, "ü"]}}
    record = Record(model_name=MODEL, model_config=config, protocol=PROTOCOL, provenance=provenance)
    save_checkpoint(tmp_path / "best", model, record)
    loaded, read = load_checkpoint(tmp_path / "best")
    assert not loaded.training
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert tensor.equal(loaded.state_dict()[name]), name
    assert (read.protocol, read.provenance, read.model_name) == (PROTOCOL, provenance, MODEL)
    clip = torch.randn(2, 3, 4, 16, 16)
    assert model(clip).equal(loaded(clip))


def test_saving_a_loaded_checkpoint_gives_the_same_files(folder: Path, tmp_path: Path) -> None:
    model, record = load_checkpoint(folder)
    save_checkpoint(tmp_path / "again", model, record)
    assert content_of(tmp_path / "again") == content_of(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("head.weight"), "head.weight is missing"),
        (lambda s: s.update(extra=torch.zeros(2)), "extra is not part of ViViTFactorizedEncoder"),
        (
            lambda s: s.update({"head.weight": s["head.weight"].T}),
            "head.weight is torch.float32 (16, 8) where torch.float32 (8, 16) is expected",
        ),
        (
            lambda s: s.update({"head.bias": s["head.bias"].half()}),
            "head.bias is torch.float16 (8,) where torch.float32 (8,) is expected",
        ),
        (lambda s: s["head.weight"].__setitem__((0, 0), torch.nan), "head.weight holds values that are not finite"),
        (lambda s: s["head.bias"].__setitem__(3, torch.inf), "head.bias holds values that are not finite"),
    ],
    ids=["missing", "extra", "transposed", "half", "nan", "inf"],
)
def test_tensors_that_do_not_fit_are_named(
    folder: Path, change: Callable[[dict[str, Tensor]], object], message: str
) -> None:
    change_weights(folder, change)
    said = refusal(folder)
    assert said.startswith(str(folder / WEIGHTS))
    assert message in said


def test_a_square_matrix_that_was_transposed_is_not_taken_for_the_original(folder: Path) -> None:
    """No shape tells: the record knows which weights it was written with."""
    name = "spatial_encoder.blocks.0.attn.proj.weight"
    change_weights(folder, lambda state: state.update({name: state[name].T}))
    assert "other weights than tubelet.json was written with" in refusal(folder)


def test_many_misfits_are_counted_and_four_are_named(folder: Path) -> None:
    num_tensors = len(load_file(folder / WEIGHTS))
    change_weights(folder, dict.clear)
    said = refusal(folder)
    assert said.count("is missing") == 4
    assert f"(and {num_tensors - 4} more)" in said


@pytest.mark.parametrize("kept", [0, 7, 100, -1])
def test_a_truncated_weights_file_is_refused(folder: Path, kept: int) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:kept])
    said = refusal(folder)
    assert said.startswith(f"{folder / WEIGHTS}: cannot be read")
    assert "copy the checkpoint again" in said


def test_missing_weights_are_refused(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    assert refusal(folder).startswith(f"{folder / WEIGHTS}: cannot be read")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(modle_name="x"), "unknown key 'tubelet.json.modle_name'; did you mean 'model_name'?"),
        (lambda r: r["protocol"].update(num_frame=3), "unknown key 'tubelet.json.protocol.num_frame'; did you mean"),
        (lambda r: r.pop("protocol"), "missing key 'tubelet.json.protocol'"),
        (lambda r: r.update(model_name="vivit_ti16x2_ef"), "unknown model 'vivit_ti16x2_ef'; did you mean"),
        (lambda r: r["model_config"].update(embed_dm=1), "embed_dm'; did you mean 'embed_dim'?"),
        (lambda r: r.update(format=2), "format 2; this version of tubelet reads format 1"),
        (
            lambda r: r["protocol"]["labels"]["label"].pop(),
            "protocol.labels has 7 names (label 7); expected one for each of 8 logits",
        ),
        (lambda r: r["protocol"]["labels"]["label"].append("x"), "has 9 names"),
        (lambda r: r["protocol"]["labels"].update(label=["x"] * 8), "8 names, 1 of them distinct"),
        (lambda r: r["protocol"].pop("labels"), "protocol.labels has no head; expected the names of 8 classes"),
        (lambda r: r["protocol"]["labels"].update(noun=["cup"]), "has 9 names (label 8, noun 1); expected one"),
        (lambda r: r["protocol"]["labels"].update(noun=[]), "labels.noun has 0 names, 0 of them distinct"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    change_record(folder, change)
    said = refusal(folder)
    assert said.startswith(str(folder / RECORD))
    assert message in said


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", '"text"'])
def test_a_record_that_is_no_json_object_is_refused(folder: Path, content: str) -> None:
    (folder / RECORD).write_text(content)
    assert refusal(folder).startswith(f"{folder / RECORD}: cannot be read as a tubelet record: ")


def test_a_folder_without_a_record_says_what_was_expected(tmp_path: Path) -> None:
    said = refusal(tmp_path)
    assert said == f"{tmp_path}: no checkpoint here (expected a folder with model.safetensors and tubelet.json)"
    assert "no checkpoint here" in refusal(tmp_path / "nowhere")


def test_a_run_folder_hints_at_its_best_checkpoint(folder: Path) -> None:
    write_checkpoint(folder.parent / "last")
    assert refusal(folder.parent).endswith(f"; did you mean {folder}?")


def test_an_error_while_writing_leaves_the_old_checkpoint_and_nothing_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content_of(folder.parent)

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    model, record = load_checkpoint(folder)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(folder, model, dataclasses.replace(record, provenance={"new": True}))
    assert content_of(folder.parent) == before


def test_a_kill_between_the_two_moves_leaves_the_new_checkpoint_to_the_next_save(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders cannot be exchanged in one step: for a moment neither stands under the name."""
    model, record = load_checkpoint(folder)
    rename, moves = Path.rename, []

    def killed_at_second(self: Path, target: Path) -> Path:
        moves.append(target)
        if len(moves) == 2:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed_at_second)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(folder, model, record)
    assert not folder.exists()
    save_checkpoint(folder, model, dataclasses.replace(record, provenance={"new": True}))
    assert read_record(folder).provenance == {"new": True}
    assert list(folder.parent.iterdir()) == [folder]


def test_a_new_checkpoint_replaces_the_old_one_whole(folder: Path) -> None:
    (folder / "left_over").write_text("of an older version")
    model, record = load_checkpoint(folder)
    save_checkpoint(folder, model, dataclasses.replace(record, provenance={"new": True}))
    assert sorted(content_of(folder)) == [WEIGHTS, RECORD]
    assert read_record(folder).provenance == {"new": True}
    assert list(folder.parent.iterdir()) == [folder]
