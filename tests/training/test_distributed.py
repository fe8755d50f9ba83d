"""Several processes under torchrun compute what one computes, survive a kill to the bit, and speak with one voice.

Every start of torchrun costs seconds of imports, so that each of the three below serves several tests.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import distributed_workers as workers
import pytest
import torch

from support import Notes
from tubelet import cli
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.loader import Loader
from tubelet.data.manifest.read import read_manifest
from tubelet.errors import ConfigError
from tubelet.evaluation.evaluate import evaluate, write_evaluation
from tubelet.session.processes import launched_command, own_device
from tubelet.session.session import Session
from tubelet.training.parallel.micro_batch import check_portions
from tubelet.training.parallel.parallelize import parallelize
from tubelet.weights.open_checkpoint import open_checkpoint

CPU = torch.device("cpu")
BF16 = 5e-3  # of losses of about 1: a sum over fewer rows is rounded to 8 bits elsewhere
LOST = "another process of the run has ended"


def torchrun(num_processes: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_processes}"]
    return subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, check=False)


def stopped_after_first_step(num_processes: int, run: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``torchrun``, which gets a SIGTERM as from a scheduler when the log of ``run`` has its first line."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_processes}"]
    process = subprocess.Popen(
        [*command, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not (run / "log.csv").is_file() or not log_of(run):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, out, errors)


def log_of(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def error_lines(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if line.startswith("tubelet: error: ")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distributed")
    workers.write_videos(folder / "videos")
    return folder


@pytest.fixture(scope="module")
def compared(folder: Path) -> subprocess.CompletedProcess[str]:
    """Every case of ``workers.CASES`` and ``RESUMED`` by two processes, and then an error that both meet."""
    return torchrun(2, workers.__file__, "compare", str(folder))


@pytest.fixture(scope="module")
def killed(folder: Path, compared: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """The cases of ``workers.RESUMED`` once more, in sessions that torchrun restarts after a SIGKILL."""
    return torchrun(2, "--max-restarts=2", workers.__file__, "kill", str(folder))


@pytest.mark.parametrize("case", workers.CASES, ids=lambda case: case.name)
def test_two_processes_have_the_losses_of_one(
    folder: Path, compared: subprocess.CompletedProcess[str], case: workers.Case
) -> None:
    """Rows are shared out unevenly, two files cannot be read, and mixed clips have partners in the other process."""
    kind = (case.dtype, case.precision, case.num_epochs, case.accumulation)
    alone = folder / "-".join(map(str, ("single", *kind)))  # one of them serves both strategies
    if not alone.exists():
        workers.train(case, folder / "videos", alone, Session())
    one, two = log_of(alone), log_of(folder / case.name)
    assert len(one) == len(two) == 3 * case.num_epochs, compared.stderr
    tolerance, steps = (1e-9, 51) if case.dtype is torch.float64 else (1e-5, 5)
    tolerance = BF16 if case.precision == "bf16" else tolerance
    for ours, theirs in zip(one[:steps], two[:steps], strict=True):
        for name in ("loss", "grad_norm"):
            assert float(ours[name]) == pytest.approx(float(theirs[name]), abs=tolerance), (ours["step"], name)
        assert float(ours["top1"]) == pytest.approx(float(theirs["top1"]), abs=1e-6)
        assert ours["num_failed"] == theirs["num_failed"]
    assert one[-1]["num_failed"] == "2"
    assert (folder / case.name / "unreadable.csv").read_text() == (alone / "unreadable.csv").read_text()


def test_a_disk_that_is_full_for_one_process_is_a_line_with_the_remedy_and_the_state_before_is_whole(
    folder: Path, compared: subprocess.CompletedProcess[str]
) -> None:
    lines = {(folder / f"full-{rank}.txt").read_text(encoding="utf-8") for rank in range(2)}
    assert len(lines) == 1, compared.stderr
    (line,) = lines
    assert "cannot be written (file too large); make room on the disk" in line
    assert "then go on with `torchrun --nproc-per-node 2 -m tubelet train --resume" in line
    state = torch.load(folder / "full" / "resume.pt", weights_only=True)
    assert state["progress"]["step"] == 3
    assert [path.name for path in (folder / "full").glob("shards-*")] == [state["shards"]]


def test_a_model_that_uses_all_its_parameters_makes_torch_say_nothing(
    compared: subprocess.CompletedProcess[str],
) -> None:
    assert "find_unused_parameters" not in compared.stderr


def test_an_error_that_all_processes_meet_is_one_line(compared: subprocess.CompletedProcess[str]) -> None:
    (line,) = error_lines(compared.stderr)
    assert line.endswith("every process meets this error")
    assert compared.returncode == 1


@pytest.mark.parametrize("case", workers.RESUMED, ids=lambda case: case.name)
def test_killed_and_restarted_by_torchrun_ends_with_the_same_bits(
    folder: Path, killed: subprocess.CompletedProcess[str], case: workers.Case
) -> None:
    assert killed.returncode == 0, killed.stderr
    whole, resumed = folder / case.name, folder / f"killed-{case.name}"
    expected = torch.load(whole / "last" / "weights.pt", weights_only=True)
    for name, tensor in torch.load(resumed / "last" / "weights.pt", weights_only=True).items():
        assert tensor.equal(expected[name]), name
    kept = ("step", "epoch", "lr", "loss", "top1", "grad_norm", "num_failed")
    assert [[row[name] for name in kept] for row in log_of(resumed)] == [
        [row[name] for name in kept] for row in log_of(whole)
    ]


def test_a_process_that_dies_ends_the_run_with_one_line_each_time(killed: subprocess.CompletedProcess[str]) -> None:
    lines = error_lines(killed.stderr)
    assert len(lines) == len(workers.RESUMED), killed.stderr
    assert all(LOST in line and "--resume" in line for line in lines)


def test_shards_of_the_last_state_alone_are_kept(folder: Path, killed: subprocess.CompletedProcess[str]) -> None:
    (shards,) = (folder / "killed-fsdp").glob("shards-*")
    state = torch.load(folder / "killed-fsdp" / "resume.pt", weights_only=True)
    assert state["shards"] == shards.name
    assert len(list(shards.glob("*.safetensors"))) == 2
    assert "model" not in state


def test_stopped_by_the_scheduler_three_processes_go_on_and_evaluate_as_one_does_and_one_of_them_speaks(
    tmp_path: Path, recipe_file: Path, volumes: Path
) -> None:
    run, alone = tmp_path / "run", tmp_path / "alone"
    options = ("--training.num_epochs", "3", "--device", "cpu", "--json", "--strategy", "fsdp")
    stopped = stopped_after_first_step(3, run, "-m", "tubelet", "train", str(recipe_file), "--out", str(run), *options)
    assert stopped.returncode != 0
    assert 0 < len(log_of(run)) < 27
    (line,) = (line for line in stopped.stderr.splitlines() if line.startswith("tubelet: "))
    command = shlex.join(["torchrun", "--nproc-per-node", "3", "-m", "tubelet", "train", "--resume", str(run)])
    assert re.fullmatch(r"tubelet: .*: stopped by SIGTERM after step \d+ of 27; go on with `(.*)`", line), line
    assert line.endswith(f"go on with `{command} --device cpu`")

    words = shlex.split(command)
    done = torchrun(3, *words[words.index("-m") :], "--device", "cpu", "--json")
    assert done.returncode == 0, done.stderr
    manifest = read_manifest(volumes, ManifestConfig())
    model, record = open_checkpoint(run / "best")
    with Loader(ClipDataset(manifest.split("test"), record.protocol, "views"), 1) as loader:
        train = manifest.split("train")
        result = evaluate(
            model, loader, record.protocol, Session(), split="test", train=train, calibration=record.calibration
        )
    write_evaluation(result, alone)
    assert result.metrics["num_videos"] == 10
    for name in ("scores.csv", "metrics.json"):
        assert (run / "evaluation" / "test" / name).read_text() == (alone / name).read_text()

    (printed,) = json.loads(done.stdout)
    assert printed["num_videos"] == 10
    assert done.stderr.count("run: test: ") == 1
    validated = re.findall(r"epoch (\d+): validation top-1", done.stderr)
    assert validated == sorted(set(validated))
    assert validated[-1] == "3"
    assert len(log_of(run)) == 27
    (shards,) = run.glob("shards-*")
    assert {path.name for path in run.iterdir()} == {
        *("recipe.yaml", "run.json", "log.csv", "validation.csv", "tensorboard", "resume.pt", shards.name),
        *("best", "last", "evaluation", "report.html"),
    }


@pytest.mark.usefixtures("compared")
def test_another_number_of_processes_goes_on_and_says_that_bits_differ(folder: Path, tmp_path: Path) -> None:
    case = dataclasses.replace(workers.RESUMED[0], num_epochs=5)
    shutil.copytree(folder / "ddp", tmp_path / "run")
    notes = Notes()
    workers.train(case, folder / "videos", tmp_path / "run", Session(progress=notes))
    assert len(log_of(tmp_path / "run")) == 15
    assert any(
        note.startswith("goes on with 1 processes where there were 2: batches are the same") for note in notes.notes
    )


def test_a_batch_too_small_for_the_processes_is_refused() -> None:
    with pytest.raises(ConfigError, match="a batch of 7 clips over 4 processes gives one of them 1, fewer than the 2"):
        check_portions(7, 2, num_processes=4)


def test_shards_need_a_launcher() -> None:
    with pytest.raises(ConfigError, match="torchrun --nproc-per-node"):
        parallelize(torch.nn.Linear(1, 1), Session(), "fsdp")


def test_of_launched_processes_the_first_plans_and_commands_name_the_launcher(
    recipe_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launched_command(["train", "--resume", "my run"]) == "tubelet train --resume 'my run'"
    known = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in {**known, "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert launched_command(["train"]) == "torchrun --nnodes 2 --nproc-per-node 2 -m tubelet train"
    assert cli.main(["train", str(recipe_file), "--dry-run", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("RANK", "0")
    assert cli.main(["train", str(recipe_file), "--dry-run", "--device", "cpu"]) == 0
    assert "nothing found that would stop this run" in capsys.readouterr().out


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT"):
        monkeypatch.setenv(name, "1000")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    with pytest.raises(ConfigError, match="process 1000 of this machine has no GPU of its own"):
        own_device(torch.device("cuda"))
    with pytest.raises(ConfigError, match="not on mps"):
        own_device(torch.device("mps"))
    assert own_device(CPU) == CPU
