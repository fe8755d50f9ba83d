"""One job at a time in a folder: who is refused, what is taken over, and what is left."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from support import assert_one_line
from tubelet.errors import ConfigError, TubeletError
from tubelet.session import folder_lock
from tubelet.session.folder_lock import FILE, Owner, locked, refusal, take_over

# Holds the folder argv[1] until its input ends; says "held" or why not.
HOLDS = """
import sys
from pathlib import Path
from tubelet.errors import ConfigError
from tubelet.session.folder_lock import locked
try:
    with locked(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
except ConfigError as error:
    print(error, flush=True)
"""


def holding(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def owner_of(folder: Path) -> Owner:
    return Owner(**json.loads((folder / FILE).read_text(encoding="utf-8")))


def leave_lock(folder: Path, silent_seconds: float = 0.0, **changes: Any) -> None:
    """A lock as another process left it: that of this one with ``changes``."""
    with locked(folder):
        owner = dataclasses.replace(owner_of(folder), **changes)
    (folder / FILE).write_text(json.dumps(dataclasses.asdict(owner)), encoding="utf-8")
    then = time.time() - silent_seconds
    os.utime(folder / FILE, (then, then))


def test_a_second_process_is_refused_with_who_works_there_and_begins_when_it_has_ended(tmp_path: Path) -> None:
    first = holding(tmp_path)
    assert said(first) == "held"
    for _ in range(2):
        with pytest.raises(ConfigError) as caught, locked(tmp_path):
            pass
        assert_one_line(caught, f"{tmp_path}: process {first.pid} of this machine works there since 20")
        assert_one_line(caught, "last sign of life 0 s ago", f"end it (kill {first.pid}), or give another --out")
    first.communicate()
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path) as lock:
        assert lock.taken_from is None


def test_a_killed_process_is_seen_to_be_dead_even_before_its_parent_asks(tmp_path: Path) -> None:
    first = holding(tmp_path)
    assert said(first) == "held"
    first.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)  # it stays as a zombie
    assert refusal(tmp_path) is None
    with locked(tmp_path) as lock:
        assert lock.taken_from is not None
        assert lock.taken_from.pid == first.pid
    first.communicate()
    assert list(tmp_path.iterdir()) == []


def test_of_many_that_find_a_dead_lock_at_once_one_gets_the_folder(tmp_path: Path) -> None:
    leave_lock(tmp_path, pid=2**22 + 1)
    started = [holding(tmp_path) for _ in range(4)]
    answers = [said(process) for process in started]
    assert answers.count("held") == 1
    assert sum("works there since" in answer for answer in answers) == 3
    for process in started:
        process.communicate()
    assert list(tmp_path.iterdir()) == []


def test_a_process_number_that_is_used_again_is_another_process(tmp_path: Path) -> None:
    leave_lock(tmp_path, process_start="1")
    with locked(tmp_path) as lock:
        assert lock.taken_from is not None


def test_a_process_of_another_machine_is_refused_whatever_its_age_and_taken_over_when_asked(tmp_path: Path) -> None:
    leave_lock(tmp_path / ".", silent_seconds=3 * 3600, host="gpu07", space="another boot")
    with pytest.raises(ConfigError) as caught, locked(tmp_path):
        pass
    assert_one_line(caught, "on gpu07 works there since 20", "last sign of life 3 h ago", "with --take-over")
    (tmp_path / "seed0").mkdir()
    leave_lock(tmp_path / "seed0", host="gpu07", space="another boot")
    lines = take_over(tmp_path)
    assert [line.partition(" from ")[0] for line in lines] == [
        f"taken over: {tmp_path}",
        f"taken over: {tmp_path / 'seed0'}",
    ]
    with locked(tmp_path), locked(tmp_path / "seed0"):
        pass


def test_a_machine_that_began_anew_takes_over_what_is_silent_and_not_what_still_beats(tmp_path: Path) -> None:
    """The same name may be of two containers, whose process numbers cannot be compared."""
    leave_lock(tmp_path, space="another boot")
    assert refusal(tmp_path) is not None
    leave_lock_silent = 5 * folder_lock.HEARTBEAT_SECONDS
    (tmp_path / FILE).unlink()
    leave_lock(tmp_path, silent_seconds=leave_lock_silent, space="another boot")
    assert refusal(tmp_path) is None


def test_what_runs_on_this_machine_is_not_taken_over(tmp_path: Path) -> None:
    with locked(tmp_path) as lock:
        with pytest.raises(ConfigError, match="works there since"):
            take_over(tmp_path)
        lock.check()


def test_a_process_whose_folder_was_taken_over_notices_and_leaves_the_lock_of_the_other(tmp_path: Path) -> None:
    with locked(tmp_path) as lock:
        content = json.dumps(dataclasses.asdict(dataclasses.replace(owner_of(tmp_path), host="gpu07")))
        (tmp_path / FILE).write_text(content, encoding="utf-8")
        with pytest.raises(TubeletError, match=r"on gpu07 took it over; this process ends"):
            lock.check()
    assert owner_of(tmp_path).host == "gpu07"


def test_a_lock_without_content_is_refused_and_can_be_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_lock, "_WRITING_SECONDS", 0.1)
    (tmp_path / FILE).touch()
    with pytest.raises(ConfigError, match="give --take-over"), locked(tmp_path):
        pass
    assert len(take_over(tmp_path)) == 1
    with locked(tmp_path):
        pass


def test_the_heart_beats_while_the_folder_is_held_and_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_lock, "HEARTBEAT_SECONDS", 0.02)
    before = threading.active_count()
    with locked(tmp_path):
        os.utime(tmp_path / FILE, (0, 0))
        while (tmp_path / FILE).stat().st_mtime == 0:
            time.sleep(0.01)
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    assert threading.active_count() == before
    assert list(tmp_path.iterdir()) == []
