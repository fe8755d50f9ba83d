"""Generated films and a run on them, made once."""

from __future__ import annotations

from film_runs import film_labels, film_run

__all__ = ["film_labels", "film_run"]
