"""Memory that training frees on a CPU is there for the next step."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Page faults of taking, filling and freeing 64 MiB ten times.
SCRIPT = """
import resource
import torch
from tubelet.session.device import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.empty(2**24).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

given_back = faults()
assert keep_freed_memory()
faults()
print(given_back, faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other C libraries")
def test_blocks_that_are_freed_and_taken_again_are_not_found_anew() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    given_back, kept = map(int, done.stdout.split())
    assert kept < given_back / 10


def test_where_the_c_library_cannot_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    from tubelet.session import device

    monkeypatch.setattr(device.ctypes, "CDLL", lambda name: object())
    assert not device.keep_freed_memory()
