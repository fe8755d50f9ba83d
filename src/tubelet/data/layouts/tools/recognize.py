"""The layout of a data set that was not told and that shows which it is: one answer for all that read it."""

from __future__ import annotations

from pathlib import Path

from tubelet.data.layouts.config import LayoutName, ManifestConfig
from tubelet.data.layouts.tools.roboflow import is_roboflow


def recognized(source: Path, config: ManifestConfig) -> LayoutName | None:
    """The layout that the user named, else that of the tool whose export the source is by a file in it, else None."""
    return config.layout or ("roboflow" if is_roboflow(source) else None)
