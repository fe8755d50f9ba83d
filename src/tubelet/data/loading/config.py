"""How rows are drawn and how long reading may fail: what recipes and commands say of it, and its defaults."""

from __future__ import annotations

from typing import Literal

Sampling = Literal["natural", "balanced"]  # of the rows of an epoch: each once, or every class equally often

DECODE_TIMEOUT_SECONDS = 60.0  # for one row of a dataset
FAILURE_BUDGET = 0.01  # share of the videos of an epoch or an evaluation that may be unreadable
