"""What preparing a video costs, in CPU seconds for each second of 720p.

python benchmarks/scale_costs.py CLIPS    two minutes on one thread, --write puts the result into docs/results

The first four files of `benchmarks/decode.py` (made from CLIPS) are prepared, each alone, in this process and its one
encoding thread. What rows of a manifest cost is measured by `benchmarks/rows.py`.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from decode_sets import SECONDS, make_sets
from results import write_result

from tubelet.data.prepare.config import PrepareConfig
from tubelet.data.prepare.transcode import transcode

NUM_CLIPS = 4


def preparing(clips: Path, folder: Path) -> float:
    """CPU seconds for each second of video, the median of the files."""
    costs = []
    for file in make_sets(clips, folder, NUM_CLIPS)["raw720"]:
        began = time.process_time()
        transcode(file, folder / "prepared.mp4", PrepareConfig().encoding)
        costs.append((time.process_time() - began) / SECONDS)
    return statistics.median(costs)


def main() -> None:
    words = [word for word in sys.argv[1:] if word != "--write"]
    if len(words) != 1:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        figures = {"prepare_cpu_seconds_per_second": round(preparing(Path(words[0]), Path(folder)), 3)}
    content = {"command": "python benchmarks/scale_costs.py CLIPS", "date": date.today().isoformat(), **figures}
    write_result("scale_costs", content, write="--write" in sys.argv)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
