"""A comparison from its file to its report: balanced, resumable, and blind to the test split while it tunes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from in_this_process import InThisProcess, carried_out
from tiny_comparison import load, made_up_costs
from tubelet.errors import ConfigError
from tubelet.report.comparison_report import write_comparison_report
from tubelet.runs.result import FILE
from tubelet.session.progress import NoProgress
from tubelet.session.session import Session
from tubelet.studies.arms import Comparison
from tubelet.studies.assets import Assets
from tubelet.studies.execute import Executed
from tubelet.studies.items import read_scores
from tubelet.studies.jobs import TEST, Job, make_job
from tubelet.studies.results import ComparisonResult, gather
from tubelet.studies.timing import measure_costs
from tubelet.studies.workers import make_run

# A comparison on one process of its own, as the command runs it.
SCRIPT = """
import sys
from pathlib import Path
from tubelet.studies.arms import load_comparison
from tubelet.studies.execute import execute
from tubelet.studies.assets import Assets
from tubelet.studies.workers import Workers
from tubelet.session.session import Session
if __name__ == "__main__":
    with Workers(["cpu"], 1, Session()) as workers:
        assets = Assets(load_comparison(sys.argv[1]), Path(sys.argv[2]))
        execute(assets, workers, Session())
"""


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, Path, Executed, InThisProcess, list[str]]:
    folder = tmp_path_factory.mktemp("comparison")
    comparison = load(folder)
    return comparison, folder / "out", *carried_out(comparison, folder / "out")


Finished = tuple[Comparison, Path, Executed, InThisProcess, list[str]]


def result_of(finished: Finished) -> ComparisonResult:
    comparison, _, executed, _, _ = finished
    return gather(comparison, executed, made_up_costs(comparison))


def test_arms_take_turns_and_only_final_runs_see_the_test_split(finished: Finished) -> None:
    _, _, executed, workers, _ = finished
    tuning = [job for job in workers.made if not job.is_tested]
    assert [job.arm for job in tuning] == ["tubelets", "averaging"] * 4
    final = [job for job in workers.made if job.is_tested]
    assert [job.seed for job in final] == sorted(job.seed for job in final)
    assert {job.seed for job in tuning}.isdisjoint(job.seed for job in final)
    assert not any((job.folder / "evaluation" / "test").exists() for job in tuning)
    assert all((job.folder / TEST).is_file() for job in final)
    assert {job.arm for job in executed.final} == {"tubelets", "averaging"}


def test_a_run_that_two_protocols_share_is_made_once(finished: Finished) -> None:
    _, _, executed, workers, _ = finished
    folders = [job.folder for job in workers.made]
    assert len(set(folders)) == len(folders)
    assert {job.folder for job in (*executed.final, *executed.one_setting)} <= set(folders)


def test_divergence_is_counted_and_never_chosen(finished: Finished) -> None:
    result = result_of(finished)
    assert [look.num_diverged for look in result.looks] == [1, 1]
    assert result.num_diverged == 2
    assert all("1e+30" not in look.setting for look in result.looks)
    assert [look.num_runs for look in result.looks] == [4, 4]


def test_progress_says_how_long_it_will_take(finished: Finished) -> None:
    told = finished[-1]
    assert any("left" in text for text in told)
    assert told[0].startswith("tuning: tubelets on volumes, lr=0.0003, seed 1000")


def test_finished_runs_are_read_and_not_made_again(finished: Finished) -> None:
    comparison, out, executed, _, _ = finished
    again, workers, _ = carried_out(comparison, out)
    assert workers.made == []
    assert again == executed


def test_over_folds_every_item_is_tested_once_and_arms_are_paired_by_fold(tmp_path: Path) -> None:
    comparison = load(tmp_path, folds=2, num_seeds=2, one_setting=None)
    executed, _, _ = carried_out(comparison, tmp_path / "out")
    items = {
        arm: [read_scores(job.folder / TEST.with_name("scores.csv")).items for job in executed.final if job.arm == arm]
        for arm in comparison.arms
    }
    assert items["tubelets"] == items["averaging"]
    first, second = items["tubelets"]
    assert not set(first) & set(second)
    assert len(first) + len(second) == len(executed.groups["volumes"])
    result = gather(comparison, executed, made_up_costs(comparison))
    assert any("Cross-validation" in note for note in result.notes)
    (protocol,) = result.protocols
    assert protocol.contrasts[0].item_low is not None
    with pytest.raises(ConfigError, match="num_seeds must be 3"):
        load(tmp_path, folds=3)


def test_another_content_is_another_run(finished: Finished, tmp_path: Path) -> None:
    _, _, executed, _, _ = finished
    other = load(tmp_path, fields={**load(tmp_path).fields, "model.embed_dim": 8})
    recipe = other.recipe("volumes", "tubelets", {}, 0)
    assert recipe.model["embed_dim"] == 8
    keys = {job.key for job in executed.final}
    assert len(keys) == len(executed.final)


def test_killed_it_goes_on_to_the_same_numbers_and_leaves_no_process(finished: Finished, tmp_path: Path) -> None:
    comparison = load(tmp_path)
    out = tmp_path / "out"
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "tiny.yaml"), str(out)]
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    while len(list(out.glob(f"runs/*/*/*/{FILE}"))) < 3:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)  # not to its workers, which must see it
    process.wait()
    while is_group_alive(process.pid):
        time.sleep(0.05)
    executed, workers, _ = carried_out(comparison, out)
    assert 0 < len(workers.made) < len(finished[3].made)
    costs = made_up_costs(comparison)
    assert gather(comparison, executed, costs) == result_of(finished)


class Killed(BaseException):
    """What a run cannot handle."""


class KilledAt(NoProgress):
    """Ends a run after its step ``last``; remembers the steps it saw."""

    def __init__(self, last: int) -> None:
        self.last, self.seen = last, list[int]()

    def step(self, step: int, num_steps: int, epoch: int, loss: float) -> None:
        self.seen.append(step)
        if step == self.last:
            raise Killed


def test_moved_before_it_is_done_it_goes_on_to_the_same_numbers(finished: Finished, tmp_path: Path) -> None:
    """A run's recipe says where its data lie, and what a comparison generates lies in its folder."""
    expected = finished[2].final[0]

    def job_in(folder: Path) -> Job:
        comparison = load(folder)
        assets = Assets(comparison, folder / "out")
        return make_job(comparison, assets, "volumes", expected.arm, expected.setting, expected.seed, is_tested=True)

    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    with pytest.raises(Killed):
        make_run(job_in(here), Session(progress=KilledAt(4)))  # in its second epoch
    here.rename(there)
    job, going_on = job_in(there), KilledAt(99)
    make_run(job, Session(progress=going_on))
    assert going_on.seen == [4]  # told once an epoch: the first is not run again
    assert json.loads((job.folder / TEST).read_text()) == json.loads((expected.folder / TEST).read_text())


def is_group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_costs_are_measured_once_for_the_same_recipes(finished: Finished, tmp_path: Path) -> None:
    _, _, executed, _, _ = finished
    jobs = {"tubelets": executed.final[0]}
    costs = measure_costs(jobs, tmp_path, Session(), num_threads=1)
    assert costs["tubelets"].num_parameters > 0
    low, high = costs["tubelets"].step_spread
    assert 0 < low <= costs["tubelets"].step_seconds <= high
    assert (costs["tubelets"].peak_bytes or 0) > 10**8
    assert measure_costs(jobs, tmp_path, Session(), num_threads=1) == costs


def test_the_report_says_what_was_found_and_needs_nothing_else(finished: Finished) -> None:
    comparison, out, _, _, _ = finished
    result = result_of(finished)
    page = write_comparison_report(out, result, comparison, command="tubelet compare tiny.yaml").read_text()
    text = (out / "report.md").read_text()
    tuned, same = result.protocols
    assert [p.protocol for p in result.protocols] == ["tuned", "one setting"]
    for sentence in (*tuned.sentences, *same.sentences):
        assert sentence in text
    for words in ("Do means of slices suffice?", "every slice has weights", "one setting for all arms", "at edge"):
        assert words in page
        assert words in text
    assert page.count("<svg") == 9  # every run and two curves of each protocol, three costs of the tuned
    assert page.count('class="matrix') == 2
    assert "http" not in page.replace("http://www.w3.org", "")
    assert "<script" not in page


def test_a_result_is_plain_data(finished: Finished) -> None:
    from tubelet import config

    json.dumps(config.to_dict(result_of(finished)))
