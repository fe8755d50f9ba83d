"""What ``tubelet convert`` says of a kind of foreign weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Format:
    """One kind of foreign weights."""

    about: str  # what it is, one line for --help
    clip_axes: str = "B C T H W"  # the axes of a clip as the original takes it, for stored reference inputs
