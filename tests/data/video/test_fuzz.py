"""Damaged files never bring down the process that reads them and never give a wrong number of frames in silence."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import fuzzing
from fuzzing import BAD, GOOD, FuzzJob, Outcome, mutate, read_whole
from tubelet.data.loading.worker_pool import WorkerPool
from tubelet.data.video.reader import VideoReader

SMALL = 45  # of the 2,000 files that tests/soak/test_damaged_files.py reads
FIXTURES = Path(__file__).parents[2] / "fixtures" / "clips"


def test_the_same_seed_damages_the_same_way_and_another_differently() -> None:
    clips = tuple(sorted(FIXTURES.glob("*.mp4")))
    assert mutate(7, clips) == mutate(7, clips)
    contents = {mutate(seed, clips)[2] for seed in range(20)}
    assert len(contents) == 20
    assert {mutate(seed, clips)[0] for seed in range(5)} == {
        "bytes flipped",
        "truncated",
        "spliced",
        "header swapped",
        "block zeroed",
    }


@pytest.mark.parametrize("at_once", [0, fuzzing.MAX_PIXELS_BYTES])
def test_a_reader_that_loses_a_frame_is_noticed_however_large_the_file(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzzing, "MAX_PIXELS_BYTES", at_once)
    assert read_whole(FIXTURES / "h264_10bits.mp4") == ("read", "", 30)
    monkeypatch.setattr(fuzzing, "VideoReader", Forgetful)
    outcome, detail, _ = read_whole(FIXTURES / "h264_10bits.mp4")
    assert (outcome, detail) == ("silent wrong count", "29 frames, a plain decode gives 30 (None)")


class Forgetful(VideoReader):
    """Knows nothing of a file's last frame."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.timestamps = self.timestamps[:-1]


def test_damaged_files_are_read_right_or_refused_by_name() -> None:
    clips = tuple(sorted(f for f in FIXTURES.iterdir() if f.suffix != ".md" and f.stat().st_size < 40_000))
    pool = WorkerPool(FuzzJob(clips), num_workers=1, timeout_seconds=60.0)
    try:
        results = [future.result() for future in [pool.submit(seed) for seed in range(SMALL)]]
    finally:
        pool.close()
    outcomes = [result for result in results if isinstance(result, Outcome)]
    assert outcomes == results  # else a process died or hung
    counts = Counter(outcome.outcome for outcome in outcomes)
    assert set(counts) <= set(GOOD), [outcome for outcome in outcomes if outcome.outcome in BAD]
    assert set(counts) == set(GOOD)  # the damage is neither all fatal nor all harmless
