"""``tubelet convert`` writes a checkpoint with its parity, and goes back; ``tubelet inspect`` shows the record."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import VivitConfig, VivitForVideoClassification

from support import content_of, error_of, write_checkpoint
from tubelet import cli, load
from tubelet.weights.checkpoint.checkpoint import load_checkpoint, read_record
from tubelet.weights.mapping.read import read_weights

FLAX = Path(__file__).parents[1] / "fixtures" / "flax"


def huggingface_folder(folder: Path) -> Path:
    config = VivitConfig(
        image_size=32, num_frames=4, tubelet_size=[2, 16, 16], hidden_size=16, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=32,
    )  # fmt: skip
    VivitForVideoClassification(config).save_pretrained(folder)
    return folder


def convert(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    assert cli.main(["convert", *map(str, words), "--json"]) == 0
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    return printed


def test_huggingface_is_converted_with_a_measured_parity_that_inspect_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = huggingface_folder(tmp_path / "in")
    printed = convert(capsys, "huggingface", source, tmp_path / "out")
    record = read_record(tmp_path / "out")
    assert record.provenance == printed["provenance"]
    parity = record.provenance["parity"]
    assert parity["measured"]
    assert parity["max_abs_difference"] < 1e-5
    assert parity["against"].startswith("transformers ")
    assert record.provenance["path"] == str(source)
    assert cli.main(["inspect", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "logits differ by at most" in shown
    assert "tensors filled, 0 fresh, 0 of the source dropped" in shown
    assert "vivit.encoder.layer.{i}.attention.attention.{query,key,value}.weight" in shown


def test_scenic_is_converted_with_labels_and_a_stored_reference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "labels.txt").write_text("a\nb\n\nc\nd\ne\n")
    convert(capsys, "scenic", FLAX / "optimizer_target", tmp_path / "first")
    assert read_record(tmp_path / "first").provenance["parity"]["measured"] is False
    model, _ = load_checkpoint(tmp_path / "first")
    clip = torch.rand(1, 4, 12, 12, 3)  # B T H W C
    with torch.inference_mode():
        logits = model(clip.movedim(-1, 1))
    with (tmp_path / "stored.npz").open("wb") as stream:
        np.savez(stream, input=clip.numpy(), logits=logits.numpy())
    given = ("--labels", tmp_path / "labels.txt", "--reference-input", tmp_path / "stored.npz")
    printed = convert(capsys, "scenic", FLAX / "optimizer_target", tmp_path / "second", *given)
    assert printed["protocol"]["labels"] == {"label": ["a", "b", "c", "d", "e"]}
    assert printed["provenance"]["parity"]["max_abs_difference"] == 0
    assert load(tmp_path / "second", "cpu").labels == ("a", "b", "c", "d", "e")


def test_a_reference_that_disagrees_is_refused_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (tmp_path / "stored.npz").open("wb") as stream:
        np.savez(stream, input=np.zeros((1, 4, 12, 12, 3), np.float32), logits=np.zeros((1, 5), np.float32))
    words = ["convert", "scenic", str(FLAX / "optimizer_target"), str(tmp_path / "out")]
    said = error_of([*words, "--reference-input", str(tmp_path / "stored.npz")], capsys)
    assert "the converted model is not the original" in said
    assert [p.name for p in tmp_path.iterdir()] == ["stored.npz"]


def test_fields_of_model_and_protocol_are_set_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("scenic", FLAX / "params_in_chunks", tmp_path / "out")
    printed = convert(capsys, *words, "--protocol.frame_stride", 1, "--protocol.mean=0,0,0", "--model.norm_eps", "1e-5")
    assert printed["protocol"]["frame_stride"] == 1
    assert printed["protocol"]["mean"] == [0, 0, 0]
    assert printed["model_config"]["norm_eps"] == 1e-5


def test_what_a_person_reads_names_every_tensor_and_what_was_taken_for_granted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["convert", "scenic", str(FLAX / "optimizer_target"), str(tmp_path / "out")]) == 0
    out, err = capsys.readouterr()
    assert "36 tensors filled, 0 fresh, 0 of the source dropped" in out
    assert "output_projection/kernel" in out
    for line in (
        "labels: numbers 0 to 4",
        "license: apache-2.0",
        "parity: not measured: ",
        "none of scenic's data sets",
    ):
        assert line in err


def test_a_checkpoint_goes_to_scenic_and_comes_back_to_the_bit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert(capsys, "scenic", FLAX / "optimizer_target", tmp_path / "out")
    convert(capsys, "tubelet", tmp_path / "out", tmp_path / "back.npz", "--to", "scenic")
    first, second = (read_weights(f).tensors for f in (FLAX / "optimizer_target", tmp_path / "back.npz"))
    assert first.keys() == second.keys()
    assert all(tensor.equal(second[name]) for name, tensor in first.items())


def test_a_huggingface_model_goes_there_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = huggingface_folder(tmp_path / "in")
    convert(capsys, "huggingface", source, tmp_path / "out", "--no-measure")
    convert(capsys, "tubelet", tmp_path / "out", tmp_path / "back", "--to", "huggingface")
    first, second = (read_weights(folder).tensors for folder in (source, tmp_path / "back"))
    assert first.keys() == second.keys()
    assert all(tensor.equal(second[name]) for name, tensor in first.items())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["scenc", "{flax}", "{tmp}/out"], "unknown source 'scenc'; did you mean 'scenic'?"),
        (["scenic", "{tmp}/nowhere", "{tmp}/out"], "no such file or folder"),
        (["scenic", "{flax}", "{tmp}"], "is already there; give another OUT"),
        (["scenic", "{flax}", "{tmp}/out", "--labels", "{tmp}/nowhere"], "--labels {tmp}/nowhere: cannot be read"),
        (["scenic", "{flax}", "{tmp}/out", "--labels", "{tmp}/two.txt"], "has 2 names, the model has 5 logits"),
        (["scenic", "{flax}", "{tmp}/out", "--model.embed_dm", "3"], "did you mean 'embed_dim'"),
        (["scenic", "{flax}", "{tmp}/out", "--protocol.crop", "3"], "unknown key 'protocol.crop'"),
        (["scenic", "{flax}", "{tmp}/out", "--optim.lr", "3"], "unknown option --optim.lr"),
        (["huggingface", "{flax}", "{tmp}/out"], "expected a folder with config.json"),
        (["tubelet", "{tmp}/best", "{tmp}/out"], "give --to huggingface or --to scenic"),
        (
            ["tubelet", "{tmp}/best", "{tmp}/out", "--to", "huggingface"],
            "Model 1 only (vivit_*_joint), no ViViTFactorizedEncoder",
        ),
        (["tubelet", "{tmp}/best", "{tmp}/out", "--to", "scenic"], "let OUT end so"),
        (
            ["scenic", "{flax}", "{tmp}/out", "--labels", "a={tmp}/two.txt", "{tmp}/two.txt"],
            "expected one FILE, or HEAD",
        ),
        (["scenic", "{flax}", "{tmp}/out", "--labels", "a={tmp}/two.txt", "b={tmp}/two.txt"], "4 names (a 2, b 2)"),
        (["tubelet", "{tmp}/best", "{tmp}/o", "--to", "scenic", "--labels", "x"], "--labels has no meaning on the way"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_and_nothing_is_written(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    (tmp_path / "two.txt").write_text("a\nb\n")
    shutil.copytree(checkpoint, tmp_path / "best")
    before = content_of(tmp_path)
    filled = [w.format(tmp=tmp_path, flax=FLAX / "optimizer_target") for w in words]
    assert message.format(tmp=tmp_path) in error_of(["convert", *filled], capsys)
    assert content_of(tmp_path) == before


def test_a_checkpoint_is_made_only_of_files_that_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What convert wrote, evaluate and predict read: the same loader, strict as ever."""
    convert(capsys, "scenic", FLAX / "optimizer_target", tmp_path / "out")
    assert sorted(content_of(tmp_path / "out")) == ["model.safetensors", "tubelet.json"]
    write_checkpoint(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.safetensors", tmp_path / "out" / "model.safetensors")
    assert "weights do not fit the model" in error_of(
        ["predict", str(tmp_path / "out"), str(FLAX / "README.md")], capsys
    )
