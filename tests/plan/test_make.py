"""A plan is what the run then does: the same steps, rates, groups and rows; and what would stop it is told before."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants

from layout_examples import text
from support import COUNTS, MODEL, TINY, content_of, motion_videos, rows_of, write_checkpoint
from tubelet.data.video.packet_index_store import STORE_NAME
from tubelet.recipe import Recipe, load_recipe
from tubelet.runs.plan.make_plan import plan_run
from tubelet.runs.plan.parts import Plan
from tubelet.runs.run import run_recipe
from tubelet.session.session import Session

CPU = torch.device("cpu")
# Clips of SMALL, 15 kB each as pixels alone, that no step of this machine can hold.
TOO_MANY = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 10_000
SMALL = {
    "model": {"name": MODEL, **TINY},
    "protocol.num_frames": 4,
    "protocol.frame_stride": 2,
    "protocol.target_fps": None,
    "protocol.resize_short_side": 20,
    "protocol.crop_size": [16, 16],
    "training.num_epochs": 3,
    "training.batch_size": 8,
    "optim.warmup_epochs": 1,
    "data.num_workers": 0,
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return motion_videos(tmp_path_factory.mktemp("motion") / "videos")


def recipe(source: Path, **fields: Any) -> Recipe:
    given = {**SMALL, "data.source": str(source), **{key.replace("__", "."): value for key, value in fields.items()}}
    return load_recipe("folder/default", [(key, repr(value)) for key, value in given.items()])


def plan(source: Path, out: Path, **fields: Any) -> Plan:
    return plan_run(recipe(source, **fields), out / "run", Session())


def test_a_plan_is_what_the_run_does_and_leaves_nothing_behind(videos: Path, tmp_path: Path) -> None:
    (videos / STORE_NAME).unlink(missing_ok=True)
    before = content_of(videos)
    planned = plan(videos, tmp_path)
    assert planned.problems == []
    assert content_of(videos) == before
    assert not (tmp_path / "run").exists()
    done = run_recipe(recipe(videos), tmp_path / "run", Session())
    assert planned.schedule is not None
    assert planned.schedule.num_steps == done.state.step == 6
    log = rows_of(tmp_path / "run" / "log.csv")
    curve = {round(point.epoch * 2): point.lr for point in planned.schedule.curve}  # two steps in an epoch
    assert curve == {int(row["step"]) - 1: pytest.approx(float(row["lr"])) for row in log}
    assert planned.data is not None
    assert planned.data.rows == COUNTS
    assert planned.data.clip_seconds is not None
    assert planned.model is not None
    state = torch.load(tmp_path / "run" / "resume.pt", weights_only=True)
    assert planned.model.parameters == sum(tensor.numel() for tensor in state["model"].values())
    groups = [group["weight_decay"] for group in state["optimizer"]["param_groups"]]
    assert [group.weight_decay for group in planned.model.groups] == groups
    assert planned.training_gmacs_per_epoch == pytest.approx(16 * planned.model.training_gmacs_per_clip)
    assert planned.validation_gmacs == pytest.approx(8 * planned.model.gmacs_per_clip)
    again = plan(videos, tmp_path)
    assert again.problems == []
    assert any("goes on from its last state" in note for note in again.notes)


def test_without_data_everything_else_is_told(tmp_path: Path) -> None:
    planned = plan(tmp_path / "nowhere", tmp_path)
    assert [problem for problem in planned.problems if "nowhere" in problem] == planned.problems != []
    assert planned.data is None
    assert planned.schedule is not None
    assert planned.schedule.num_steps is None
    assert max(point.lr for point in planned.schedule.curve) == pytest.approx(5e-4, rel=0.01)
    assert planned.schedule.curve[-1].epoch == pytest.approx(3, abs=0.01)
    assert planned.model is not None
    assert planned.memory is not None
    assert planned.training_gmacs_per_epoch is None


def test_missing_files_are_counted_and_named(videos: Path, tmp_path: Path) -> None:
    lines = [f"{split}/{name}/0000.mp4,{name},{split}" for split in ("train", "val") for name in ("left", "right")]
    text(tmp_path / "rows.csv", "path,label,split", *lines, "train/left/gone.mp4,left,train")
    refused = plan(tmp_path / "rows.csv", tmp_path, data__manifest__root=str(videos))
    assert refused.data is not None
    assert (refused.data.rows, refused.data.missing) == ({"train": 3, "val": 2}, ("train/left/gone.mp4",))
    assert len(refused.problems) == 1
    assert "1 of its files do not exist" in refused.problems[0]
    skipped = plan(tmp_path / "rows.csv", tmp_path, data__manifest__root=str(videos), data__manifest__skip_missing=True)
    assert skipped.problems == []
    assert skipped.data is not None
    assert (skipped.data.rows["train"], skipped.data.missing) == (2, ("train/left/gone.mp4",))


def test_videos_that_cannot_be_read_are_a_problem(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for name in ("a", "b"):
            text(tmp_path / "data" / split / name / "0.mp4", f"no video of {name} for {split}")
    (problem,) = plan(tmp_path / "data", tmp_path).problems
    assert problem == "none of the first 2 training videos can be read (see above)"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"optim__head_lr": 0.1, "freeze": ["head"]}, "optim.head_lr: no head"),
        ({"freeze": ["encodr"]}, "freeze: nothing in ViViTFactorizedEncoder is called 'encodr'"),
        ({"init__source": "no/such/thing/here"}, "no such file or folder"),
        ({"training__batch_size": TOO_MANY, "augment__repeats": TOO_MANY // 16}, "clips keeps about"),
        (
            {"training__strategy": "fsdp"},
            "training.strategy=fsdp shards the model over processes, and this one is alone",
        ),
    ],
)
def test_what_the_run_would_refuse_is_a_problem(
    videos: Path, tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    (problem,) = plan(videos, tmp_path, **fields).problems
    assert message in problem


def launch(monkeypatch: pytest.MonkeyPatch, num_processes: int) -> None:
    known = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": num_processes, "MASTER_ADDR": "localhost", "MASTER_PORT": 1}
    for name, value in known.items():
        monkeypatch.setenv(name, str(value))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"training__strategy": "fsdp", "training__ema_decay": 0.9}, "training.ema_decay averages whole weights"),
        ({"training__accumulation": 4}, "a batch of 8 clips over 3 processes gives one of them 2, fewer than the 4"),
    ],
)
def test_what_several_processes_would_refuse_is_a_problem(
    videos: Path, tmp_path: Path, fields: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch(monkeypatch, 3)
    (problem,) = plan(videos, tmp_path, **fields).problems
    assert message in problem


def test_early_stopping_needs_a_validation_split(tmp_path: Path) -> None:
    root = motion_videos(tmp_path / "videos")
    shutil.rmtree(root / "val")
    fields = {"training__early_stopping_epochs": 2, "data__manifest__val_fraction": 0.0}
    (problem,) = plan(root, tmp_path, **fields).problems
    assert problem.startswith("training.early_stopping_epochs waits for a better validation")


def test_memory_is_that_of_one_of_the_processes(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = plan(videos, tmp_path, training__ema_decay=0.9)
    launch(monkeypatch, 2)
    whole, shards = plan(videos, tmp_path), plan(videos, tmp_path, training__strategy="fsdp")
    assert alone.memory is not None
    assert whole.memory is not None
    assert shards.memory is not None
    assert whole.problems == shards.problems == []
    assert (alone.memory.num_clips, whole.memory.num_clips, shards.memory.num_clips) == (8, 4, 4)
    assert alone.memory.average == alone.memory.weights == whole.memory.weights == 2 * shards.memory.weights
    assert whole.disk_bytes == shards.disk_bytes  # the files are of the whole model
    assert shards.to_dict()["num_processes"] == 2


def test_a_folder_that_holds_something_else_is_a_problem(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    assert plan(videos, tmp_path).problems == [f"{tmp_path / 'run'}: not empty and not a run; give another --out"]
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "run").write_text("a file")
    assert plan(videos, tmp_path).problems == [f"{tmp_path / 'run'}: is a file, expected a folder; give another --out"]


def test_first_weights_on_disk_are_fitted_in_advance(videos: Path, tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "first")
    fitting = plan(videos, tmp_path, init__source=str(source), freeze=["tokenizer"])
    assert fitting.problems == []
    assert any("head: made fresh for 8 classes" in note for note in fitting.notes)
    assert fitting.model is not None
    assert fitting.model.trained < fitting.model.parameters
    (problem,) = plan(videos, tmp_path, init__source=str(source), model__embed_dim=24).problems
    assert "embed_dim" in problem or "shape" in problem


def test_first_weights_that_are_not_to_be_had_are_a_problem(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (problem,) = plan(videos, tmp_path, init__source="tubelet-tests/never-made").problems
    assert "not in the local cache, and HF_HUB_OFFLINE is set" in problem


def test_accumulation_is_advised_where_the_activations_are_too_many(tmp_path: Path) -> None:
    """Of data that are not there yet: a batch is never larger than the rows there are."""
    nowhere = tmp_path / "nowhere"
    absent, problem = plan(nowhere, tmp_path, training__batch_size=TOO_MANY).problems
    parts = int(problem.rpartition("--training.accumulation ")[2].split()[0])
    fields = {"training__batch_size": TOO_MANY, "training__accumulation": parts}
    assert plan(nowhere, tmp_path, **fields).problems == [absent]


def test_gradient_checkpointing_is_in_the_memory_of_a_plan(videos: Path, tmp_path: Path) -> None:
    deep = {"model": {"name": MODEL, **TINY, "depth": 6}}
    kept = [plan(videos, tmp_path, **deep, training__gradient_checkpointing=value).memory for value in (False, True)]
    assert kept[0] is not None
    assert kept[1] is not None
    assert kept[1].activations < 0.5 * kept[0].activations
    assert kept[1].weights == kept[0].weights
