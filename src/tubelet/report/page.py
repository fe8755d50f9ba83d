"""What every HTML report shares: its templates, what it says of its making, names of data and films."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from tubelet.report import numbers, plots, tables
from tubelet.runs.folder import package_versions

_PLAYED = frozenset({".m4v", ".mov", ".mp4", ".webm"})  # containers that browsers play; a codec may still be unknown


def render_page(template: str, *, title: str, **context: Any) -> str:
    """The page, in the look that all reports have.

    Args:
        template: one that extends ``page.html.j2``.
        title: heading and title of the page.
        context: what the template names; ``command`` and ``warnings`` may be left out.
    """
    shared = {"command": "", "warnings": (), "written": written(), "versions": versions()}
    page: str = environment().get_template(template).render({**shared, "title": title, **context})
    return page


def environment(*, is_html: bool = True) -> Environment:
    """Of the templates; values are escaped in HTML and stand as they are in Markdown."""
    made = Environment(
        loader=PackageLoader("tubelet.report"),
        autoescape=is_html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        percent=numbers.percent, count=numbers.count, flat=tables.flat, valued=tables.text_of, within=tables.within
    )
    made.globals.update(glyphs=plots.GLYPHS)
    return made


def written() -> str:
    """The time at which a page is made."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def versions() -> dict[str, str]:
    """Of what made the page, and the kind of machine."""
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} logical CPUs"
    return {**package_versions(), "Python": platform.python_version(), "system": system}


def data_name(source: str) -> str:
    """A data set as titles call it: a path on this machine by its last part, others as they are."""
    return Path(source).name if Path(source).is_absolute() else source


def is_playable(file: Path | None) -> bool:
    """Whether a browser may play the file where it lies."""
    return file is not None and file.suffix.lower() in _PLAYED
