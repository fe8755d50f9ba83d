"""30 runs that are interrupted at random moments: `make soak`. Goes on where it stopped (runs/soak/kills).

python -m pytest -m soak tests/soak/test_kills.py -s

25 are killed with SIGKILL, the whole process group, five find the disk full: on a file system of 4 MiB of their own
where one can be mounted, else by a limit on the size of files. Writes kills.json and .md.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

from kills import (
    NUM_STEPS,
    Killed,
    different,
    fill_at_random,
    finish,
    is_trained,
    kill_at_random,
    leftovers,
    limit_at_random,
    look,
    write_recipe,
)

ROOT = Path(__file__).parents[2]
NUM_KILLS, NUM_FULL_DISKS = 25, 5
DISK_BYTES = 4 * 2**20
COMMAND = "python -m pytest -m soak tests/soak/test_kills.py"

pytestmark = pytest.mark.soak


def test_every_interrupted_run_ends_with_the_bits_of_the_uninterrupted_one_and_no_checkpoint_is_damaged(
    results: Path,
) -> None:
    torch.set_num_threads(1)
    folder = ROOT / "runs" / "soak" / "kills"
    recipe, expected = write_recipe(folder), folder / "uninterrupted"
    seconds = finish(recipe, expected)
    found = interrupt_all(recipe, folder, expected, seconds)
    write_results(results, found, seconds)
    assert len(found) == NUM_KILLS + NUM_FULL_DISKS
    assert [one for one in found if one.damaged or one.different or one.left_over] == []
    assert [one for one in found if one.how != "killed" and not is_clear(one)] == []


def is_clear(one: Killed) -> bool:
    """One line that names a file, gives the reason and says how to go on."""
    return one.exit_code == 1 and "cannot be written (" in one.said and "`tubelet train --resume " in one.said


def interrupt_all(recipe: Path, folder: Path, expected: Path, seconds: float) -> list[Killed]:
    """All of them; those of an earlier session are taken over."""
    file = folder / "found.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    found = [Killed(**{k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}) for row in rows]
    for number in range(len(found), NUM_KILLS + NUM_FULL_DISKS):
        rng = random.Random(number)
        if number < NUM_KILLS:
            one = interrupt("killed", kill_at_random, recipe, folder / f"run{number}", expected, rng, seconds)
        else:
            with small_disk(folder / f"disk{number}") as (disk, is_mounted):
                how, act = ("full disk", fill_at_random) if is_mounted else ("file-size limit", limit_at_random)
                one = interrupt(how, act, recipe, disk / "run", expected, rng, seconds)
        found.append(one)
        with file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(one)) + "\n")
        print(f"kills: {len(found)} of {NUM_KILLS + NUM_FULL_DISKS}: {one}", flush=True)
    return found


def interrupt(
    how: str,
    act: Callable[[Path, Path, random.Random, float], tuple[float, int]],
    recipe: Path,
    run: Path,
    expected: Path,
    rng: random.Random,
    seconds: float,
) -> Killed:
    log = run.parent.with_suffix(".log") if how == "full disk" else run.with_suffix(".log")
    while not run.exists() or is_trained(run):  # too late: again, within half the time
        shutil.rmtree(run, ignore_errors=True)
        delay, code = act(recipe, run, rng, seconds)
        seconds /= 2
    one = look(how, delay, code, run, log)
    finish(recipe, run)
    return replace(one, different=different(run, expected), left_over=leftovers(run))


@contextmanager
def small_disk(folder: Path) -> Iterator[tuple[Path, bool]]:
    """A file system of ``DISK_BYTES`` at ``folder``, or the folder itself where none can be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    mount = shutil.which("mount")
    is_mounted = (
        mount is not None and subprocess.run([mount, *options], capture_output=True, check=False).returncode == 0
    )
    try:
        yield folder, is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", str(folder)], check=True)


def write_results(folder: Path, found: list[Killed], seconds: float) -> None:
    kinds = sorted({one.how for one in found})
    content: dict[str, Any] = {
        "command": COMMAND,
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {"torch": version("torch"), "safetensors": version("safetensors")},
        "num_steps": NUM_STEPS,
        "train_seconds": round(seconds, 1),
        "interruptions": {how: sum(one.how == how for one in found) for how in kinds},
        "before_the_first_state": sum(one.step == 0 for one in found),
        "while_writing": sum(bool(one.writing) for one in found),
        "while_writing_what": count([name for one in found for name in one.writing]),
        "after_the_last_step": sum(one.step == NUM_STEPS for one in found),
        "damaged_states_and_checkpoints": sum(len(one.damaged) for one in found),
        "runs_that_differ_after_going_on": sum(bool(one.different) for one in found),
        "leftovers_after_going_on": sum(len(one.left_over) for one in found),
        "runs": [asdict(one) | {"said": one.said if one.how != "killed" else ""} for one in found],
    }
    text = json.dumps(content, indent=2).replace(str(ROOT) + "/", "")
    (folder / "kills.json").write_text(text + "\n", encoding="utf-8")
    (folder / "kills.md").write_text(as_markdown(content).replace(str(ROOT) + "/", ""), encoding="utf-8")


def count(names: list[str]) -> dict[str, int]:
    return {name: names.count(name) for name in sorted(set(names))}


def as_markdown(content: dict[str, Any]) -> str:
    rows = [f"| {how} | {number} |" for how, number in content["interruptions"].items()]
    rows += [
        f"| {text} | {content[key]} |"
        for key, text in (
            ("before_the_first_state", "of them before the first state was written"),
            ("while_writing", "of them while something was being written"),
            (
                "after_the_last_step",
                "of them after the last step, before its validation and checkpoints were done",
            ),
            ("damaged_states_and_checkpoints", "damaged states and checkpoints"),
            ("runs_that_differ_after_going_on", "runs that, going on, end with other bits"),
            ("leftovers_after_going_on", "leftovers of unfinished writes after going on"),
        )
    ]
    table = "\n".join(rows)
    writing = ", ".join(f"`{name}` {number}" for name, number in content["while_writing_what"].items()) or "nothing"
    said = next((run["said"] for run in content["runs"] if run["exit_code"] == 1), "")
    return f"""# Kills and full disks

`{content["command"]}` ({content["date"]}, torch {content["versions"]["torch"]}): runs of {content["num_steps"]} steps
that write their state after every step and checkpoints after every epoch, with dropout, mixup and an average of the
weights, interrupted at a random moment of the training ({content["train_seconds"]} s where nothing interrupts it;
a moment at which only the test was left is drawn again, from half the time).
Weights, average, optimizer, all checkpoints and both tables are then compared with the uninterrupted run, bit by bit.

| interruptions | |
|---|---|
{table}

Half written when they ended: {writing}. A run that finds the disk full says, and exits with 1:

```text
{said}
```
"""
