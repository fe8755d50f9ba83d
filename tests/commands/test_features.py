"""Training, evaluation and prediction from a feature store do what they do on the videos, or refuse in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from support import content_of, error_of, rows_of, videos
from tubelet import cli
from tubelet.data.layouts.feature_store import MANIFEST
from tubelet.errors import ConfigError
from tubelet.inference.frame_stage import check_not_random
from tubelet.models import create_model
from vtn_recipe import write_recipe, write_store

__all__ = ["videos"]

# Of the log: what is measured, not how long it took.
TIMES = ("seconds", "wait_share")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("recipe") / "vtn.yaml")


@pytest.fixture(scope="module")
def store(recipe: Path, videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    return write_store(recipe, videos, tmp_path_factory.mktemp("features") / "store")


def train(recipe: Path, data: Path, out: Path, *options: str) -> Path:
    argv = ["train", str(recipe), "--data", str(data), "--out", str(out), "--device", "cpu", *options]
    assert cli.main(argv) == 0
    return out


@pytest.fixture(scope="module")
def run(recipe: Path, videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on the videos; not to be changed."""
    return train(recipe, videos, tmp_path_factory.mktemp("runs") / "videos")


def steps_of(run: Path) -> list[dict[str, str]]:
    rows = rows_of(run / "log.csv")
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def assert_same_weights(one: Path, other: Path) -> None:
    for kind in ("best", "last"):
        ours, theirs = (load_file(folder / kind / "model.safetensors") for folder in (one, other))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_training_from_features_is_training_on_the_videos_bit_by_bit(
    run: Path, recipe: Path, store: Path, tmp_path: Path
) -> None:
    stored = train(recipe, store, tmp_path / "stored")
    assert steps_of(stored) == steps_of(run)
    assert len(steps_of(stored)) == 4
    assert rows_of(stored / "validation.csv") == rows_of(run / "validation.csv")
    assert_same_weights(stored, run)


def test_a_run_on_features_goes_on_from_its_state(recipe: Path, store: Path, tmp_path: Path) -> None:
    whole = train(recipe, store, tmp_path / "whole", "--data.num_workers", "1")
    assert cli.main(["train", "--resume", str(whole), "--device", "cpu"]) == 0
    assert len(steps_of(whole)) == 4


def results(checkpoint: Path, data: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    argv = ["evaluate", str(checkpoint), "--data", str(data), "--num-workers", "0", "--device", "cpu", "--json"]
    assert cli.main([*argv, *options]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    for name in ("data_fingerprint", "scored", "num_seen", "seen"):  # of the data, not of the model
        found.pop(name, None)
    return found


@pytest.mark.parametrize("clip", [(), ("--protocol.num_frames", "9", "--protocol.frame_stride", "1", "--views", "1x1")])
def test_the_three_modes_give_the_same_metrics_with_any_number_of_frames(
    run: Path, videos: Path, store: Path, capsys: pytest.CaptureFixture[str], clip: tuple[str, ...]
) -> None:
    end_to_end = results(run / "best", videos, capsys, *clip)
    assert results(run / "best", videos, capsys, "--mode", "chunked", *clip) == end_to_end
    assert results(run / "best", store, capsys, *clip) == end_to_end
    if clip:
        assert end_to_end["views"] == "1x1"
        assert end_to_end["loss"] != results(run / "best", videos, capsys)["loss"]


def test_predictions_from_features_are_those_of_the_videos(
    run: Path, videos: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {}
    for source in (videos, store):
        argv = ["predict", str(run / "best"), str(source), "--num-workers", "0", "--device", "cpu", "--json"]
        assert cli.main(argv) == 0
        rows = json.loads(capsys.readouterr().out)["predictions"]
        found[source] = {(*Path(row["source"]).parts[-3:-1], Path(row["source"]).name[:8]): row for row in rows}
    assert found[videos].keys() == found[store].keys()
    for key, row in found[videos].items():
        assert row["labels"] == found[store][key]["labels"]
        assert row["probs"] == pytest.approx(found[store][key]["probs"], abs=1e-6)


def test_what_would_not_be_the_same_training_is_refused_and_leaves_nothing(
    recipe: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, before = tmp_path / "run", content_of(store)
    argv = ["train", str(recipe), "--data", str(store), "--out", str(out), "--device", "cpu"]
    assert "augment.flip_probability" in error_of([*argv, "--augment.flip_probability", "0.5"], capsys)
    assert "--freeze backbone" in error_of([*argv, "--model.freeze_backbone", "false"], capsys)
    assert "other weights" in error_of([*argv, "--seed", "7"], capsys)
    assert "one spatial crop" in error_of([*argv, "--protocol.num_spatial_crops", "3"], capsys)
    joint = ["train", "folder/default", *argv[2:], "--model", "vivit_ti16x2_joint"]
    small = [
        "--protocol.resize_short_side",
        "20",
        "--protocol.crop_size",
        "16,16",
        "--protocol.num_temporal_views",
        "1",
    ]
    assert "no per-frame stage" in error_of([*joint, *small, "--augment.crop", "center"], capsys)
    assert not out.exists()
    assert content_of(store) == before


def test_freezing_by_name_serves_as_well(run: Path, recipe: Path, store: Path, tmp_path: Path) -> None:
    named = train(recipe, store, tmp_path / "run", "--model.freeze_backbone", "false", "--freeze", "backbone")
    assert_same_weights(named, run)


def test_evaluation_refuses_features_of_other_weights(
    recipe: Path, videos: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = train(recipe, videos, tmp_path / "other", "--seed", "3")
    capsys.readouterr()
    argv = [str(other / "best"), "--device", "cpu"]
    assert "other weights" in error_of(["evaluate", *argv, "--data", str(store)], capsys)
    assert "other weights" in error_of(["predict", *argv, str(store)], capsys)
    assert "give it alone" in error_of(["predict", *argv, str(store), str(videos)], capsys)


def test_a_checkpoint_writes_the_store_of_its_recipe_again_and_only_what_is_missing(
    run: Path, recipe: Path, videos: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["features", str(run / "best"), str(videos), str(tmp_path / "s"), "--num-workers", "0", "--device", "cpu"]
    assert cli.main([*argv, "--split", "val", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert (first["written"], first["kept"], first["num_frames"]) == (8, 0, 80)
    assert cli.main([*argv, "--json"]) == 0
    second = json.loads(capsys.readouterr().out)
    assert (second["written"], second["kept"]) == (32, 8)
    ours, theirs = content_of(tmp_path / "s"), content_of(store)
    del ours["store.json"], theirs["store.json"]  # name another checkpoint or recipe's labels
    assert ours == theirs
    assert "manifest" in MANIFEST


def test_a_store_of_another_model_or_a_folder_with_other_things_is_left_alone(
    run: Path, recipe: Path, videos: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content_of(store)
    argv = ["features", str(recipe), str(videos), str(store), "--num-workers", "0", "--device", "cpu", "--allow-random"]
    assert "stage_sha256" in error_of([*argv, "--seed", "5"], capsys)
    assert content_of(store) == before
    (tmp_path / "notes.txt").write_text("mine")
    assert "no feature store" in error_of([*argv[:3], str(tmp_path), *argv[4:]], capsys)
    assert "is a checkpoint" in error_of(["features", str(run / "best"), *argv[2:-1], "--seed", "5"], capsys)


def test_a_model_whose_features_are_not_of_single_frames_is_refused(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["features", "folder/default", str(videos), str(tmp_path / "s"), "--device", "cpu"]
    assert "tubelets of 2 frames" in error_of(argv, capsys)
    assert not (tmp_path / "s").exists()


def test_features_of_random_weights_are_refused_unless_asked_for(
    run: Path, recipe: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "s"
    argv = ["features", str(recipe), str(videos), str(out), "--num-workers", "0", "--device", "cpu", "--split", "val"]
    said = error_of(argv, capsys)
    assert "of its per-frame stage are random (backbone." in said
    assert "--init.source" in said
    assert "--allow-random" in said
    assert not out.exists()
    assert cli.main([*argv, "--init.source", str(run / "best")]) == 0
    capsys.readouterr()
    with_flag = ["features", str(run / "best"), *argv[2:], "--allow-random"]
    assert "--allow-random is for recipes" in error_of(with_flag, capsys)


def test_a_recipe_with_first_weights_writes_what_their_checkpoint_writes(
    run: Path, recipe: Path, store: Path, videos: Path, tmp_path: Path
) -> None:
    common = [str(videos), str(tmp_path / "started"), "--num-workers", "0", "--device", "cpu", "--split", "test"]
    assert cli.main(["features", str(recipe), *common, "--init", str(run / "best"), "--seed", "5"]) == 0
    written = sorted(path.relative_to(tmp_path / "started") for path in (tmp_path / "started").rglob("*.safetensors"))
    assert written
    for name in written:  # the backbone is frozen: the run's is that of the store
        ours, theirs = load_file(tmp_path / "started" / name), load_file(store / name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_stage_that_an_image_model_fills_in_part_is_random_too(videos: Path, tmp_path: Path) -> None:
    model = create_model("timesformer_ti16_space", num_classes=2, depth=1)
    names = [name for name, _ in model.named_parameters() if name.startswith("blocks.")]
    check_not_random(model, "timesformer_ti16_space", ["head.weight", "norm.weight"])
    with pytest.raises(ConfigError, match=rf"{len(names)} tensors of its per-frame stage are random \(blocks"):
        check_not_random(model, "timesformer_ti16_space", ["head.weight", *names])


def test_features_are_computed_in_the_precision_that_is_recorded(
    recipe: Path, store: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """That of the recipe, or the one asked for; a store of one is not continued in another."""
    bf16 = tmp_path / "bf16"
    argv = ["features", str(recipe), str(videos), str(bf16), "--num-workers", "0", "--device", "cpu", "--allow-random"]
    assert cli.main([*argv, "--split", "test", "--training.precision", "bf16"]) == 0
    assert "computes in bf16, stores fp32" in capsys.readouterr().err
    assert json.loads((bf16 / "store.json").read_text())["precision"] == "bf16"
    assert json.loads((store / "store.json").read_text())["precision"] == "fp32"
    found = [load_file(next(folder.glob("features-*/test/left/0000*")))["vectors"] for folder in (bf16, store)]
    assert found[0].dtype == torch.float32
    assert not found[0].equal(found[1])
    assert torch.allclose(*found, atol=0.1)
    assert "the feature store there has another precision" in error_of([*argv, "--precision", "fp32"], capsys)
