"""Reading again and again takes no more memory than reading a few times; the small part of what
tests/soak/test_reading_memory.py holds over more clips, passes and processes."""

from __future__ import annotations

from pathlib import Path

from memory import memory_by_pass

CLIPS = Path(__file__).parents[2] / "fixtures" / "clips"
NAMES = ("h264_10bits.mp4", "nasa_13013_rotated.mp4")
NUM_PASSES, SETTLED = 16, 4
MOST_BYTES = 6 * 2**20  # over twelve passes: a quarter of a MiB for each clip, less than half of a clip's pixels


def test_memory_does_not_grow_with_the_number_of_passes() -> None:
    passes = [main for main, _ in memory_by_pass([CLIPS / name for name in NAMES], NUM_PASSES, num_workers=0)]
    assert min(passes[-3:]) - min(passes[SETTLED - 1 : SETTLED + 2]) <= MOST_BYTES, passes
