"""Words of a command line that set fields of a recipe, and words that were meant to."""

from __future__ import annotations

import dataclasses
import sys

from tubelet.config import describe
from tubelet.errors import ConfigError
from tubelet.recipe import Recipe

EPOCHS = "training.num_epochs"  # what --resume may raise
SHORT_NAMES = {"--epochs": EPOCHS, "--batch-size": "training.batch_size", "--lr": "optim.lr"}


def in_full(argv: list[str]) -> list[str]:
    """Return the words of ``tubelet train`` with fields of a recipe in place of short names, which are echoed."""
    words = []
    for word in argv:
        flag, equals, value = word.partition("=")
        if short := SHORT_NAMES.get(flag.replace("_", "-")):
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
    if flag.startswith("--") and name not in own:
        fields = [key for key, *_ in describe(Recipe) if key.rpartition(".")[2] == name]
        if fields:
            raise ConfigError(f"there is no option {flag}; did you mean {' or '.join(f'--{key}' for key in fields)}?")
