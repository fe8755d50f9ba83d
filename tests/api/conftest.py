"""The fixtures that the tests of the library share with others."""

from __future__ import annotations

from support import checkpoint, videos

__all__ = ["checkpoint", "videos"]
