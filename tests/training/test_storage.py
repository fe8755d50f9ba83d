"""A file that cannot be written: one line that names it, and nothing that was there before is harmed."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from small_runs import Small, assert_equal, scripted, train_small, write_volumes
from support import Notes, assert_one_line, content_of, tiny_model, write_checkpoint
from tubelet.errors import TubeletError
from tubelet.training.state.resume import FILE as STATE
from tubelet.training.state.resume import write_state
from tubelet.training.state.storage import explaining_storage, tidy
from tubelet.weights.checkpoint.checkpoint import Record, load_checkpoint, read_record, save_checkpoint


@contextmanager
def no_file_longer_than(num_bytes: int) -> Iterator[None]:
    """As on a full disk, for this process."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class Fills(Notes):
    """A reporter that lets the disk be full from step ``at`` on."""

    def __init__(self, at: int, num_bytes: int) -> None:
        super().__init__()
        self.at, self.num_bytes = at, num_bytes

    def step(self, step: int, num_steps: int, epoch: int, loss: float) -> None:
        if step >= self.at:
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.num_bytes, hard))


@pytest.mark.parametrize("num_bytes", [0, 200, 3000])
def test_a_full_disk_ends_the_run_with_a_line_and_it_goes_on_to_the_same_bits(
    tmp_path: Path, num_bytes: int, capfd: pytest.CaptureFixture[str]
) -> None:
    root, run = write_volumes(tmp_path / "data"), tmp_path / "run"
    train_small(root, tmp_path / "expected", expected := Small(), num_epochs=3, validate=scripted([0.1, 0.2, 0.3]))
    options = {"num_epochs": 3, "checkpoint_every_steps": 1}
    with (
        no_file_longer_than(resource.getrlimit(resource.RLIMIT_FSIZE)[0]),
        pytest.raises(TubeletError) as caught,
        explaining_storage(run),
    ):
        train_small(root, run, Small(), validate=scripted([0.1, 0.2, 0.3]), notes=Fills(4, num_bytes), **options)
    assert_one_line(caught, str(run), "cannot be written (file too large); make room on the disk")
    assert_one_line(caught, f"then go on with `tubelet train --resume {run}`")
    assert "Traceback" not in capfd.readouterr().err
    assert torch.load(run / STATE, weights_only=True)["progress"]["step"] == 3
    assert list(run.glob(".*")) == []
    train_small(root, run, resumed := Small(seed=1), validate=scripted([0.2, 0.3]), **options)
    assert_equal(expected.state_dict(), resumed.state_dict())


def test_a_state_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    with no_file_longer_than(5000), pytest.raises(OSError, match="File too large"):
        write_state({"tensor": torch.zeros(10_000)}, tmp_path / "state.pt")
    write_state({"tensor": torch.arange(10_000), "step": 3}, tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["tensor"].equal(torch.arange(10_000))
    assert state["step"] == 3


def test_a_checkpoint_that_cannot_be_written_is_the_one_before(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "best")
    before, (model, config) = content_of(path), tiny_model(8)
    record = Record(model_name=read_record(path).model_name, model_config=config, protocol=read_record(path).protocol)
    with no_file_longer_than(5000), pytest.raises(OSError, match="File too large") as caught:
        save_checkpoint(path, model, record)
    assert caught.value.filename == str(path)
    assert content_of(path) == before
    assert [p.name for p in tmp_path.iterdir()] == ["best"]


@pytest.mark.parametrize("owner", ["folder without permission", "folder in the way"])
def test_a_state_in_a_folder_that_takes_no_files_is_explained(tmp_path: Path, owner: str) -> None:
    root, run = write_volumes(tmp_path / "data"), tmp_path / "run"
    if owner == "folder in the way":
        (run / STATE / "in the way").mkdir(parents=True)
        expected = f"{run / STATE}: cannot be written (is a directory)"
        with pytest.raises(TubeletError) as caught, explaining_storage(run):
            raise IsADirectoryError(21, "Is a directory", str(run / STATE))
        assert_one_line(caught, expected)
        return
    run.mkdir()
    with as_ordinary_user(run), pytest.raises(TubeletError) as caught, explaining_storage(run):
        train_small(root, run, Small())
    assert_one_line(caught, f"{run}", "cannot be written (permission denied); allow writing there, then start the run")


@contextmanager
def as_ordinary_user(folder: Path) -> Iterator[None]:
    """A folder without permission to write, which root would not notice."""
    folder.chmod(0o555)
    is_root = os.geteuid() == 0
    if is_root:
        for path in (folder, *folder.parents):
            if path.stat().st_mode & 0o005 != 0o005 and path.owner() == "root":
                path.chmod(path.stat().st_mode | 0o055)
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o755)


def test_other_system_errors_are_left_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), explaining_storage(tmp_path):
        (tmp_path / "none").read_bytes()


def test_what_killed_writers_left_is_tidied_and_a_checkpoint_that_was_being_replaced_is_put_back(
    tmp_path: Path,
) -> None:
    whole = content_of(write_checkpoint(tmp_path / ".best.old"))
    (tmp_path / ".best.new").mkdir()
    (tmp_path / ".best.new" / "model.safetensors").write_bytes(b"half")
    (tmp_path / "checkpoints" / ".step-00000003.new").mkdir(parents=True)
    (tmp_path / f".{STATE}.4711.new").write_bytes(b"half")
    (tmp_path / ".of the user.new").write_bytes(b"no number, not ours")
    tidy(tmp_path)
    assert content_of(tmp_path / "best") == whole
    load_checkpoint(tmp_path / "best")
    assert sorted(path.name for path in tmp_path.rglob(".*")) == [".of the user.new"]
