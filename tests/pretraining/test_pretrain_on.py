"""``tubelet train --pretrain-on``: both parts in one run, what is left out of the first, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from support import Notes, error_of
from tubelet import cli
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.manifest.read import read_manifest
from tubelet.data.prepare.config import PrepareConfig
from tubelet.data.prepare.prepare_dataset import prepare
from tubelet.errors import DataError, Stopped
from tubelet.recipe import RECIPE, Recipe, load_recipe
from tubelet.runs.folder import PRETRAINING, read_facts, resume_recipe
from tubelet.runs.masked_pretraining.before import HELD_OUT, KEY
from tubelet.runs.masked_pretraining.leaks import how_compared, rows_held_out
from tubelet.runs.run import run_recipe
from tubelet.session.session import Session
from tubelet.weights.checkpoint.checkpoint import WEIGHTS, read_record

FIELDS: dict[str, Any] = {
    "model": {"name": "videomae_s16", "tubelet_size": [2, 16, 16], "embed_dim": 16, "depth": 1, "num_heads": 2},
    "data.num_workers": 0,
    "protocol.num_frames": 4,
    "protocol.target_fps": None,
    "protocol.frame_stride": 2,
    "protocol.resize_short_side": 32,
    "protocol.crop_size": [32, 32],
    "protocol.num_temporal_views": 1,
    "training": {"num_epochs": 2, "batch_size": 8},
    "pretrain_on.fields.training": {"num_epochs": 2, "batch_size": 8, "validate_every_epochs": 1},
    "pretrain_on.fields.optim.warmup_epochs": 0.5,
    "pretrain_on.fields.masked_pretraining": {"mask_ratio": 0.75, "decoder_depth": 1, "num_pictures": 1},
}

SMALL = PrepareConfig(short_side=32, num_workers=1)
TINY = ["--model.embed_dim", "16", "--model.depth", "1", "--model.num_heads", "2"]


@pytest.fixture(scope="module")
def footage(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All files of the labeled set under other names, in a folder without classes."""
    root = tmp_path_factory.mktemp("footage")
    for split in ("train", "val", "test"):
        for number, file in enumerate(sorted(videos.glob(f"{split}/*/*.mp4"))):
            shutil.copy(file, root / f"{split}_{number}.mp4")
    return root


def recipe(videos: Path, footage: Path) -> Recipe:
    fields = {"data.source": str(videos), "pretrain_on.source": str(footage), **FIELDS}
    return load_recipe("folder/default", [(key, json.dumps(value)) for key, value in fields.items()])


@pytest.fixture(scope="module")
def done(videos: Path, footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "done"
    run_recipe(recipe(videos, footage), folder, Session())
    return folder


class Stopping(Notes):
    """Asks to stop at one validation."""

    session: Session

    def __init__(self, at: int) -> None:
        super().__init__()
        self.left = at

    def validated(self, step: int, epoch: int, metrics: Mapping[str, Any], is_best: bool, text: str) -> None:
        self.left -= 1
        if self.left == 0:
            self.session.signals.requested = signal.SIGTERM


@pytest.mark.parametrize("at", [1, 3])
def test_a_run_stopped_in_either_part_goes_on_to_the_same_bits_also_where_it_was_moved(
    at: int, videos: Path, footage: Path, done: Path, tmp_path: Path
) -> None:
    notes = Stopping(at)
    notes.session = Session(progress=notes)
    with pytest.raises(Stopped):
        run_recipe(recipe(videos, footage), tmp_path / "begun", notes.session)
    assert (tmp_path / "begun" / RECIPE).is_file()
    assert [
        note for note in notes.notes if note.endswith("(compared by content; re-encoded copies are not looked for)")
    ]
    assert (tmp_path / "begun" / PRETRAINING / "evaluation").exists() == (at == 3)
    folder = shutil.move(tmp_path / "begun", tmp_path / "moved")
    run_recipe(resume_recipe(folder), folder, Session())
    one, other = (load_file(of / "last" / WEIGHTS) for of in (done, folder))
    assert one.keys() == other.keys()
    assert all(one[name].equal(other[name]) for name in one)


def test_nothing_that_is_held_out_is_pretrained_on_and_the_record_says_so(
    videos: Path, footage: Path, done: Path
) -> None:
    held_out = {line.split(",")[0] for line in (done / HELD_OUT).read_text().splitlines()[1:]}
    assert held_out >= {file.name for file in footage.glob("test_*")}
    assert not [name for name in held_out if name.startswith("train_")]
    trained_on = read_record(done / PRETRAINING / "best").provenance["trained_on"]
    contents = trained_on["contents"].split()
    assert 0 < len(contents) <= len(list(footage.glob("train_*")))
    found = read_facts(done)[KEY]
    assert found["num_held_out"] == len(held_out)
    assert read_record(done / "best").provenance[KEY] == found
    assert read_record(done / "best").provenance["init"]["trained_on"]["contents"].split() == contents


def test_segments_of_a_held_out_film_are_found_where_they_overlap(videos: Path, tmp_path: Path) -> None:
    film = shutil.copy(next(videos.glob("test/*/*.mp4")), tmp_path / "film.mp4")
    shutil.copy(film, tmp_path / "copy.mp4")
    (tmp_path / "labeled.csv").write_text(
        "path,label,split,start_seconds,end_seconds\nfilm.mp4,a,train,0,0.2\nfilm.mp4,b,train,0.2,0.4\n"
        "film.mp4,a,test,0.4,0.6\n"
    )
    (tmp_path / "paths.csv").write_text(
        "path,split,start_seconds,end_seconds\ncopy.mp4,train,0,0.3\ncopy.mp4,train,0.55,0.7\ncopy.mp4,val,,\n"
    )
    labeled = read_manifest(tmp_path / "labeled.csv", is_checked=False)
    footage = read_manifest(tmp_path / "paths.csv", ManifestConfig(layout="unlabeled"))
    assert [row.start_seconds for row in rows_held_out(footage, labeled)] == [0.55, None]


def test_prepared_files_are_known_by_what_they_were_made_from_loose_in_shards_and_on_either_side(
    videos: Path, footage: Path, tmp_path: Path
) -> None:
    originals = read_manifest(videos)
    splits = [originals.split(name).samples for name in originals.splits]
    some = originals.with_samples([row for rows in splits for row in (rows[0], rows[-1])])
    raw = read_manifest(footage, ManifestConfig(layout="unlabeled", val_fraction=0.0, test_fraction=0.0))
    held = {row.path for row in rows_held_out(raw, some)}
    assert len(held) == 2 * len({"val", "test"})
    assert how_compared(raw, some) == "compared by content; re-encoded copies are not looked for"
    for name, config in {"loose": SMALL, "shards": dataclasses.replace(SMALL, shards=1)}.items():
        prepared = read_manifest(prepare(some, tmp_path / name, config).manifest)
        assert {row.path for row in rows_held_out(raw, prepared)} == held
        assert len(rows_held_out(prepared.split("train"), prepared)) == 0
        assert "by what they were made from" in how_compared(raw, prepared)
        as_train = prepared.with_samples([dataclasses.replace(row, split="train") for row in prepared.samples])
        assert len(rows_held_out(as_train, some)) == len(held)


def test_a_test_item_that_is_added_after_the_pretraining_is_seen(videos: Path, footage: Path, tmp_path: Path) -> None:
    mine = shutil.copytree(videos, tmp_path / "videos")
    notes = Stopping(1)
    notes.session = Session(progress=notes)
    with pytest.raises(Stopped):
        run_recipe(recipe(mine, footage), tmp_path / "run", notes.session)
    file = next(mine.glob("train/*/*.mp4"))
    file.rename(mine / "test" / file.parent.name / "moved.mp4")
    with pytest.raises(DataError, match=r"or the footage changed since the pre-training .* nothing left it out"):
        run_recipe(resume_recipe(tmp_path / "run"), tmp_path / "run", Session())


def test_the_command_plans_both_parts_with_the_papers_layer_decay(
    videos: Path, footage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(videos), "--pretrain-on", str(footage), "--out", str(tmp_path / "run"), "--device", "cpu"]
    assert cli.main(["train", *words, *TINY, "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["recipe"]["optim"]["layer_decay"] == 0.75
    assert plan["pretraining"]["recipe"]["model"]["name"] == plan["recipe"]["model"]["name"]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "timesformer_b16_divided", *TINY], "has no masked pre-training"),
        (["--init", "vit_base"], "leave --init out"),
        (["--sweep", "optim.lr=1e-4,1e-3"], "pre-train once"),
        (["--pretrain_on.recipe", "folder/default"], "has no masked_pretraining"),
        (["--pretrain_on.fields.seed", "3"], "is that of the run itself"),
    ],
)
def test_what_cannot_begin_so_is_refused_in_one_line_and_leaves_nothing(
    words: list[str], message: str, videos: Path, footage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["train", "--data", str(videos), "--pretrain-on", str(footage), *words, "--out", str(tmp_path / "run")]
    assert message in error_of([*given, "--device", "cpu", "--data.num_workers", "0"], capsys)
    assert not (tmp_path / "run").exists()
