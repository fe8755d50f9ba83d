"""A session of one process by default shows nothing; of several processes one reports, and none leaves alone."""

from __future__ import annotations

import dataclasses
import signal

import pytest
import torch

from support import Notes
from tubelet.errors import Stopped
from tubelet.session.processes import Processes
from tubelet.session.session import Session
from tubelet.session.signals import Signals


def asked_to_stop() -> Signals:
    signals = Signals()
    signals.requested = signal.SIGTERM
    return signals


def test_a_plain_session_is_of_one_process_on_the_cpu_and_hears_no_signal() -> None:
    session = Session()
    session.advance(1, 2)
    assert session.device == torch.device("cpu")
    assert (session.processes.size, session.processes.is_main) == (1, True)
    assert Session(device=torch.device("meta")).device.type == "meta"


def test_of_several_processes_only_the_first_reports() -> None:
    first, second = Notes(), Notes()
    for rank, progress in enumerate((first, second)):
        Session(processes=Processes(rank, 2), progress=progress).progress.note("once")
    assert (first.notes, second.notes) == (["once"], [])


def test_a_process_that_stays_silent_does_so_with_other_progress_too() -> None:
    other = Notes()
    dataclasses.replace(Session(processes=Processes(1, 2)), progress=other).progress.note("never")
    assert other.notes == []


def test_work_that_can_be_done_again_ends_at_a_signal_before_it_reports() -> None:
    session = Session(signals=asked_to_stop())
    with pytest.raises(Stopped, match="stopped by SIGTERM"):
        session.advance(1, 2)


def test_one_of_several_processes_goes_on_after_a_signal() -> None:
    Session(processes=Processes(0, 2), signals=asked_to_stop()).advance(1, 2)


def test_signals_that_are_entered_twice_are_put_back_when_the_last_block_ends() -> None:
    before = signal.getsignal(signal.SIGTERM)
    signals = Signals()
    with signals:
        with signals:
            pass
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
