"""A device that is asked for is there, or the message says what to use instead."""

from __future__ import annotations

import pytest
import torch

from tubelet.errors import TubeletError
from tubelet.session.device import choose_device


def test_auto_is_the_first_of_the_accelerators_that_is_there() -> None:
    kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert choose_device("auto").type == kind


def test_the_cpu_is_always_there() -> None:
    assert choose_device("cpu") == torch.device("cpu")


def test_a_missing_accelerator_is_refused_with_what_to_use_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in ("cuda", "mps"):
        with pytest.raises(TubeletError, match=f"device '{name}' is not available here; use --device auto or"):
            choose_device(name)
    assert choose_device("auto").type == "cpu"
