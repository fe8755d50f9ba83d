"""Reads the items of a list or an object in a JSON file, each with the line it starts in, for error messages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tubelet.errors import DataError, reason

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")


def json_items(path: Path, key: str | None = None) -> Iterator[tuple[int, tuple[str, Any]]]:
    """(Line, (name, value)) of each item; the name is the key in an object and the position, from 0, in a list.

    Args:
        path: a JSON file.
        key: the key whose value is the list or object. None means the file's outermost value.

    Raises:
        DataError: the file is not JSON, or holds no list or object there.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        start = 0
        if key is not None:
            start = next((position for position, name, _ in _items(text, 0) if name == key), -1)
            if start < 0:
                raise DataError(f"{path}: no key '{key}' in it; expected the official annotation file")
        line, counted_to = 1, 0
        for position, name, value in _items(text, start):
            line += text.count("\n", counted_to, position)
            counted_to = position
            yield line, (name, value)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: not valid JSON: {error.msg} (line {error.lineno})") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({reason(error)}); expected UTF-8 text") from None


def _items(text: str, start: int) -> Iterator[tuple[int, str, Any]]:
    """(Position of the value, name, value) of the items of the list or object that starts at ``start``."""
    position = _skip(text, start)
    opening = text[position : position + 1]
    if opening not in ("[", "{"):
        raise json.JSONDecodeError("expected a list or an object", text, position)
    closing, number = "]" if opening == "[" else "}", 0
    position = _skip(text, position + 1)
    while text[position : position + 1] != closing:
        name = str(number)
        if opening == "{":
            name, position = _DECODER.raw_decode(text, position)
            position = _skip(text, position)
            if text[position : position + 1] != ":":
                raise json.JSONDecodeError("expected ':'", text, position)
            position = _skip(text, position + 1)
        value, after = _DECODER.raw_decode(text, position)
        yield position, name, value
        number, position = number + 1, _skip(text, after)
        if text[position : position + 1] == ",":
            position = _skip(text, position + 1)
        elif text[position : position + 1] != closing:
            raise json.JSONDecodeError("expected ',' or the end of the list or object", text, position)


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position
