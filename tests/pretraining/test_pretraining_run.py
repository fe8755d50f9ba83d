"""Pre-training on footage without labels: masks, resuming, what becomes of the encoder, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

import tubelet
from support import Notes, error_of, rows_of
from tubelet import cli
from tubelet.api.train import report_runs
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.layouts.unlabeled.read import without_labels
from tubelet.data.manifest.read import read_manifest
from tubelet.errors import Stopped
from tubelet.recipe import Recipe, load_recipe
from tubelet.runs.masked_pretraining.model import DECODER, first_pretraining
from tubelet.runs.masked_pretraining.run import training_loader
from tubelet.runs.run import read_run_data, run_recipe
from tubelet.session.session import Session
from tubelet.weights.checkpoint.checkpoint import WEIGHTS, read_record

GROUPS: dict[str, Any] = {
    "model": {"name": "videomae_s16", "tubelet_size": [2, 8, 8], "embed_dim": 24, "depth": 1, "num_heads": 2},
    "data": {"num_workers": 0},
    "protocol": {
        "num_frames": 4,
        "frame_stride": 2,
        "resize_short_side": 32,
        "crop_size": [32, 32],
        "num_temporal_views": 1,
        "num_spatial_crops": 1,
    },
    "masked_pretraining": {"mask_ratio": 0.75, "decoder_depth": 1, "measure_every_epochs": 1, "num_pictures": 1},
    "optim": {"lr": 0.003, "warmup_epochs": 0.5},
    "training": {"num_epochs": 3, "batch_size": 8, "ema_decay": 0.9},
}


@pytest.fixture(scope="module")
def footage(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos in a folder without classes, one of them deeper."""
    root = tmp_path_factory.mktemp("footage")
    (root / "2024" / "may").mkdir(parents=True)
    for number, file in enumerate(sorted(videos.glob("train/*/*.mp4"))):
        shutil.copy(file, root / ("2024/may" if number == 3 else ".") / f"{number}.mp4")
    return root


def recipe(data: Path, **overrides: str) -> Recipe:
    fields = [("data.source", json.dumps(str(data))), *((n.replace("__", "."), t) for n, t in overrides.items())]
    file = data.parent / "recipe.yaml"
    if not file.exists():
        file.write_text(yaml.safe_dump({**GROUPS, "data": {**GROUPS["data"], "source": "x"}}), encoding="utf-8")
    return load_recipe(str(file), fields)


@pytest.fixture(scope="module")
def done(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on labeled data, to its end."""
    folder = tmp_path_factory.mktemp("runs") / "done"
    run_recipe(recipe(videos), folder, Session())
    return folder


class StoppingNotes(Notes):
    """Asks to stop at the second validation."""

    session: Session
    count = 0

    def validated(self, step: int, epoch: int, metrics: Mapping[str, Any], is_best: bool, text: str) -> None:
        self.count += 1
        if self.count == 2:
            self.session.signals.requested = signal.SIGTERM


def test_a_stopped_run_goes_on_to_the_same_bits_with_other_workers(videos: Path, done: Path, tmp_path: Path) -> None:
    notes = StoppingNotes()
    notes.session = Session(progress=notes)
    with pytest.raises(Stopped):
        run_recipe(recipe(videos), tmp_path / "run", notes.session)
    assert not (tmp_path / "run" / "evaluation").exists()
    run_recipe(recipe(videos), tmp_path / "run", Session())
    for file in (WEIGHTS, DECODER):
        one, other = (load_file(folder / "last" / file) for folder in (done, tmp_path / "run"))
        assert one.keys() == other.keys()
        assert all(one[name].equal(other[name]) for name in one)
    measured = [[r["loss"] for r in rows_of(folder / "validation.csv")] for folder in (done, tmp_path / "run")]
    assert measured[0] == measured[1]


def test_masks_are_keyed_by_seed_epoch_and_clip_and_not_by_workers(footage: Path) -> None:
    def labels(workers: int, epoch: int, **overrides: str) -> list[list[int]]:
        own = recipe(footage, data__num_workers=str(workers), **overrides)
        model = first_pretraining(own, Session())
        with training_loader(model, read_run_data(own, None), Session()) as loader:
            return [row for batch in loader.train_batches(epoch) for row in batch.labels.tolist()]

    assert labels(0, 1) == labels(2, 1)
    assert labels(0, 1) != labels(0, 2)
    assert labels(0, 1) != labels(0, 1, seed="1")


def test_validation_sees_the_same_masks_each_time_and_test_clips_are_never_read(done: Path, videos: Path) -> None:
    record = read_record(done / "best")
    assert record.model_config["num_classes"] == 0
    metrics = json.loads((done / "evaluation" / "val" / "metrics.json").read_text())
    best = min(float(row["loss"]) for row in rows_of(done / "validation.csv"))
    assert metrics["loss"] == pytest.approx(best, rel=1e-6)
    assert metrics["knn_top1"] is not None
    assert metrics["linear_top1"] is not None
    assert all(row["linear_top1"] for row in rows_of(done / "validation.csv"))  # measure_every_epochs is 1
    tested = {file.relative_to(videos).as_posix() for file in videos.glob("test/*/*.mp4")}
    assert not tested & set(record.provenance["trained_on"].get("files", {}))


def test_a_plain_folder_is_footage_and_a_broken_file_is_counted(
    footage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (footage / "broken.mp4").write_bytes(b"not a video")
    fields = {"training__num_epochs": "1", "data__failure_budget": "0.1", "data__manifest__val_fraction": "0"}
    chosen = recipe(footage, **fields)
    notes = Notes()
    result = run_recipe(chosen, tmp_path / "run", Session(progress=notes))
    (footage / "broken.mp4").unlink()
    report_runs(tmp_path / "run", chosen, [result], "tubelet pretrain --data footage", notes)
    assert any("broken.mp4" in note for note in notes.notes)
    assert result.evaluation.num_videos == 16
    assert "what was painted" in (tmp_path / "run" / "report.html").read_text()


def test_a_broken_file_is_named_once_also_where_it_is_validated_on(footage: Path, tmp_path: Path) -> None:
    broken = [footage / f"broken{number}.mp4" for number in range(8)]
    for number, file in enumerate(broken):
        file.write_bytes(b"not a video, but one of its own" + bytes(number))
    fields = {"training__num_epochs": "2", "data__failure_budget": "1", "data__manifest__val_fraction": "0.5"}
    notes = Notes()
    result = run_recipe(recipe(footage, **fields), tmp_path / "run", Session(progress=notes))
    for file in broken:
        file.unlink()
    assert 0 < len(result.evaluation.failed) < len(broken)
    named = [note for note in notes.notes if note.startswith("not used: ")]
    assert all(sum(file.name in note for note in named) == 1 for file in broken)


def test_a_run_s_encoder_starts_a_classifier_whose_report_says_what_was_taken(
    videos: Path, done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(videos), "--init", str(done), "--out", str(tmp_path / "fine"), "--epochs", "1"]
    words += ["--optim.layer_decay", "0.75", "--model.final_norm", "pooled", "--data.num_workers", "0"]
    assert cli.main(["train", *words, "--device", "cpu"]) == 0
    said = capsys.readouterr().err
    assert re.search(r"init: \d+ tensors filled, 4 fresh, 2 of the source dropped", said)


def test_a_table_of_paths_is_footage_too(footage: Path, tmp_path: Path) -> None:
    table = tmp_path / "paths.csv"
    files = [file.relative_to(footage).as_posix() for file in sorted(footage.rglob("*.mp4"))]
    table.write_text(
        "path,split\n" + "".join(f"{file},{'val' if i < 3 else 'train'}\n" for i, file in enumerate(files))
    )
    config = without_labels(table, ManifestConfig(root=footage))
    manifest = read_manifest(table, config)
    assert config.layout == "unlabeled"
    assert {name: len(manifest.split(name)) for name in manifest.splits} == {"train": len(files) - 3, "val": 3}
    assert manifest.class_names == {}


def test_labeled_footage_keeps_its_test_split(videos: Path) -> None:
    assert without_labels(videos, ManifestConfig()).layout is None
    assert without_labels(videos / "train", ManifestConfig()).layout is None


def test_python_gives_the_run_that_the_command_gives(videos: Path, done: Path, tmp_path: Path) -> None:
    file = videos.parent / "recipe.yaml"
    run = tubelet.pretrain(videos, recipe=file, out=tmp_path / "run", device="cpu", progress=False)
    assert load_file(run.best / WEIGHTS).keys() == load_file(done / "best" / WEIGHTS).keys()
    assert run.metrics["loss"] == json.loads((done / "evaluation" / "val" / "metrics.json").read_text())["loss"]


def test_a_dry_run_counts_a_masked_step_and_writes_nothing(
    footage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(footage), "--out", str(tmp_path / "run"), "--dry-run", "--json", "--device", "cpu"]
    assert cli.main(["pretrain", *words]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert cli.main(["pretrain", *words, "--masked_pretraining.mask_ratio", "0.5"]) == 0
    denser = json.loads(capsys.readouterr().out)
    assert plan["model"]["gmacs_per_clip"] < 0.7 * denser["model"]["gmacs_per_clip"]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "vivit_ti16x2_fe", "--masked_pretraining.mask", "random"], "use tube or block"),
        (["--model", "vtn_vit_b16"], "has no masked pre-training"),
        (["--masked_pretraining.mask_ratio", "0.001"], "hides 0 of"),
        (["--training.label_smoothing", "0.1"], "knows no labels"),
        (["folder/default"], "has no masked_pretraining"),
    ],
)
def test_what_cannot_be_pretrained_is_refused_in_one_line(
    words: list[str], message: str, footage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["pretrain", *words, "--data", str(footage), "--out", str(tmp_path / "run"), "--device", "cpu"]
    assert message in error_of([*given, "--data.num_workers", "0"], capsys)
