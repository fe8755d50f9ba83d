from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tubelet.data.loading.watchdog import Watchdog


@pytest.fixture
def watchdog() -> Iterator[Watchdog]:
    dog = Watchdog()
    yield dog
    dog.close()


def test_work_that_passes_its_limit_is_ended_once(watchdog: Watchdog) -> None:
    ended: list[str] = []
    over = threading.Event()
    with watchdog.guard(0.02, lambda: (ended.append("a"), over.set())) as guard:
        assert over.wait(60)
        assert guard.expired
    with watchdog.guard(0.02, over.clear):
        pass
    assert ended == ["a"]


def test_a_short_limit_strikes_before_a_long_one_that_began_earlier(watchdog: Watchdog) -> None:
    struck = threading.Event()
    with watchdog.guard(3600.0, lambda: None) as long, watchdog.guard(0.01, struck.set):
        assert struck.wait(60)
        assert not long.expired


def test_work_that_is_over_is_not_ended(watchdog: Watchdog) -> None:
    ended: list[int] = []
    with watchdog.guard(3600.0, lambda: ended.append(1)) as guard:
        pass
    assert not guard.end_now()
    with watchdog.guard(3600.0, lambda: ended.append(2)) as other:
        assert not guard.end_now()
        assert other.end_now()
    assert ended == [2]


def test_a_limit_can_be_moved_back_and_not_forward(watchdog: Watchdog) -> None:
    with watchdog.guard(0.5, lambda: None) as guard:
        guard.allow(3600.0)
        guard.allow(0.1)
        assert guard.limit_seconds == 3600.0
        struck = threading.Event()
        with watchdog.guard(1.0, struck.set):
            assert struck.wait(60)
        assert not guard.expired
