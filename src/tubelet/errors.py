"""The exceptions whose message is written for the user. The command line prints the message without a traceback.

A message says what came, what was expected and what to do, in one line.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

_SHOWN = 6  # known words that a message names
# What torch says of a failed allocation: "DefaultCPUAllocator: can't allocate memory", "CUDA out of memory", ...
_NO_MEMORY = re.compile(r"can't allocate memory|not enough memory|out of memory|bad_alloc|ALLOC_FAILED")
_ASKED = re.compile(r"allocate ([\d.,]+ ?(?:bytes|[KMGT]i?B))")
_UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")  # controls, surrogates, separators of lines


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


class ExportError(TubeletError):
    """A model cannot be exported as asked, or the exported one does not compute what the model does."""


class Diverged(TubeletError):
    """The loss of a training run is not finite any more. Sweeps and comparisons count such a run as a result."""


class OutOfMemory(TubeletError):
    """The memory of the machine or of the GPU does not suffice. What is done is kept where the job keeps something."""


class Stopped(TubeletError):
    """A signal stopped the job, and its work is kept. Commands print the line and exit with 128 + the signal."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: of Python, NumPy or FFmpeg, or of torch, whose errors on a CPU have no class."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error)) is not None


def memory_line(error: BaseException) -> str:
    """What ``is_out_of_memory`` found, in a few words."""
    asked = _ASKED.search(str(error))
    where = " on the GPU" if re.search(r"CUDA|MPS|HIP|XPU", str(error)) else ""
    return f"out of memory{where}" + (f" (tried to allocate {asked[1]})" if asked else "")


@contextmanager
def explaining_memory(remedy: str | Callable[[], str]) -> Iterator[None]:
    """Turn a failed allocation into one line that ends in what to do.

    Args:
        remedy: what to do, or what says it when memory has run out.

    Raises:
        OutOfMemory: In place of the error.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        text = remedy if isinstance(remedy, str) else remedy()
        raise OutOfMemory(f"{memory_line(error)}; {text}") from error


def printable(text: str) -> str:
    """A name in one line of valid Unicode: line ends, and bytes that are not UTF-8, as Python escapes them."""
    if text.isprintable():
        return text
    escaped = (c.encode("unicode_escape").decode() if unicodedata.category(c) in _UNPRINTABLE else c for c in text)
    return "".join(escaped)


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
