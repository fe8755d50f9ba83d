"""The tiny videos that the tests of probes share with others."""

from __future__ import annotations

from support import videos

__all__ = ["videos"]
