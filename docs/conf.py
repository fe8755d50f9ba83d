"""Sphinx: makes pages of this folder. ``make docs`` runs it; nothing is fetched.

References are written by this file before pages are read: commands from their ``--help``, recipes and comparisons from
their YAML, published files from their table, and one entry for each public name of the package. They go to
``docs/reference`` and are not tracked.
"""

from __future__ import annotations

import contextlib
import io
import os
from importlib import import_module
from pathlib import Path

import tubelet
from tubelet.cli import COMMANDS
from tubelet.commands.work.published_weights import facts_of
from tubelet.published_weights import published_weights
from tubelet.recipe import list_recipes

ZOO = ("model", "published as", "frames", "parameters, GMACs", "top-1 (views), source", "command")
ZOO += ("code", "weights", "training data")
HERE = Path(__file__).parent
REFERENCE = HERE / "reference"

project, author, copyright, release = "tubelet", "the tubelet authors", "the tubelet authors", tubelet.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme, html_title, html_copy_source = "furo", "tubelet", False
exclude_patterns = ["_build"]
myst_enable_extensions, myst_heading_anchors = ["colon_fence"], 3
# Links that lead out of this folder, to the code, are left as they are.
suppress_warnings = ["myst.xref_missing"]
autodoc_typehints, autodoc_member_order = "signature", "bysource"


def help_of(command: str) -> str:
    """The help text of a command, as the terminal shows it."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        import_module(COMMANDS[command][0]).main(["--help"])
    return shown.getvalue()


def write_reference() -> None:
    """Write the generated pages; what has not changed keeps its date."""
    os.environ["COLUMNS"] = "110"
    pages = {"commands.md": commands_page(), "recipes.md": recipes_page(), "python.md": python_page()}
    pages["zoo.md"] = zoo_page()
    REFERENCE.mkdir(exist_ok=True)
    for name, text in pages.items():
        if not (REFERENCE / name).exists() or (REFERENCE / name).read_text(encoding="utf-8") != text:
            (REFERENCE / name).write_text(text, encoding="utf-8")


def commands_page() -> str:
    """All commands with their options."""
    parts = ["# Commands\n"]
    for name, (_, summary) in COMMANDS.items():
        parts.append(
            f"## tubelet {name}\n\n{summary[0].upper()}{summary[1:]}.\n\n```text\n{help_of(name).rstrip()}\n```\n"
        )
    return "\n".join(parts)


def recipes_page() -> str:
    """The shipped recipes, with what their first lines say."""
    folder = Path(str(tubelet.__file__)).parent / "recipes"
    parts = ["# Recipes\n\n`tubelet train NAME` runs one; `tubelet train NAME --dry-run` prints all of its fields.\n"]
    for name in list_recipes():
        lines = (folder / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
        about = [line.lstrip("# ") for line in lines if line.startswith("#")]
        parts.append(f"## {name}\n\n```text\n" + "\n".join(about) + "\n```\n")
    return "\n".join(parts)


def python_page() -> str:
    """The public names."""
    parts = ["# Python\n"]
    for name in sorted(set(tubelet.__all__) - {"__version__"}):
        kind = "autoclass" if isinstance(getattr(tubelet, name), type) else "autofunction"
        members = "\n   :members:" if kind == "autoclass" else ""
        parts.append(f"## {name}\n\n```{{eval-rst}}\n.. {kind}:: tubelet.{name}{members}\n```\n")
    return "\n".join(parts)


def zoo_page() -> str:
    """Published files that a converter reads, with three licenses."""
    parts = [
        "# Zoo\n\nPublished files that `tubelet convert` reads, as `tubelet models --weights --json` prints them. "
        "**None of them was ever loaded**: the converters are proven on files that the "
        "originals' code wrote with random weights. `FILE` is what the README or model zoo of the code links to. "
        "Accuracies are the source's, with its views (temporal clips x spatial crops). "
        "A license that nobody read is `unverified`; `tubelet models --license commercial` leaves out every file one "
        "of whose three licenses forbids commercial use or was not read. GMACs are of one view, and stand where the "
        "file's frames are those of the model's default.\n"
    ]
    rows = [facts_of(row) for row in published_weights()]
    for family in dict.fromkeys(row["model"].split("_")[0] for row in rows):
        parts.append(f"## {family}\n\n| {' | '.join(ZOO)} |\n|{'---|' * len(ZOO)}")
        for row in (row for row in rows if row["model"].split("_")[0] == family):
            what = ", ".join(filter(None, (row["title"], row["dataset"], row["start"] and f"from {row['start']}")))
            size = f"{row['parameters_m']} M" + ("" if row["gmacs_per_view"] is None else f", {row['gmacs_per_view']}")
            top1 = (
                ""
                if row["accuracy_percent"] is None
                else f"{row['accuracy_percent']} ({row['views'] or 'not stated'}), {row['source']}"
            )
            licenses = row["code_license"], row["weights_license"], f"{', '.join(row['data'])}: {row['data_license']}"
            cells = f"`{row['model']}`", what, str(row["frames"]), size, top1, f"`{row['command']}`", *licenses
            parts.append(f"| {' | '.join(cells)} |")
        parts[-1] += "\n"
    return "\n".join(parts)


write_reference()
