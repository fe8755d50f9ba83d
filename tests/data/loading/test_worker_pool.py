from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from typing import ClassVar

import pytest
import torch

from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.dataset import Item
from tubelet.data.loading.loader import Loader
from tubelet.data.loading.worker_pool import WorkerPool
from tubelet.data.manifest.manifest import Manifest
from tubelet.protocol import Protocol

PROTOCOL = Protocol(
    num_frames=4,
    frame_stride=2,
    resize_short_side=20,
    crop_size=(16, 16),
    num_temporal_views=2,
    num_spatial_crops=1,
)


class DyingDataset(ClipDataset):
    """Kills the process that reads row 2, as a crashing decoder does."""

    def read(self, index: int, epoch: int = 0) -> Item:
        if index == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(index, epoch)


class MistakenDataset(ClipDataset):
    """Has a programming error."""

    def read(self, index: int, epoch: int = 0) -> Item:
        raise ZeroDivisionError(f"row {index}")


def test_a_dying_worker_costs_the_row_it_read(manifest: Manifest) -> None:
    (expected,) = Loader(ClipDataset(manifest, PROTOCOL, "views"), 9).eval_batches()
    with Loader(DyingDataset(manifest, PROTOCOL, "views"), 9, num_workers=2) as loader:
        for _ in range(2):
            (batch,) = loader.eval_batches()
            assert batch.weight.tolist() == [1, 1, 0, 1, 1, 1, 1, 1, 1]
            (line,) = batch.failures
            assert str(manifest.root / "2.npy") in line
            assert "signal 9" in line
            read = batch.weight > 0
            assert torch.equal(batch.clips[read], expected.clips[read])
            assert not batch.clips[2].any()


def test_a_worker_killed_between_rows_costs_nothing(manifest: Manifest) -> None:
    dataset = ClipDataset(manifest, PROTOCOL, "views")
    (expected,) = Loader(dataset, 9).eval_batches()
    with Loader(dataset, 9, num_workers=1) as loader:
        for _ in range(3):
            (batch,) = loader.eval_batches()
            assert batch.failures == ()
            assert torch.equal(batch.clips, expected.clips)
            for process in multiprocessing.active_children():
                if process.name == "tubelet-reader":
                    process.kill()


def test_a_hanging_read_can_be_killed(manifest: Manifest) -> None:
    (manifest.root / "4.npy").unlink()
    os.mkfifo(manifest.root / "4.npy")  # opening it waits for a writer that never comes
    with Loader(ClipDataset(manifest, PROTOCOL, "views"), 3, num_workers=2) as loader:
        batches = loader.eval_batches()
        assert next(batches).failures == ()
        while not (stuck := [reading for reading in loader.rows_in_progress() if reading.name.endswith("4.npy")]):
            time.sleep(0.01)
        assert loader.kill(stuck[0])
        second, third = batches
    assert second.weight.tolist() == [1, 0, 1]
    assert "4.npy" in second.failures[0]
    assert third.failures == ()


@pytest.mark.parametrize("name", ["4.npy", "8.npy"])
def test_a_read_that_hangs_is_killed_after_its_time_and_named(manifest: Manifest, name: str) -> None:
    dataset = ClipDataset(manifest, PROTOCOL, "views")
    expected = torch.cat([batch.clips for batch in Loader(dataset, 3).eval_batches()])
    (manifest.root / name).unlink()
    os.mkfifo(manifest.root / name)
    hung = int(name[0])
    with Loader(dataset, 3, num_workers=2, timeout_seconds=1.5) as loader:
        batches = list(loader.eval_batches())
    assert [index for batch in batches for index in batch.index] == list(range(9))
    weight = torch.cat([batch.weight for batch in batches])
    assert weight.tolist() == [float(row != hung) for row in range(9)]
    ((line,),) = [batch.failures for batch in batches if batch.failures]
    assert line.startswith(f"{manifest.root / name}: not read within 1.5 s, its process was killed")
    assert torch.equal(torch.cat([batch.clips for batch in batches])[weight > 0], expected[weight > 0])


def test_a_stopped_process_is_replaced_and_the_next_row_is_not_to_blame(manifest: Manifest) -> None:
    with Loader(ClipDataset(manifest, PROTOCOL, "views"), 9, num_workers=1, timeout_seconds=2.0) as loader:
        (expected,) = loader.eval_batches()
        (pid,) = readers()
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        (batch,) = loader.eval_batches()
        assert batch.failures == ()
        assert torch.equal(batch.clips, expected.clips)
        assert readers() != [pid]


def test_killing_a_row_that_is_done_hits_no_other(manifest: Manifest) -> None:
    with Loader(ClipDataset(manifest, PROTOCOL, "views"), 1, num_workers=1) as loader:
        batches = loader.eval_batches()
        seen = []
        for batch in batches:
            seen += loader.rows_in_progress()
            assert batch.failures == ()
            for reading in seen:
                if not any(now is reading for now in loader.rows_in_progress()):
                    assert not loader.kill(reading)
        for reading in seen:
            assert not loader.kill(reading)
        (pid,) = readers()
        assert pid is not None
        os.kill(pid, 0)  # it still lives


def test_a_programming_error_is_raised_and_not_counted(manifest: Manifest) -> None:
    dataset = MistakenDataset(manifest, PROTOCOL)
    with Loader(dataset, 2, num_workers=1) as loader, pytest.raises(RuntimeError, match="ZeroDivisionError: row"):
        next(loader.train_batches(0))
    with pytest.raises(ZeroDivisionError):
        next(Loader(dataset, 2).train_batches(0))


class CyclicJob:
    """Leaves a reference cycle behind with every row, as a container and its streams may; tells how many live."""

    alive: ClassVar[weakref.WeakSet[CyclicJob]] = weakref.WeakSet()

    def name(self, row: int) -> str:
        return str(row)

    def run(self, row: int, allow: Callable[[float], None]) -> int:
        count = len(self.alive)
        left = CyclicJob()
        left.itself = left  # type: ignore[attr-defined]
        self.alive.add(left)
        return count


def test_a_worker_keeps_nothing_of_the_rows_it_has_read() -> None:
    pool = WorkerPool(CyclicJob(), num_workers=1)
    assert [pool.submit(row).result() for row in range(5)] == [0] * 5
    pool.close()


# Processes


def readers() -> list[int | None]:
    return [child.pid for child in multiprocessing.active_children() if child.name == "tubelet-reader"]


def test_no_process_outlives_its_loader(manifest: Manifest) -> None:
    dataset = ClipDataset(manifest, PROTOCOL)
    loader = Loader(dataset, 2, num_workers=2)
    batches = loader.train_batches(0)
    next(batches)
    assert len(readers()) == 2
    batches.close()  # type: ignore[attr-defined]
    assert len(list(loader.train_batches(1))) == 4
    loader.close()
    loader.close()
    assert readers() == []
    forgotten = Loader(dataset, 2, num_workers=1)
    next(forgotten.train_batches(0))
    del forgotten
    assert readers() == []


_PARENT = """
import multiprocessing, pathlib, sys, time
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.loader import Loader
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.protocol import Protocol

if __name__ == "__main__":
    root = pathlib.Path(sys.argv[1])
    rows = tuple(Sample(path=name, labels=(0,), split="test") for name in ("0.npy", "stuck.npy"))
    manifest = Manifest(root=root, samples=rows, class_names={"label": ("a",)}, layout="files")
    protocol = Protocol(num_frames=4, resize_short_side=20, crop_size=(16, 16))
    loader = Loader(ClipDataset(manifest, protocol, "views"), 1, num_workers=2)
    batches = loader.eval_batches()
    next(batches)
    while not loader.rows_in_progress():
        time.sleep(0.01)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    next(batches)
"""


def test_workers_end_when_their_parent_is_killed(manifest: Manifest) -> None:
    os.mkfifo(manifest.root / "stuck.npy")
    script = manifest.root / "parent.py"
    script.write_text(_PARENT)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(script), str(manifest.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as parent:
        assert parent.stdout is not None
        assert len(parent.stdout.readline().split()) == 2
        parent.kill()
        # The workers share the pipe: it ends when the last of them has ended, one of them in the middle of a read.
        assert parent.communicate(timeout=120)[0] == ""


_SPAWN = """
import hashlib, multiprocessing, pathlib, sys
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.loader import Loader
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.protocol import Protocol

sys.stdout.write(f"main module runs as {__name__}\\n")  # one write: two processes may say it at once
if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    root = pathlib.Path(sys.argv[1])
    rows = tuple(Sample(path=f"{i}.npy", labels=(0,), split="train") for i in range(9))
    manifest = Manifest(root=root, samples=rows, class_names={"label": ("a",)}, layout="files")
    dataset = ClipDataset(manifest, Protocol(num_frames=4, resize_short_side=20, crop_size=(16, 16)), seed=3)
    for num_workers in (0, 2):
        with Loader(dataset, 2, num_workers=num_workers, seed=3) as loader:
            batches = list(loader.train_batches(1))
        digest = hashlib.sha256(b"".join(batch.clips.numpy().tobytes() for batch in batches)).hexdigest()
        sys.stdout.write(f"{num_workers} {digest} {sum(len(batch.failures) for batch in batches)}\\n")
"""


def test_a_script_that_starts_its_processes_by_spawn_reads_the_same_batches(manifest: Manifest) -> None:
    script = manifest.root / "spawn.py"
    script.write_text(_SPAWN)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(script), str(manifest.root)]
    lines = subprocess.run(command, capture_output=True, text=True, env=env, check=True).stdout.splitlines()
    here, there = (line.split() for line in lines if line[0] in "02")
    assert here[1:] == there[1:]
    assert here[2] == "0"
    assert "main module runs as __mp_main__" in lines  # as a spawned process imports it
