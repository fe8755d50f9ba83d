"""Two costs that grow with the number of videos: preparing them, and the rows of their manifest in memory.

python benchmarks/scale_costs.py CLIPS    two minutes on one thread, --write puts the result into docs/results

Preparing: CPU seconds for each second of 720p, on the first four files of `benchmarks/decode.py` (made from CLIPS).
Rows: CPU seconds to read a manifest, and memory in the process that reads it and in each reader process, which is given
it as multiprocessing gives it, pickled. They are prepared videos in tar shards, as `tubelet data prepare --shards`
writes them, with names like those of Kinetics.
"""

from __future__ import annotations

import json
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

from decode_sets import SECONDS, make_sets
from results import write_result

from tubelet.data.manifest.csv_file import write_manifest
from tubelet.data.manifest.manifest import Manifest, Sample
from tubelet.data.manifest.read import read_manifest
from tubelet.data.prepare.config import PrepareConfig
from tubelet.data.prepare.transcode import transcode

NUM_CLIPS = 4
ROWS, PER_SHARD, CLASSES, VIDEO_BYTES = 200_000, 600, 400, 762_500


def make(root: Path) -> Path:
    """A manifest of rows in empty shards."""
    names = tuple(f"class_{number:03d}" for number in range(CLASSES))
    samples = []
    for row in range(ROWS):
        shard, place = divmod(row, PER_SHARD)
        entry = f"{names[row % CLASSES]}/video_{row:08d}_000010_000020.mp4@{place * VIDEO_BYTES}+{VIDEO_BYTES - 1000}"
        samples.append(Sample(path=f"{shard:06d}.tar", labels=(row % CLASSES,), split="train", entry=entry))
    for path in {sample.path for sample in samples}:
        (root / path).touch()
    write_manifest(Manifest(root=root, samples=tuple(samples), class_names={"label": names}, layout="files"),
                   root / "manifest.csv")  # fmt: skip
    return root / "manifest.csv"


def preparing(clips: Path, folder: Path) -> dict[str, Any]:
    """Of each file alone, in this process and its one encoding thread."""
    files = make_sets(clips, folder, NUM_CLIPS)["raw720"]
    costs = []
    for file in files:
        began = time.process_time()
        transcode(file, folder / "prepared.mp4", PrepareConfig().encoding)
        costs.append((time.process_time() - began) / SECONDS)
    return {"prepare_cpu_seconds_per_second": round(statistics.median(costs), 3)}


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


def measure(what: str, file: Path) -> dict[str, Any]:
    """One of the two processes."""
    before, began = resident_bytes(), time.process_time()
    if what == "reading":
        manifest = read_manifest(file)
        seconds = time.process_time() - began
        figures = {"cpu_seconds_per_million": round(seconds / len(manifest) * 1e6, 1)}
    else:
        with file.with_suffix(".pickle").open("rb") as stream:
            manifest, figures = pickle.load(stream), {}  # written a moment ago by main
    return {**figures, f"{what}_bytes_per_row": round((resident_bytes() - before) / len(manifest))}


def main() -> None:
    if len(sys.argv) == 3 and sys.argv[1] in ("reading", "reader"):  # in a process of its own
        print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]))))
        return
    words = [word for word in sys.argv[1:] if word != "--write"]
    if len(words) != 1:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        figures = preparing(Path(words[0]), Path(folder))
        file = make(Path(folder))
        with file.with_suffix(".pickle").open("wb") as stream:
            pickle.dump(read_manifest(file), stream)
        figures["csv_bytes_per_row"] = round(file.stat().st_size / ROWS)
        for what in ("reading", "reader"):
            done = subprocess.run([sys.executable, __file__, what, file], capture_output=True, text=True, check=True)
            figures |= json.loads(done.stdout)
    content = {"command": "python benchmarks/scale_costs.py CLIPS", "date": date.today().isoformat(), "rows": ROWS}
    write_result("scale_costs", {**content, **figures}, write="--write" in sys.argv)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
