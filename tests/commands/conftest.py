"""Tiny videos and a checkpoint for them, made once."""

from __future__ import annotations

from film_runs import film_labels, film_run
from support import checkpoint, videos

__all__ = ["checkpoint", "film_labels", "film_run", "videos"]
