"""Cells that a spreadsheet would run as a formula are written with an apostrophe, and read back without it.

A text that begins with ``=``, ``+``, ``-`` or ``@`` is a formula to spreadsheets (owasp.org/www-community/attacks/
CSV_Injection), and names of classes come from anywhere. Numbers stay as they are. A text that begins with apostrophes
before such a sign gets one more, so that every text is read back as it was.
"""

from __future__ import annotations

import re

_FORMULA = re.compile(r"'*[=+\-@]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def written_cell(text: str) -> str:
    """The text as a cell of a table."""
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def read_cell(cell: str) -> str:
    """The text of a cell that ``written_cell`` made; any other cell as it is."""
    return cell[1:] if cell.startswith("'") and written_cell(cell[1:]) == cell else cell
