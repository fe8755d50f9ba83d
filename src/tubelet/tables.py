"""Small tables for notebooks: as HTML, and as a pandas ``DataFrame`` where pandas is."""

from __future__ import annotations

import html
import importlib
from dataclasses import dataclass
from typing import Any

from tubelet.errors import TubeletError


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of equal length below named columns."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def to_dataframe(self) -> Any:
        """A pandas ``DataFrame``.

        Raises:
            TubeletError: pandas is not installed.
        """
        try:
            pandas = importlib.import_module("pandas")
        except ImportError:
            raise TubeletError("a DataFrame needs pandas, which is not installed; `pip install pandas`") from None
        return pandas.DataFrame(list(self.rows), columns=list(self.columns))

    def to_html(self) -> str:
        """An HTML table, which a notebook shows in place of the ``repr``."""
        head = "".join(f"<th>{html.escape(column)}</th>" for column in self.columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(_text(value))}</td>" for value in row) + "</tr>" for row in self.rows
        )
        return (
            f"<table><caption>{html.escape(self.title)}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table>"
        )


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
