"""How long the command line takes to answer, and in how much memory, against ``import torch``.

python benchmarks/startup.py            prints the result, and writes it to runs/results/startup.json
python benchmarks/startup.py --write    or to docs/results

Each is a process of its own, and they take turns. Time is CPU time of the process, which other processes hardly change;
memory is the largest that it held at once. The ratio is the median over rounds of the time over that of
``import torch`` in the same round. One round before them, which fills the caches of files, is not counted.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from importlib.metadata import version
from typing import Any

from results import write_result

ROUNDS = 7
TORCH = "import torch"
CONTESTANTS = {
    TORCH: ["-c", "import torch"],
    "tubelet --help": ["-m", "tubelet", "--help"],
    "tubelet train --help": ["-m", "tubelet", "train", "--help"],
    "tubelet train --epoch 3": ["-m", "tubelet", "train", "--epoch", "3"],
    "tubelet predict --help": ["-m", "tubelet", "predict", "--help"],
    "tubelet evaluate --help": ["-m", "tubelet", "evaluate", "--help"],
    "import tubelet.recipe": ["-c", "import tubelet.recipe"],
}


def measured(words: list[str]) -> tuple[float, float]:
    """CPU seconds and mebibytes of one process."""
    silent = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_WRONLY, 0) for stream in (1, 2)]
    process = os.posix_spawn(sys.executable, [sys.executable, *words], os.environ, file_actions=silent)
    _, _, usage = os.wait4(process, 0)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit


def main() -> None:
    rounds: list[dict[str, tuple[float, float]]] = []
    for _ in range(ROUNDS + 1):
        rounds.append({name: measured(words) for name, words in CONTESTANTS.items()})
    result = summary(rounds[1:])
    print(json.dumps(result, indent=2))
    write_result("startup", result, write="--write" in sys.argv[1:])


def summary(rounds: list[dict[str, tuple[float, float]]]) -> dict[str, Any]:
    rows = {}
    for name in CONTESTANTS:
        seconds, memory = zip(*(of_round[name] for of_round in rounds), strict=True)
        rows[name] = {
            "cpu_seconds": round(statistics.median(seconds), 3),
            "over_import_torch": round(statistics.median(r[name][0] / r[TORCH][0] for r in rounds), 3),
            "peak_mebibytes": round(max(memory), 1),
        }
    return {
        "command": "python benchmarks/startup.py --write",
        "rounds": len(rounds),
        "processes": rows,
        "cpu": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "tyro")},
    }


if __name__ == "__main__":
    main()
