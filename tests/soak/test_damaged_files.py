"""2,000 damaged files: `make soak`. Goes on where it stopped (runs/soak/fuzz); writes docs/results/fuzz.json and .md.

python -m pytest -m soak tests/soak/test_damaged_files.py --clips-dir FOLDER
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest

from fuzzing import BAD, GOOD, FuzzJob, Outcome, mutate
from tubelet.data.scan_file import ScanFile, scan_file
from tubelet.data.worker_process import Failure
from tubelet.data.workers import WorkerPool

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
NUM_FILES = 2000
MAX_CLIP_BYTES = 200_000  # larger clips are left out: every file is decoded four times
TIMEOUT_SECONDS = 60.0
COMMAND = "python -m pytest -m soak tests/soak/test_damaged_files.py"

pytestmark = pytest.mark.soak


def test_damaged_files_crash_nothing_hang_nothing_and_miscount_nothing(clips: tuple[Path, ...]) -> None:
    chosen = tuple(clip for clip in clips if clip.stat().st_size <= MAX_CLIP_BYTES)
    outcomes = run(chosen, ROOT / "runs" / "soak" / "fuzz" / "outcomes.jsonl")
    assert len(outcomes) == NUM_FILES
    write_results(chosen, outcomes)
    assert [(seed, o) for seed, o in outcomes.items() if o.outcome in BAD] == []


def run(clips: tuple[Path, ...], file: Path) -> dict[int, Outcome]:
    """The outcome of each seed; those of an earlier session with the same clips are taken over."""
    names = [clip.name for clip in clips]
    file.parent.mkdir(parents=True, exist_ok=True)
    outcomes: dict[int, Outcome] = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        row = json.loads(line)
        if row.pop("clips") == names:
            seed = row.pop("seed")
            outcomes[seed] = Outcome(**row)
    pool = WorkerPool(FuzzJob(clips), num_workers=2, timeout_seconds=TIMEOUT_SECONDS)
    try:
        todo = [seed for seed in range(NUM_FILES) if seed not in outcomes]
        with file.open("a", encoding="utf-8") as stream:
            for seed, future in [(seed, pool.submit(seed)) for seed in todo]:
                found = future.result()
                if isinstance(found, Failure):
                    what = "hung" if found.kind == "hung" else "process died"
                    found = Outcome("", "", what, found.line, what, 0, 0)
                outcomes[seed] = found
                stream.write(json.dumps({"seed": seed, "clips": names, **asdict(found)}) + "\n")
                stream.flush()
                if seed % 100 == 0:
                    print(f"fuzz: {len(outcomes)} of {NUM_FILES} files", flush=True)
    finally:
        pool.close()
    return dict(sorted(outcomes.items()))


def counted(values: Iterable[str], order: Iterable[str] = ()) -> dict[str, int]:
    counts = Counter(values)
    return {name: counts.get(name, 0) for name in (*order, *sorted(set(counts) - set(order)))}


def has_gap(seed: int, clips: tuple[Path, ...]) -> bool:
    """Whether the scan warns of a variable frame rate; of a file that decodes, so that no process is risked."""
    with tempfile.TemporaryDirectory() as folder:
        _, clip, content = mutate(seed, clips)
        file = Path(folder) / f"{seed}{clip.suffix}"
        file.write_bytes(content)
        return bool(scan_file(ScanFile(path=file.name, file=file, entry=None)).variable_rate)


def write_results(clips: tuple[Path, ...], outcomes: dict[int, Outcome]) -> None:
    every = list(outcomes.values())
    fewer = [o for o in every if o.outcome == "read" and o.num_frames < o.num_frames_before]
    passed = [(seed, o) for seed, o in outcomes.items() if o in fewer and o.scan == "ok"]
    silent = [o for seed, o in passed if not has_gap(seed, clips)]
    content = {
        "command": COMMAND,
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {"av": version("av")},
        "num_files": len(every),
        "seeds": f"0 to {NUM_FILES - 1}",
        "clips": [clip.name for clip in clips],
        "timeout_seconds": TIMEOUT_SECONDS,
        "outcomes": counted((o.outcome for o in every), (*GOOD, *BAD)),
        "outcomes_by_mutation": {
            name: counted((o.outcome for o in every if o.mutation == name), (*GOOD, *BAD))
            for name in sorted({o.mutation for o in every})
        },
        "scan": counted(o.scan for o in every),
        "read_with_fewer_frames_than_before": {
            "all": len(fewer),
            "called bad by the scan": sum(o.scan != "ok" for o in fewer),
            "warned of": len(passed) - len(silent),
            "not noticed": len(silent),
            "not noticed, by mutation": counted(o.mutation for o in silent),
        },
        "bad_seeds": {seed: asdict(o) for seed, o in outcomes.items() if o.outcome in BAD},
    }
    (RESULTS / "fuzz.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (RESULTS / "fuzz.md").write_text(as_markdown(content), encoding="utf-8")


def as_markdown(content: dict) -> str:  # type: ignore[type-arg]
    head = ("mutation", *GOOD, *BAD)
    rows = [(name, *(counts[o] for o in head[1:])) for name, counts in content["outcomes_by_mutation"].items()]
    rows.append(("all", *(content["outcomes"][o] for o in head[1:])))
    table = "\n".join("| " + " | ".join(map(str, row)) + " |" for row in (head, ["---"] * len(head), *rows))
    fewer = content["read_with_fewer_frames_than_before"]
    silent = ", ".join(f"{name} {count}" for name, count in fewer["not noticed, by mutation"].items())
    scan = ", ".join(f"{name} {count}" for name, count in content["scan"].items())
    return f"""# Damaged files

`{content["command"]}` ({content["date"]}, PyAV {content["versions"]["av"]}): {content["num_files"]} files,
seeds {content["seeds"]}, made from {len(content["clips"])} clips by `tests/fuzzing.py`.

Every frame of a file is asked for. "Silent wrong count" is a file from which the reader returns another number of
frames than was asked for, or than a plain decode of the same file gives, without an error; "hung" is one that takes
longer than {content["timeout_seconds"]:g} s.

{table}

What `tubelet data scan` calls them: {scan}.

{fewer["all"]} files are read without an error and have fewer frames than the clip they were made from. The scan calls
{fewer["called bad by the scan"]} of them bad and warns of a gap (variable frame rate) in {fewer["warned of"]} more. The
other {fewer["not noticed"]} promise no more than they hold, such as a stream without a length that ends earlier, or a
file that begins as another clip does ({silent}).
"""
