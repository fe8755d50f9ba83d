"""Generated films and a checkpoint, made once."""

from __future__ import annotations

from film_runs import film_labels
from support import checkpoint, videos

__all__ = ["checkpoint", "film_labels", "videos"]
