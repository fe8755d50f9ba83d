"""Where a checkpoint's weights come from, as ``tubelet convert`` and ``tubelet inspect`` show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table


def mapping_table(mapping: Mapping[str, Any]) -> Table:
    """Return a row per rule: target tensors, source tensors, operation and count."""
    table = Table(title=escape(mapping["summary"]), title_justify="left", box=None, pad_edge=False)
    table.add_column("tensor", overflow="fold")
    table.add_column("made from", overflow="fold")
    table.add_column("how", overflow="fold")
    table.add_column("count", justify="right")
    for row in mapping["rows"]:
        cells = (row["target"], together(row["sources"]), row["operation"])
        table.add_row(*map(escape, cells), str(row["count"]))
    return table


def together(names: Sequence[str]) -> str:
    """``a/query/w, a/key/w`` -> ``a/{query,key}/w``: what the names share is written once."""
    if len(names) < 2:
        return "".join(names)
    start = _shared_start(names)
    end = _shared_start([name[len(start) :][::-1] for name in names])[::-1]
    return f"{start}{{{','.join(name[len(start) : len(name) - len(end)] for name in names)}}}{end}"


def _shared_start(names: Sequence[str]) -> str:
    same = 0
    for letters in zip(*names, strict=False):  # to the end of the shortest
        if len(set(letters)) > 1:
            break
        same += 1
    return names[0][:same]


def parity_text(parity: Mapping[str, Any]) -> str:
    """Return the parity of a record as one line."""
    if not parity["measured"]:
        return f"not measured: {parity['reason']}"
    return (
        f"logits differ by at most {parity['max_abs_difference']:.2e} (largest logit {parity['max_abs_logit']:.3g}) "
        f"from {parity['against']}; input: {parity['input']}"
    )


def is_mapping(value: Any) -> bool:
    """Whether a value of a provenance is the report of a mapping."""
    return isinstance(value, Mapping) and {"summary", "rows"} <= value.keys()


def is_parity(value: Any) -> bool:
    """Whether a value of a provenance is a measured parity, or the reason why there is none."""
    return isinstance(value, Mapping) and "measured" in value
