from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from tubelet.data.dataset import ClipDataset, Item
from tubelet.data.loader import Loader
from tubelet.data.manifest import Manifest
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
            loader.kill(0)


def test_a_hanging_read_can_be_killed(manifest: Manifest) -> None:
    (manifest.root / "4.npy").unlink()
    os.mkfifo(manifest.root / "4.npy")  # opening it waits for a writer that never comes
    with Loader(ClipDataset(manifest, PROTOCOL, "views"), 3, num_workers=2) as loader:
        batches = loader.eval_batches()
        assert next(batches).failures == ()
        stuck: list[int] = []
        while not stuck:
            time.sleep(0.01)
            stuck = [worker for worker, (name, _) in loader.reading().items() if name.endswith("4.npy")]
        loader.kill(stuck[0])
        second, third = batches
    assert second.weight.tolist() == [1, 0, 1]
    assert "4.npy" in second.failures[0]
    assert third.failures == ()


def test_a_programming_error_is_raised_and_not_counted(manifest: Manifest) -> None:
    dataset = MistakenDataset(manifest, PROTOCOL)
    with Loader(dataset, 2, num_workers=1) as loader, pytest.raises(RuntimeError, match="ZeroDivisionError: row"):
        next(loader.train_batches(0))
    with pytest.raises(ZeroDivisionError):
        next(Loader(dataset, 2).train_batches(0))


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
from tubelet.data.dataset import ClipDataset
from tubelet.data.loader import Loader
from tubelet.data.manifest import Manifest, Sample
from tubelet.protocol import Protocol

if __name__ == "__main__":
    root = pathlib.Path(sys.argv[1])
    rows = tuple(Sample(path=name, labels=(0,), split="test") for name in ("0.npy", "stuck.npy"))
    manifest = Manifest(root=root, samples=rows, class_names={"label": ("a",)}, layout="files")
    protocol = Protocol(num_frames=4, resize_short_side=20, crop_size=(16, 16))
    loader = Loader(ClipDataset(manifest, protocol, "views"), 1, num_workers=2)
    batches = loader.eval_batches()
    next(batches)
    while not loader.reading():
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
