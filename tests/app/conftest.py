"""Films, runs, a server in a process of its own, and a browser."""

from __future__ import annotations

from app_server import served
from browser import browser
from film_runs import film_labels, film_run
from support import checkpoint

__all__ = ["browser", "checkpoint", "film_labels", "film_run", "served"]
