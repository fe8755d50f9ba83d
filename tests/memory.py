"""How much memory reading takes, pass after pass: the resident pages of this process and of its reader processes."""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Iterator, Sequence
from pathlib import Path

from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.loader import Loader
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.protocol import Protocol

PROTOCOL = Protocol(
    num_frames=16,
    frame_stride=2,
    resize_short_side=128,
    crop_size=(112, 112),
    num_temporal_views=2,
    num_spatial_crops=1,
)


def resident_bytes(pid: int | str = "self") -> int:
    """Resident memory of a process (Linux)."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return 1024 * int(fields["VmRSS"].split()[0])


def memory_by_pass(clips: Sequence[Path], num_passes: int, num_workers: int) -> Iterator[tuple[int, int]]:
    """Resident bytes of the main process and of all workers after each pass over the clips."""
    rows = tuple(Sample(path=str(clip), labels=(0,), split="train") for clip in clips)
    manifest = Manifest(root=Path(), samples=rows, class_names={"label": ("a",)}, layout="files")
    with Loader(ClipDataset(manifest, PROTOCOL, "train"), 4, num_workers=num_workers) as loader:
        for epoch in range(num_passes):
            for _ in loader.train_batches(epoch):
                pass
            gc.collect()  # what waits for the collector is not kept
            workers = [child.pid for child in multiprocessing.active_children() if child.name == "tubelet-reader"]
            yield resident_bytes(), sum(resident_bytes(pid) for pid in workers if pid is not None)
