"""2,000 damaged files: `make soak`. Goes on where it stopped (runs/soak/fuzz); writes fuzz.json and .md.

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

import av
import pytest
from av.container import InputContainer

from fuzzing import BAD, GOOD, FuzzJob, Outcome, mutate
from tubelet.data.loading.worker_pool import WorkerPool
from tubelet.data.loading.worker_process import Failure
from tubelet.data.scan.scan_file import ScanFile, scan_file

ROOT = Path(__file__).parents[2]
NUM_FILES = 2000
MAX_CLIP_BYTES = 200_000  # of larger clips the first frames: every file is decoded four times
MAX_PACKET_BYTES = MAX_CLIP_BYTES * 9 // 10  # of them, beside what the container adds
MAX_REORDERED = 16  # frames that a codec may keep back
TIMEOUT_SECONDS = 60.0
COMMAND = "python -m pytest -m soak tests/soak/test_damaged_files.py"

pytestmark = pytest.mark.soak


def test_damaged_files_crash_nothing_hang_nothing_and_miscount_nothing(
    clips: tuple[Path, ...], clips_option: str, tmp_path: Path, results: Path
) -> None:
    chosen = tuple(short for number, clip in enumerate(clips) if (short := shortened(clip, tmp_path / str(number))))
    outcomes = run(chosen, ROOT / "runs" / "soak" / "fuzz" / "outcomes.jsonl")
    assert len(outcomes) == NUM_FILES
    write_results(results, chosen, outcomes, f"{COMMAND}{clips_option}")
    assert [(seed, o) for seed, o in outcomes.items() if o.outcome in BAD] == []


def shortened(clip: Path, folder: Path) -> Path | None:
    """A clip as it is, or as many of its first frames as fit, copied and not encoded anew; None where not
    even one fits, or the container cannot be written."""
    if clip.stat().st_size <= MAX_CLIP_BYTES:
        return clip
    folder.mkdir()
    target = folder / clip.name
    try:
        with av.open(f"file:{clip}") as source:
            packets = first_packets(source)
            with av.open(f"file:{target}", "w", options={"fflags": "+bitexact"}) as container:  # seeds mean the same
                stream = container.add_stream_from_template(source.streams.best("video"))
                for packet in packets:
                    packet.stream = stream
                    container.mux(packet)
    except (av.FFmpegError, ValueError):
        return None
    return target if packets and target.stat().st_size <= MAX_CLIP_BYTES else None


def first_packets(source: InputContainer) -> list[av.Packet]:
    """The video's packets up to a place that no shown frame crosses, as many as fit beside what the container adds."""
    packets, ends = list[av.Packet](), [0]
    for packet in source.demux(source.streams.best("video")):
        if not packet.size or sum(end > MAX_PACKET_BYTES for end in ends) > MAX_REORDERED:
            break
        packets.append(packet)
        ends.append(ends[-1] + packet.size)
    times = [packet.dts if packet.pts is None else packet.pts for packet in packets]
    for count in range(len(packets) - 1, 0, -1):
        if ends[count] <= MAX_PACKET_BYTES and max(times[:count]) < min(times[count:]):
            return packets[:count]
    return []


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


def write_results(folder: Path, clips: tuple[Path, ...], outcomes: dict[int, Outcome], command: str) -> None:
    every = list(outcomes.values())
    fewer = [o for o in every if o.outcome == "read" and o.num_frames < o.num_frames_before]
    passed = [(seed, o) for seed, o in outcomes.items() if o in fewer and o.scan == "ok"]
    silent = [o for seed, o in passed if not has_gap(seed, clips)]
    content = {
        "command": command,
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
    (folder / "fuzz.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (folder / "fuzz.md").write_text(as_markdown(content), encoding="utf-8")


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
seeds {content["seeds"]}, made from {len(content["clips"])} clips by `tests/fuzzing.py`; of clips
larger than {MAX_CLIP_BYTES} bytes it takes the first frames, copied without encoding them anew.

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
