"""The one exception family whose message is written for the user: the command line prints it without a traceback.

A message says what came, what was expected and what to do, in one line.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TubeletError(Exception):
    """Input, configuration or file that tubelet cannot use. Commands print it as one line and exit with 1."""


class ConfigError(TubeletError):
    """A recipe, protocol or command-line override has an unknown, missing or mistyped key."""


class DataError(TubeletError):
    """A dataset, manifest or volume file does not hold what its layout requires."""


class VideoError(DataError):
    """One video cannot be decoded as asked."""


class ScoresNotFinite(DataError):
    """A model gives scores that are no numbers."""


class CheckpointError(TubeletError):
    """A checkpoint folder is incomplete, damaged, or does not fit its model."""


class Diverged(TubeletError):
    """The loss of a training run is not finite any more. Sweeps and comparisons count it as a result."""


class Stopped(TubeletError):
    """A signal asked for the end, and what was done is kept. Commands print the line and exit with 128 + the signal."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


def nearest(word: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the known word nearest to ``word``, else the sorted known words."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known: {', '.join(known)}" if known else ""
