"""Tiny videos and a checkpoint for them, made once."""

from __future__ import annotations

from support import checkpoint, videos

__all__ = ["checkpoint", "videos"]
