"""A signal ends a run between two steps, costs nothing, and tells how to go on."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from small_runs import Small, assert_equal, kept, scripted, train_small, write_volumes
from support import Notes, rows_of
from tubelet.errors import Stopped
from tubelet.session import signals as signals_file
from tubelet.session.processes import Processes
from tubelet.session.session import Session
from tubelet.session.signals import Signals
from tubelet.training.state.resume import FILE as STATE


class SendsSignal(Notes):
    """Progress that sends this process a signal when it is told of step ``at``."""

    def __init__(self, at: int, number: signal.Signals) -> None:
        super().__init__()
        self.at, self.number = at, number

    def step(self, step: int, num_steps: int, epoch: int, loss: float) -> None:
        if step == self.at:
            os.kill(os.getpid(), self.number)


def step_of(run: Path) -> int:
    step: int = torch.load(run / STATE, weights_only=True)["progress"]["step"]
    return step


@pytest.fixture(autouse=True)
def _listening() -> Iterator[None]:
    """Signals as a terminal has them: a suite started in the background inherits SIGINT ignored."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_after_its_step_and_the_run_goes_on_to_the_same_bits(
    tmp_path: Path, number: signal.Signals
) -> None:
    root, expected, resumed = write_volumes(tmp_path / "data"), Small(), Small(seed=1)
    train_small(root, tmp_path / "expected", expected, num_epochs=3, validate=scripted([0.1, 0.2, 0.3]))
    with pytest.raises(Stopped) as caught, Signals() as signals:
        train_small(
            root,
            tmp_path / "run",
            Small(),
            num_epochs=3,
            checkpoint_every_steps=1,
            validate=scripted([0.1, 0.2, 0.3]),
            notes=SendsSignal(4, number),
            signals=signals,
        )
    assert str(caught.value) == f"stopped by {number.name} after step 4 of 9"
    assert caught.value.signal_number == number
    assert step_of(tmp_path / "run") == 4
    options = {"num_epochs": 3, "checkpoint_every_steps": 1}
    train_small(root, tmp_path / "run", resumed, validate=scripted([0.2, 0.3]), **options)
    assert_equal(expected.state_dict(), resumed.state_dict())
    assert [row["step"] for row in rows_of(tmp_path / "run" / "log.csv")] == [str(step) for step in range(1, 10)]


def test_a_signal_during_validation_costs_no_step_and_the_validation_is_made_up_for(tmp_path: Path) -> None:
    root, run, model = write_volumes(tmp_path / "data"), tmp_path / "run", Small()
    with Signals() as signals:

        def interrupted(number: int) -> None:
            if number == 1:
                os.kill(os.getpid(), signal.SIGTERM)
                signals.check()  # as after every batch that is evaluated

        measure = scripted([0.1, 0.9, 0.2], interrupted)
        with pytest.raises(Stopped, match="stopped by SIGTERM after step 6 of 9"):
            train_small(root, run, model, num_epochs=3, validate=measure, signals=signals)
    assert step_of(run) == 6
    assert [row["step"] for row in rows_of(run / "validation.csv")] == ["3"]
    progress = train_small(root, run, Small(seed=1), num_epochs=3, validate=scripted([0.9, 0.2]))
    assert (progress.best, progress.best_step) == (0.9, 6)
    assert [row["step"] for row in rows_of(run / "validation.csv")] == ["3", "6", "9"]
    assert_equal(kept(run, "best"), model.state_dict())


def test_a_signal_that_came_before_the_first_step_keeps_the_first_weights(tmp_path: Path) -> None:
    root, run = write_volumes(tmp_path / "data"), tmp_path / "run"
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped, match="after step 0 of 3"):
            train_small(root, run, Small(), signals=signals)
    assert step_of(run) == 0


def test_another_signal_ends_the_process_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals_file, "_SAME_REQUEST_SECONDS", 0.0)
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.requested == signal.SIGTERM
        time.sleep(0.001)
        with pytest.raises(KeyboardInterrupt):  # the way in which SIGINT ends Python
            os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_that_is_sent_twice_is_one_request() -> None:
    """Launchers pass on what the group got already."""
    with Signals() as signals:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)
        assert signals.requested == signal.SIGINT


def test_handlers_are_put_back_and_ignored_signals_stay_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Signals() as signals:
            os.kill(os.getpid(), signal.SIGINT)
            assert signals.requested == 0
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_outside_the_main_thread_nothing_is_listened_to() -> None:
    found: list[int] = []

    def enter() -> None:
        with Signals() as signals:
            found.append(signals.requested)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [0]


def test_one_of_several_processes_does_not_leave_an_evaluation_alone() -> None:
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        Session(processes=Processes(0, 2), signals=signals).check_signals()
        assert signals.requested == signal.SIGTERM
