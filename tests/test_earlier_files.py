"""Files that version 0.1.0 wrote at commit 1045975: later versions read them, and go on from them to the same numbers.

How they were made stands in ``fixtures/earlier/README.md``.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import tubelet
from earlier_files import (
    EARLIER,
    GOLDEN,
    RELATIVE,
    assert_same,
    assert_same_table,
    assert_same_tensors,
    golden,
    key_of_run,
    outcomes,
    place,
    run,
    with_versions_of_today,
)
from tubelet.config import to_dict
from tubelet.data.features.store import read_store
from tubelet.protocol import Protocol
from tubelet.recipe import load_recipe, save_recipe
from tubelet.runs.folder import kept_rules, resume_recipe
from tubelet.weights.checkpoint.checkpoint import read_record

CHECKPOINTS = sorted(path.parent.name for path in EARLIER.glob("checkpoints/*/tubelet.json"))
COMMANDS = json.loads((GOLDEN / "commands.json").read_text(encoding="utf-8"))
WEIGHTS = "model.safetensors"
CPU = ("--device", "cpu")


@pytest.fixture(scope="module")
def placed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("earlier")
    with place(folder, "checkpoints", "manifests", "stores"):
        return folder


@pytest.fixture
def checkpoints(placed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder holds the checkpoints, and what they were trained on."""
    monkeypatch.chdir(placed)


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """The current folder, with the part of the fixtures that the test is marked with."""
    with place(tmp_path, *request.param) as folder:
        yield folder


with_part = lambda *names: pytest.mark.parametrize("folder", [names], indirect=True)  # noqa: E731


def test_there_is_a_checkpoint_of_every_family_with_its_predictions() -> None:
    families = {name.partition("_")[0] for name in CHECKPOINTS}
    assert families == {"vivit", "vtn", "uniformerv2", "timesformer", "lora", "heads", "tags"}
    assert {name.partition(".")[0] for name in np.load(GOLDEN / "predictions.npz")} == set(CHECKPOINTS)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoint_predicts_as_it_did(checkpoints: None, name: str) -> None:
    expected = np.load(GOLDEN / "predictions.npz")
    video = np.load("data/clip.npy")
    classifier = tubelet.load(Path("checkpoints") / name, "cpu")
    clip = torch.from_numpy(video[:8:2, 8:24, 8:24]).permute(3, 0, 1, 2)[None].float() / 127.5 - 1  # B C T H W
    with torch.inference_mode():
        logits = classifier.model(clip).numpy()
    probs = classifier.predict_clips(torch.from_numpy(video[None, None, :8:2, 8:24, 8:24]).permute(0, 1, 5, 2, 3, 4))
    np.testing.assert_allclose(logits, expected[f"{name}.logits"], rtol=RELATIVE, atol=1e-6)
    np.testing.assert_allclose(probs.numpy(), expected[f"{name}.probs"], rtol=RELATIVE, atol=1e-6)
    assert list(classifier.labels) == expected[f"{name}.labels"].tolist()


EARLIER_RULES = {"frame_at_time": "nearest", "picture_window": None, "hdr": "as_stored", "interlaced": "as_stored"}
NEW_RULES = {"frame_at_time": "on_screen", "picture_window": [0, 65535], "hdr": "tone_map", "interlaced": "deinterlace"}


def rules(protocol: Protocol) -> dict[str, object]:
    return {name: value for name, value in to_dict(protocol).items() if name in NEW_RULES}


def test_what_was_written_keeps_the_rules_it_was_made_with_and_what_a_person_writes_has_those_of_today() -> None:
    for name in CHECKPOINTS:
        assert rules(read_record(EARLIER / "checkpoints" / name).protocol) == EARLIER_RULES
    assert rules(read_store(EARLIER / "stores/vtn").protocol) == EARLIER_RULES
    assert rules(resume_recipe(EARLIER / "runs/interrupted").protocol) == EARLIER_RULES
    assert rules(load_recipe(str(EARLIER / "recipes/volumes.yaml")).protocol) == NEW_RULES


def test_what_goes_on_in_a_folder_takes_over_its_rules(tmp_path: Path) -> None:
    expected = {f"protocol.{name}": value for name, value in EARLIER_RULES.items()}
    for runs in ("runs/sweep", "runs/comparison", "runs/interrupted"):
        assert kept_rules(EARLIER / runs) == {**expected, "training.best_of_equals": "first"}
    save_recipe(load_recipe(str(EARLIER / "recipes/volumes.yaml")), tmp_path / "recipe.yaml")
    assert kept_rules(tmp_path) == kept_rules(tmp_path / "missing") == {}


def test_adapters_are_merged_to_a_model_that_predicts_as_they_did(checkpoints: None) -> None:
    run("merge", "checkpoints/lora", "merged")
    probs = [
        run("predict", name, "data/clip.npy", "--json", "--num-workers", "0", *CPU)
        for name in ("checkpoints/lora", "merged")
    ]
    assert_same(*map(json.loads, probs))


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_says_as_json_what_it_said(checkpoints: None, name: str) -> None:
    assert_same(golden(name), json.loads(run(*COMMANDS[name])), name)


def test_a_written_manifest_is_the_data_that_it_was_written_of(checkpoints: None) -> None:
    words = ["manifests/videos.csv" if word == "data/videos" else word for word in COMMANDS["evaluate_vivit"]]
    assert_same(golden("evaluate_vivit"), json.loads(run(*words)))  # fingerprint included


def test_the_manifest_of_a_dataset_is_written_as_it_was(checkpoints: None) -> None:
    said = run("data", "manifest", "folders", "data/videos", "--out", "manifests/again.csv", "--json")
    assert_same(golden("data_manifest"), json.loads(said))
    assert Path("manifests/again.csv").read_text() == Path("manifests/videos.csv").read_text()


def test_a_feature_store_that_lacks_videos_is_finished_to_the_same_features(checkpoints: None) -> None:
    shutil.copytree("stores/vtn", "stores/unfinished")
    (Path("stores/unfinished") / "manifest.csv").unlink()
    for file in sorted(Path("stores/unfinished").rglob("*.safetensors"))[::3]:
        file.unlink()
    run("features", "checkpoints/vtn", "data/videos", "stores/unfinished", "--num-workers", "0", *CPU)
    files = sorted(file.relative_to("stores/vtn") for file in Path("stores/vtn").rglob("*.*"))
    assert files == sorted(file.relative_to("stores/unfinished") for file in Path("stores/unfinished").rglob("*.*"))
    for file in (file for file in files if file.suffix == ".safetensors"):
        assert_same_tensors("stores/vtn" / file, "stores/unfinished" / file)
    assert Path("stores/unfinished/manifest.csv").read_text() == Path("stores/vtn/manifest.csv").read_text()


def assert_same_run(was: Path, now: Path) -> None:
    assert_same_table(was / "log.csv", now / "log.csv", exact=("step", "epoch", "lr", "num_failed"))
    assert_same_table(was / "validation.csv", now / "validation.csv", exact=("step", "epoch"))
    assert_same_table(was / "evaluation/test/scores.csv", now / "evaluation/test/scores.csv")
    for kept in ("best", "last", "checkpoints/step-00000016"):
        assert_same_tensors(was / kept / WEIGHTS, now / kept / WEIGHTS)
    for file in ("evaluation/test/metrics.json", "run.json"):
        assert_same(json.loads((was / file).read_text()), json.loads((now / file).read_text()), file)
    assert sorted(path.name for path in (now / "checkpoints").iterdir()) == ["step-00000016"]


@with_part("runs/finished", "runs/interrupted")
def test_a_killed_run_goes_on_to_the_weights_and_tables_of_the_one_that_was_not(folder: Path) -> None:
    assert not Path("runs/interrupted/evaluation").exists()
    run("train", "--resume", "runs/interrupted", *CPU)
    assert_same_run(Path("runs/finished"), Path("runs/interrupted"))


@with_part("runs/finished")
def test_a_finished_run_is_not_trained_again_and_has_a_report_and_a_card(folder: Path) -> None:
    said = json.loads(run("train", "--resume", "runs/finished", "--json", *CPU))
    assert_same(golden("train"), said)
    assert said[0]["train_seconds"] == golden("train")[0]["train_seconds"]
    for kept in ("best", "last"):
        for file in (WEIGHTS, "tubelet.json"):
            path = Path("runs/finished") / kept / file
            assert path.read_bytes() == (EARLIER / path).read_bytes()
    assert_same_run(EARLIER / "runs/finished", Path("runs/finished"))
    assert "vivit_ti16x2_joint" in Path("runs/finished/report.html").read_text()
    run("push", "runs/finished", "owner/name", "--dry-run", "card")
    assert "vivit_ti16x2_joint" in Path("card/README.md").read_text()


@with_part("runs/finished")
def test_a_saved_recipe_trains_again_to_the_same_run(folder: Path) -> None:
    run("train", "runs/finished/recipe.yaml", "--out", "runs/again", *CPU)
    assert_same_run(Path("runs/finished"), Path("runs/again"))


@with_part("runs/sweep")
def test_a_stopped_sweep_goes_on_and_trains_no_finished_run_again(folder: Path) -> None:
    with_versions_of_today(Path("runs/sweep"))
    before = outcomes(Path("runs/sweep"))
    said = run("train", "recipes/sweep.yaml", "--sweep", "optim.lr=0.001,0.01", "--seeds", "2", "--json", *CPU,
               "--out", "runs/sweep")  # fmt: skip
    assert_same(golden("sweep"), _moved(json.loads(said)))
    assert 0 < len(before) < len(outcomes(Path("runs/sweep"))) == 4
    assert before.items() <= outcomes(Path("runs/sweep")).items()


@with_part("runs/comparison")
def test_a_killed_comparison_goes_on_and_trains_no_finished_run_again(folder: Path) -> None:
    runs = Path("runs/comparison")
    timing = _times_were_taken(runs)
    with_versions_of_today(runs)
    before, begun, measured = outcomes(runs), len(list(runs.rglob("recipe.yaml"))), timing.read_bytes()
    words = ("compare", "recipes/comparison.yaml", "--jobs", "1", "--json", *CPU, "--out", str(runs))
    said = subprocess.check_output([sys.executable, "-m", "tubelet", *words], env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert_same(golden("compare"), json.loads(said))
    assert 0 < len(before) < begun < len(outcomes(runs)) == 12
    assert before.items() <= outcomes(runs).items()
    assert "averaging" in (runs / "report.md").read_text()
    assert timing.read_bytes() == measured


def _times_were_taken(runs: Path) -> Path:
    """The times of the comparison that was not killed, as if they had been taken on this machine: two processes less
    to start. They are of the first final runs, whose recipes are those of tuned ones with another rate and seed."""
    found = {path.parent.name: path for path in sorted(runs.glob("runs/volumes/*/lr=0.001-seed1000-*"))}
    rates = {"tubelets": 0.001, "averaging": 0.03}
    old = {arm: key_of_run(found[arm], lr=lr, seed=0, of_today=False) for arm, lr in rates.items()}
    assert golden("timing")["keys"] == old
    keys = {arm: key_of_run(found[arm], lr=lr, seed=0) for arm, lr in rates.items()}
    machine = f"cpu of {platform.node()}, {os.cpu_count()} logical CPUs"
    file = runs / "times" / "volumes" / "timing.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(golden("timing") | {"keys": keys, "machine": machine}), encoding="utf-8")
    return file


def _moved(sweep: dict[str, list[dict[str, str]]]) -> dict[str, list[dict[str, str]]]:
    """What the sweep that was not stopped said, which was made in another folder."""
    for tested in sweep["best_on_test"]:
        tested["run"] = tested["run"].replace("runs/", "work/")
    return sweep


SCAN = ("data", "scan", "data/scanned", "--out", "scans/scanned", "--json", "--num-workers", "1")


@with_part("scans")
def test_a_scan_finds_again_what_it_found(folder: Path) -> None:
    """Files are decoded again, because the lines of earlier versions do not tell what is noted of a file now."""
    results = Path("scans/scanned/results.jsonl").read_bytes()
    assert_same(golden("data_scan"), json.loads(run(*SCAN, code=1)))
    assert Path("scans/scanned/results.jsonl").read_bytes().startswith(results)
    assert Path("scans/scanned/quarantine.csv").read_text() == (EARLIER / "scans/scanned/quarantine.csv").read_text()


@with_part("scans")
def test_a_scan_that_was_killed_in_a_line_goes_on(folder: Path) -> None:
    file = Path("scans/scanned/results.jsonl")
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:4]) + lines[4][:40])
    assert_same(golden("data_scan"), json.loads(run(*SCAN, code=1)))
    found = file.read_text().splitlines(keepends=True)
    assert found[:4] == lines[:4]
    assert len(found) == 5 + len(lines)


@with_part("scans")
def test_training_leaves_out_what_a_quarantine_list_names(folder: Path) -> None:
    listed = "scans/scanned/quarantine.csv"
    words = ("--data.source", "data/scanned", "--data.manifest.quarantine", listed, "--dry-run", "--json")
    plan = json.loads(run("train", "recipes/vivit_fe.yaml", *words, *CPU))
    assert plan["data"]["rows"] == golden("quarantined_rows")
