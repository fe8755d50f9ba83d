"""The exceptions whose message is written for the user. The command line prints the message without a traceback.

A message says what came, what was expected and what to do, in one line.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_SHOWN = 6  # known words that a message names


class TubeletError(Exception):
    """Input, configuration or file that tubelet cannot use. Commands print it as one line and exit with 1."""


class ConfigError(TubeletError):
    """A recipe, protocol or command-line override has an unknown, missing or mistyped key."""


class DataError(TubeletError):
    """A dataset, manifest or volume file does not hold what its layout requires."""


class VideoError(DataError):
    """One video cannot be decoded as asked."""


class ScoresNotFinite(DataError):
    """A model gives scores that are not finite."""


class CheckpointError(TubeletError):
    """A checkpoint folder is incomplete, damaged, or does not fit its model."""


class Diverged(TubeletError):
    """The loss of a training run is not finite any more. Sweeps and comparisons count such a run as a result."""


class Stopped(TubeletError):
    """A signal stopped the job, and its work is kept. Commands print the line and exit with 128 + the signal."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


def reason(error: BaseException) -> str:
    """What the system or another library says, in one line and without the number of a system error."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def error_line(error: BaseException) -> str:
    """The message of an error, in one line. Of a system error, the file and the reason."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return reason(error) if isinstance(error, OSError) else " ".join(str(error).splitlines())


def nearest(word: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the known words that begin with ``word``, or the one nearest to it; else the sorted
    known words."""
    known = sorted(known)
    longer = [name for name in known if len(word) > 2 and name.startswith(word)]
    if len(longer) > 1:
        return f"; did you mean one of {', '.join(longer[:_SHOWN])}{', ...' if len(longer) > _SHOWN else ''}?"
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known: {', '.join(known)}" if known else ""
