"""Tiny videos, made once."""

from __future__ import annotations

from support import videos

__all__ = ["videos"]
