"""Words of a command line that set fields of a recipe, words that were meant to, and the fields that there are."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence

from rich.table import Table

from tubelet.commands.console import output_console
from tubelet.config import GROUP, describe
from tubelet.errors import ConfigError
from tubelet.models import model_config
from tubelet.recipe import DECIDED_BY_DATA, SHORT_NAMES, Recipe, list_recipes, load_recipe

EPOCHS = "training.num_epochs"  # what --resume may raise
SHORT_OPTIONS = {
    **{f"--{name.replace('_', '-')}": key for name, key in SHORT_NAMES.items()},
    "--learning-rate": "optim.lr",
    "--optim.learning_rate": "optim.lr",
}


def in_full(argv: list[str]) -> list[str]:
    """Return the words of ``tubelet train`` with fields of a recipe in place of short names, which are echoed."""
    words = []
    for word in argv:
        flag, equals, value = word.partition("=")
        if short := SHORT_OPTIONS.get(flag) or SHORT_OPTIONS.get(flag.replace("_", "-")):
            print(f"{flag} sets --{short}", file=sys.stderr)
            flag = f"--{short}"
        if flag.startswith("--manifest."):
            flag = f"--data.{flag[2:]}"  # other commands have the group alone
        words.append(f"{flag}{equals}{value}")
    return words


def split_overrides(argv: list[str], options: type) -> tuple[list[tuple[str, str]], list[str]]:
    """Separate ``--group.field VALUE`` (or ``=VALUE``), and ``--seed N`` from the command's own options.

    Args:
        options: the dataclass of the command's own options.

    Raises:
        ConfigError: an override without a value, or an option that only a recipe's field has the name of.
    """
    overrides, rest = [], []
    words = iter(argv)
    for word in words:
        flag, equals, value = word.partition("=")
        if not flag.startswith("--") or not ("." in flag or flag == "--seed"):
            check_option(flag, options)
            rest.append(word)
            continue
        if not equals:
            following = next(words, None)
            if following is None:
                raise ConfigError(f"{flag} needs a value")
            value = following
        overrides.append((flag[2:].replace("-", "_"), value))
    return overrides, rest


def check_option(flag: str, options: type) -> None:
    """Raise ConfigError for an option that the command does not have, where a field of a recipe is called so."""
    name = flag.removeprefix("--").replace("-", "_")
    own = {field.name for field in dataclasses.fields(options)}
    for field in dataclasses.fields(options):  # a group without a prefix
        if isinstance(field.default_factory, type) and dataclasses.is_dataclass(field.default_factory):
            own |= {inner.name for inner in dataclasses.fields(field.default_factory)}
    if flag.startswith("--") and name not in own:
        fields = [key for key, *_ in describe(Recipe) if key.rpartition(".")[2] == name]
        if fields:
            raise ConfigError(f"there is no option {flag}; did you mean {' or '.join(f'--{key}' for key in fields)}?")


def check_fields(overrides: Sequence[tuple[str, str]], source: str) -> None:
    """Raise ConfigError for a field that no recipe has, as ``load_recipe`` would later, when models are there.

    Args:
        source: the recipe that the fields are set in.
    """
    rows = [(key, kind) for key, kind, *_ in describe(Recipe)]
    known = {key for key, kind in rows if kind != GROUP}
    for key, text in overrides:
        parts = key.split(".")
        starts = {
            ".".join(parts[:number]) for number in range(1, len(parts) + 1)
        }  # what a field of texts holds is free
        if not starts & known and not any(name.startswith(f"{key}.") for name in known):
            load_recipe(source, [("data.source", "."), (key, text)])


def print_fields(model: str) -> None:
    """Print every field of a recipe with type, default and meaning; those of the model are those of a named one."""
    table = Table(title="fields of a recipe, set as --FIELD VALUE")
    for heading in ("field", "type", "default", "meaning"):
        table.add_column(heading, overflow="fold")
    for key, *rest in describe(Recipe):
        if key == "model":
            table.add_row("model.name", "text", model, "the fields below are those of this model")
            for row in describe(type(model_config(model)), "model."):
                if row[0].removeprefix("model.") not in DECIDED_BY_DATA:
                    table.add_row(*row)
            table.add_section()
        else:
            table.add_row(key, *rest)
    console = output_console()
    console.print(table)
    console.print(f"Shipped recipes: {', '.join(list_recipes())}. Models: see `tubelet models`.", highlight=False)
