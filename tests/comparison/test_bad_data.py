"""What real footage does to a comparison: unreadable files, arms that never train, splits that cannot judge."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from in_this_process import carried_out
from tiny_comparison import CONTENT, WITH_ASSETS, load, made_up_costs, write_volumes
from tubelet.data.synthetic import write_motion_set
from tubelet.errors import ConfigError, DataError
from tubelet.report.comparison_report import write_comparison_report
from tubelet.report.comparison_tables import warnings
from tubelet.studies.arms import Comparison
from tubelet.studies.execute import Executed
from tubelet.studies.jobs import TEST
from tubelet.studies.results import gather

FEW_RUNS: dict[str, Any] = {
    "tuning": {"grid": {"optim.lr": [0.0005, 0.001, 0.002, 0.003]}, "max_extensions": 0},
    "one_setting": None,
    "levels": [],
    "num_seeds": 1,
}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips") / "clips"
    write_motion_set(folder, {"train": 16, "val": 8, "test": 8}, size_pixels=32, num_frames=8)
    return folder


def on_clips(folder: Path, clips: Path, **changes: Any) -> Comparison:
    arms = {name: {"about": name, "fields": {}} for name in ("one", "other")}
    arms["other"]["fields"] = {"model.embed_dim": 24}
    content: dict[str, Any] = {
        **WITH_ASSETS,
        "datasets": {"clips": {"fields": {"data.source": str(clips)}}},
        "generated": {},
        "starts": {},
        "arms": arms,
        "contrasts": [["one", "other"]],
        "test_views": [],
        **changes,
    }
    return load(folder, **content)


def damaged(clips: Path, folder: Path, *names: str) -> Path:
    shutil.copytree(clips, folder)
    for name in names:
        file = folder / name
        file.write_bytes(file.read_bytes()[:300])
    return folder


def report(comparison: Comparison, executed: Executed, out: Path) -> tuple[str, list[str]]:
    result = gather(comparison, executed, made_up_costs(comparison))
    page = write_comparison_report(out, result, comparison, command="tubelet compare").read_text()
    return page, list(warnings(result))


@pytest.fixture(scope="module")
def on_bad_clips(tmp_path_factory: pytest.TempPathFactory, clips: Path) -> tuple[Comparison, Executed, Path]:
    """A comparison on clips of which one for training and one for the test cannot be read."""
    folder = tmp_path_factory.mktemp("bad")
    comparison = on_clips(folder, damaged(clips, folder / "clips", "train/left/0000.mp4", "test/up/0000.mp4"))
    return comparison, carried_out(comparison, folder / "out")[0], folder / "out"


def test_videos_that_cannot_be_read_are_told_with_the_result(
    on_bad_clips: tuple[Comparison, Executed, Path],
) -> None:
    comparison, executed, out = on_bad_clips
    page, told = report(comparison, executed, out)
    for arm in ("one", "other"):
        assert any(
            line.startswith(f"{arm} on clips (tuned): 1\u00a0test item could not be read in a run") for line in told
        )
        assert any(line.startswith(f"{arm} on clips (tuned): 1\u00a0training video could not be read") for line in told)
    assert "Items: 16 train, 8 val, 8 test." in page
    assert {run.num_items for arm in gather_arms(comparison, executed) for run in arm.runs} == {7}


def gather_arms(comparison: Comparison, executed: Executed) -> tuple[Any, ...]:
    (protocol,) = gather(comparison, executed, made_up_costs(comparison)).protocols
    return protocol.arms


def test_arms_meet_on_the_items_that_all_of_their_runs_could_read(
    on_bad_clips: tuple[Comparison, Executed, Path],
) -> None:
    comparison, executed, out = on_bad_clips
    files = [job.folder / TEST.with_name("scores.csv") for job in executed.final]
    arms = [job.arm for job in executed.final]
    tables = [[line.split(",") for line in file.read_text().splitlines()[1:]] for file in files]

    def difference(rows: list[int]) -> float:
        right = {arm: [] for arm in arms}
        for arm, table in zip(arms, tables, strict=True):
            right[arm] += [table[row][3] == table[row][4] for row in rows]
        return float(np.mean(right["one"]) - np.mean(right["other"]))

    every = [*range(7)]  # the eighth could not be read
    lost = next(row for row in every if abs(difference([r for r in every if r != row]) - difference(every)) > 0.01)
    whole = files[0].read_text()
    lines = whole.splitlines()  # as if one run had failed to read that item
    files[0].write_text("\n".join(line for i, line in enumerate(lines) if i != lost + 1) + "\n")
    (found,) = gather(comparison, executed, made_up_costs(comparison)).protocols[0].contrasts
    assert found.difference.mean == pytest.approx(difference([row for row in every if row != lost]))
    assert found.difference.num_values == 2
    report(comparison, executed, out)
    files[0].write_text(whole)


def test_arms_that_are_tested_on_different_items_are_refused_before_the_first_run(tmp_path: Path, clips: Path) -> None:
    fewer = damaged(clips, tmp_path / "fewer")
    (fewer / "test/up/0000.mp4").unlink()
    arms = {"one": {"about": "one", "fields": {}}, "other": {"about": "o", "fields": {"data.source": str(fewer)}}}
    with pytest.raises(ConfigError, match="arms 'one' and 'other' on 'clips' have different validation or test items"):
        carried_out(on_clips(tmp_path, clips, arms=arms), tmp_path / "out")
    assert not (tmp_path / "out" / "runs").exists()


def test_a_split_of_one_class_is_refused_where_it_leaves_the_metric_undefined(tmp_path: Path) -> None:
    with np.load(write_volumes(tmp_path / "volumes.npz"), allow_pickle=False) as content:
        arrays = {name: np.zeros_like(array) if name == "test_labels" else array for name, array in content.items()}
    np.savez(tmp_path / "zeros.npz", **arrays)
    datasets = {"volumes": {"fields": {"data.source": str(tmp_path / "zeros.npz")}}}
    with pytest.raises(DataError, match="dataset 'volumes': split test has one class, and AUROC needs two"):
        carried_out(load(tmp_path, datasets=datasets), tmp_path / "out")
    carried_out(load(tmp_path, datasets=datasets, metric="top1", **FEW_RUNS), tmp_path / "top1")


def test_an_arm_that_always_diverges_has_its_place_in_the_report(tmp_path: Path) -> None:
    wild = {"about": "never trains", "fields": {"optim.weight_decay": 1e30}}
    comparison = load(
        tmp_path,
        arms={"tubelets": CONTENT["arms"]["tubelets"], "wild": wild},
        contrasts=[["wild", "tubelets"]],
        test_views=[1],
        **FEW_RUNS | {"num_seeds": 2},
    )
    executed, _, _ = carried_out(comparison, tmp_path / "out")
    page, told = report(comparison, executed, tmp_path / "out")
    assert "wild on volumes (tuned): 2 of 2 final runs diverged and are in no mean." in told
    assert "not judged" in page
