"""The tables of docs/explain.md, as Markdown, from what ``explain_truth.py`` wrote.

python benchmarks/explain_report.py
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from results import read_result

from tubelet.explain.config import METHODS

HEADS = {
    "occlusion": "occlusion",
    "integrated_gradients": "integrated gradients",
    "attention_rollout": "rollout",
    "gradient_attention": "gradient x attention",
}


def main() -> None:
    models: dict[str, Any] = read_result("explain_truth", write=True)["models"]
    tested = {name: entry for name, entry in models.items() if "methods" in entry}
    for title, cell in (
        ("concentration", lambda row: spread(row["concentration"])),
        ("concentration with all weights shuffled", lambda row: spread(row["concentration_of_shuffled"])),
        ("pointing in space and in time, percent", points),
        ("deletion and insertion against random order", curves),
        ("rank correlation while layers are shuffled", correlations),
    ):
        print(f"\n{title}\n\n{table(tested, cell)}")
    for name, entry in tested.items():
        for method, row in entry["methods"].items():
            if row.get("fails"):
                print(f"{name}, {method}: {'; '.join(row['fails'])}")
    print("not testable:", ", ".join(name for name, entry in models.items() if "methods" not in entry) or "none")


def table(models: dict[str, Any], cell: Callable[[dict[str, Any]], str]) -> str:
    """A row per model, a column per method; bold is the default that the first half of the clips chose."""
    lines = [f"| model | {' | '.join(HEADS[method] for method in METHODS)} |", "|---" * (len(METHODS) + 1) + "|"]
    for name, entry in models.items():
        cells = []
        for method in METHODS:
            row = entry["methods"].get(method)
            text = "–" if row is None or "refused" in row else cell(row)
            cells.append(f"**{text}**" if method == entry["default"] else text)
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(value: dict[str, float]) -> str:
    return f"{value['mean']:.1f} ({value['low']:.1f} to {value['high']:.1f})"


def points(row: dict[str, Any]) -> str:
    return f"{100 * row['pointing_space']['mean']:.0f}, {100 * row['pointing_time']['mean']:.0f}"


def curves(row: dict[str, Any]) -> str:
    parts = (f"{row[curve]['gain']['mean']:+.1f} (p = {row[curve]['p']:.1g})" for curve in ("deletion", "insertion"))
    return ", ".join(parts)


def correlations(row: dict[str, Any]) -> str:
    return ", ".join(f"{level['mean']:.2f}" for level in row["randomized"].values())


if __name__ == "__main__":
    main()
