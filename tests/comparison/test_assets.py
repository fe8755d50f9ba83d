"""A comparison generates its clips, trains the models to start from, and tests with more views, all by itself."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from in_this_process import carried_out
from tiny_comparison import WITH_ASSETS, load, made_up_costs
from tubelet.errors import ConfigError, DataError, Diverged
from tubelet.report.comparison_report import write_comparison_report
from tubelet.studies.arms import Comparison
from tubelet.studies.assets import Assets
from tubelet.studies.execute import Executed
from tubelet.studies.jobs import views_file
from tubelet.studies.results import gather
from tubelet.weights.open_checkpoint import open_checkpoint


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


Finished = tuple[Comparison, Path, Executed]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("assets")
    comparison = load(folder, **WITH_ASSETS)
    return comparison, folder / "out", carried_out(comparison, folder / "out")[0]


def test_clips_are_generated_and_every_run_reads_them(finished: Finished) -> None:
    _, out, executed = finished
    (motion, shapes) = sorted((out / "data").iterdir())
    assert len(list(motion.rglob("*.mp4"))) == 32
    assert {p.name for p in (shapes / "train").iterdir()} == {"bar", "triangle", "cross", "letter_l", "arrow"}
    assert {job.recipe.data.source for job in executed.final} == {str(motion)}
    assert [job.recipe.data.source for job in executed.starts] == [str(shapes)]


def test_arms_start_from_the_model_that_was_trained_for_them(finished: Finished) -> None:
    _, _, executed = finished
    (start,) = executed.starts
    for job in executed.final:
        account = json.loads((job.folder / "run.json").read_text()).get("init")
        if job.arm == "random":
            assert job.recipe.init is None
            assert account is None
        else:
            assert job.recipe.init is not None
            assert job.recipe.init.tokenizer == "central_frame"
            assert account["source"] == str(start.folder / "best")
    image, _ = open_checkpoint(start.folder / "best")
    assert image.config.tubelet_size == (1, 16, 16)


def test_a_comparison_may_be_moved_and_what_a_start_is_made_of_makes_other_runs(
    finished: Finished, tmp_path: Path
) -> None:
    comparison, out, executed = finished
    shutil.copytree(out / "data", tmp_path / "data")

    def keys(comparison: Comparison) -> dict[str, str]:
        assets = Assets(comparison, tmp_path)
        return {
            arm: assets.place("motion", comparison.recipe("motion", arm, dict(setting), 0)).key
            for arm, setting in settings.items()
        }

    settings = {job.arm: job.setting for job in executed.final}
    assert keys(comparison) == {job.arm: job.key for job in executed.final if job.seed == 0}
    longer = dataclasses.replace(
        comparison.starts["image"], fields={**comparison.starts["image"].fields, "optim.lr": 0.01}
    )
    other = keys(dataclasses.replace(comparison, starts={"image": longer}))
    assert other["random"] == keys(comparison)["random"]
    assert other["central"] != keys(comparison)["central"]


def test_final_runs_are_tested_with_every_number_of_views(finished: Finished) -> None:
    comparison, out, executed = finished
    for job in executed.final:
        for number in (1, 2):
            content = json.loads((job.folder / views_file(number)).read_text())
            assert (content["views"], content["num_videos"]) == (f"{number}x1", 8)
    result = gather(comparison, executed, made_up_costs(comparison))
    (tuned,) = result.protocols
    assert all(list(arm.views) == ["1", "2"] for arm in tuned.arms)
    write_comparison_report(out, result, comparison, command="tubelet compare tiny.yaml")
    for file in ("report.html", "report.md"):
        text = (out / file).read_text()
        assert "Temporal views" in text
        assert "Published figures" in text
        assert "ViViT-B, tubelets of 4, central frame" in text
        assert "79.2" in text


def test_a_finished_comparison_that_was_moved_writes_its_report(finished: Finished, tmp_path: Path) -> None:
    comparison, out, executed = finished
    moved = tmp_path / "moved"
    shutil.copytree(out, moved)
    hidden = out.rename(out.with_name("hidden"))  # what the recipes of the runs still name
    try:
        result = gather(comparison, executed_in(executed, moved), made_up_costs(comparison))
        page = write_comparison_report(moved, result, comparison, command="tubelet compare tiny.yaml")
    finally:
        hidden.rename(out)
    assert "data:image/jpeg" in page.read_text()


def executed_in(executed: Executed, out: Path) -> Executed:
    """The same runs in another folder."""
    moved = {
        kind: tuple(
            dataclasses.replace(job, folder=out / Path(*job.folder.parts[job.folder.parts.index(kind) :]))
            for job in jobs
        )
        for kind, jobs in (("runs", executed.final), ("starts", executed.starts))
    }
    return dataclasses.replace(executed, final=moved["runs"], starts=moved["starts"])


def test_only_clips_that_are_read_are_generated(finished: Finished, tmp_path: Path) -> None:
    comparison, _, _ = finished
    Assets(dataclasses.replace(comparison, chosen_arms=("random",), contrasts=()), tmp_path).generate()
    assert [p.name.partition("-")[0] for p in (tmp_path / "data").iterdir()] == ["motion"]


def test_data_without_a_test_split_are_refused_before_the_first_run(tmp_path: Path) -> None:
    generated = {**WITH_ASSETS["generated"]}
    generated["motion"] = {**generated["motion"], "counts": {"train": 8, "val": 8}}
    comparison = load(tmp_path, **{**WITH_ASSETS, "generated": generated})
    with pytest.raises(DataError, match="dataset 'motion': has no split test; a comparison trains on train"):
        carried_out(comparison, tmp_path / "out")
    assert not (tmp_path / "out" / "runs").exists()
    assert not (tmp_path / "out" / "starts").exists()


def test_a_start_that_diverges_ends_the_comparison_and_names_what_to_set(tmp_path: Path) -> None:
    starts = {"image": {**WITH_ASSETS["starts"]["image"]}}
    starts["image"]["fields"] = {**starts["image"]["fields"], "optim.lr": 1e30}
    comparison = load(tmp_path, **{**WITH_ASSETS, "starts": starts})
    with pytest.raises(Diverged, match=r"image to start from, on motion: .* set its optim.lr in starts.image.fields"):
        carried_out(comparison, tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"datasets": {"motion": {"fields": {"data.source": "generated:motions"}}}}, "did you mean 'motion'"),
        ({"starts": {}}, "'start:image' is not in starts of the comparison"),
        ({"test_views": [0]}, "test_views must be positive"),
        (
            {
                "starts": {
                    **WITH_ASSETS["starts"],
                    "second": {"about": "", "fields": {"init.source": "start:image"}},
                }
            },
            "start 'second' on 'motion': begins with another start",
        ),
        (
            {"arms": {**WITH_ASSETS["arms"], "random": {"about": "", "fields": {}, "datasets": {"motoin": {}}}}},
            "no dataset 'motoin'; did you mean 'motion'",
        ),
        ({"published": ["arXiv 2103.15691v1 Table 11"]}, "did you mean 'arXiv 2103.15691v1 Table 1'"),
    ],
)
def test_names_that_stand_for_nothing_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, **{**WITH_ASSETS, **changes})
