"""What a user does with models, with a toy: run in a process whose tubelet has the toy family (test_toy_family.py)."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file

import tubelet
from tubelet import cli
from tubelet.data.synthetic import write_motion_set
from tubelet.weights.checkpoint.checkpoint import load_checkpoint, save_checkpoint
from tubelet.weights.convert.sources import SOURCES, record_of
from tubelet.weights.mapping.converter import ConvertOptions

VIT: dict[str, Any] = {"img_size": (16, 24), "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 4}
SHORT = (
    *("--training.num_epochs", "1", "--training.batch_size", "8", "--data.num_workers", "0", "--device", "cpu"),
    *("--protocol.num_frames", "4", "--protocol.num_temporal_views", "1", "--protocol.resize_short_side", "24"),
    *("--protocol.crop_size", "16,24"),
)


def run(*argv: str) -> str:
    """What a command prints on stdout."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert cli.main([*argv]) == 0, argv
    return printed.getvalue()


def image_folder(path: Path) -> tuple[Path, Any]:
    """A folder as timm's own files on the hub are, and the network."""
    torch.manual_seed(0)
    network = timm.create_model("vit_tiny_patch16_224", num_classes=5, **VIT).eval()
    path.mkdir()
    save_file(network.state_dict(), path / "model.safetensors")
    content = {"architecture": "vit_tiny_patch16_224", "num_classes": 5, "model_args": VIT}
    (path / "config.json").write_text(json.dumps(content), encoding="utf-8")
    return path, network


def check_listed_and_counted() -> None:
    assert tubelet.list_models("toy") == ["toy_small", "toy_deep"]
    assert "toy_deep" in run("models", "--filter", "toy")
    cost = json.loads(run("cost", "toy_small", "--no-measure", "--json"))
    assert cost["parameters"] == sum(p.numel() for p in tubelet.create_model("toy_small").parameters())


def check_trained(videos: Path, out: Path) -> None:
    """From timm's weights, with everything frozen but the head and the last block."""
    folder, network = image_folder(out / "vit")
    frozen = ("patches", "blocks.0", "norm")
    options = ("--model", "toy_small", "--init", str(folder), "--freeze", *frozen)
    run("train", "--data", str(videos), "--out", str(out / "run"), *options, *SHORT)
    model, record = load_checkpoint(out / "run" / "best")
    assert record.model_name == "toy_small"
    started = record.provenance["init"]
    assert started["summary"].startswith("28 tensors filled, 2 fresh")
    assert model.get_parameter("patches.weight").equal(network.patch_embed.proj.weight)
    assert model.get_parameter("blocks.0.mlp.fc1.weight").equal(network.blocks[0].mlp.fc1.weight)
    assert not model.get_parameter("blocks.1.mlp.fc1.weight").equal(network.blocks[1].mlp.fc1.weight)


def check_predicted(videos: Path, out: Path) -> None:
    video = next(videos.rglob("*.mp4"))
    prediction = tubelet.load(out / "run" / "best", "cpu").predict(video)
    assert abs(sum(prediction.probs) - 1) < 1e-4
    run("predict", str(out / "run" / "best"), str(video), "--device", "cpu")


def check_goes_on_from_its_own_checkpoint(videos: Path, out: Path) -> None:
    """A video checkpoint starts a model of its kind, by the names that both have."""
    run("train", "--data", str(videos), "--out", str(out / "again"), "--init", str(out / "run" / "best"), *SHORT)
    assert load_checkpoint(out / "again" / "best")[1].model_name == "toy_small"


def check_converted(out: Path) -> None:
    original = tubelet.create_model("toy_deep", num_classes=3).eval()
    names = {name: name.replace("head.", "lid.") for name in original.state_dict()}
    torch.save({f"box.{names[n]}": t for n, t in original.state_dict().items()}, out / "toy.pth")
    run("convert", "toybox", str(out / "toy.pth"), str(out / "converted"), "--no-measure")
    clip = torch.randn(1, 3, 4, 16, 24)
    model, record = load_checkpoint(out / "converted")
    assert record.model_name == "toy_deep"
    assert model(clip).equal(original(clip))
    converted = SOURCES["toybox"].convert(out / "toy.pth", ConvertOptions(labels=("a", "b", "c")))
    save_checkpoint(out / "saved", converted.model, record_of(converted))
    assert load_checkpoint(out / "saved")[1].labels == ("a", "b", "c")


def main(out: Path) -> None:
    check_listed_and_counted()
    videos = out / "videos"
    write_motion_set(videos, {"train": 16, "val": 8, "test": 8}, size_pixels=32, num_frames=8, fps=8)
    check_trained(videos, out)
    check_predicted(videos, out)
    check_goes_on_from_its_own_checkpoint(videos, out)
    check_converted(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
