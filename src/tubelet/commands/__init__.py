"""One file per subcommand; each has ``main(argv) -> exit code`` and reads as the story of that command."""

from __future__ import annotations

from typing import TypeVar

import tyro

Options = TypeVar("Options")


def parse(options: type[Options], argv: list[str], command: str, description: str) -> Options:
    """The dataclass ``options`` from the command line: the comment behind each field is its help.

    Raises SystemExit: 0 after ``--help``, 2 after a message about an option that is unknown, missing or mistyped.
    """
    flags_as_one_word = (tyro.conf.FlagCreatePairsOff,)  # --json and --no-measure, without their opposites
    return tyro.cli(options, args=argv, prog=f"tubelet {command}", description=description, config=flags_as_one_word)
