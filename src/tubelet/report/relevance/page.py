"""The HTML page of an explanation, beside the files that it shows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from tubelet.data.sources.volume import is_volume
from tubelet.errors import printable
from tubelet.report.page import render_page

PAGE = "report.html"
_PICTURES = (
    ("sheet.png", "Relevance over time, and of a clip its frames with the map over them"),
    ("montage.png", "Every slice that the model was shown, each above its map"),
)


def explanation_page(found: Mapping[str, Any], files: Collection[str], *, command: str) -> str:
    """The page.

    Args:
        found: what ``explanation.json`` holds, of a clip or of a film.
        files: names of what lies beside the page.
        command: that made it, to be printed in it.
    """
    source = Path(found["source"])
    return render_page(
        "explanation.html.j2",
        title=printable(f"Where a model looked in {source.name}"),
        warnings=list(found.get("notes", ())),
        found=found,
        files=files,
        pictures=_PICTURES,
        is_volume=is_volume(source),
        command=command,
    )
