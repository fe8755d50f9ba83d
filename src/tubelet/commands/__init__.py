"""One file per subcommand; each has ``main(argv) -> exit code`` and reads as the story of that command."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

import tyro

Options = TypeVar("Options")
_GROUPED = re.compile(r"--[a-z]+(?:\.[a-z0-9-]+)+")  # an option of a group, as tyro spells it
_DATA = re.compile(r"^--data\.manifest\.")  # as a recipe calls the group


def parse(options: type[Options], argv: list[str], command: str, description: str) -> Options:
    """The dataclass ``options`` from the command line: the comment behind each field is its help.

    Raises SystemExit: 0 after ``--help``, 2 after a message about an option that is unknown, missing or mistyped.
    """
    flags_as_one_word = (tyro.conf.FlagCreatePairsOff,)  # --json and --no-measure, without their opposites
    out: Any = _AsInRecipes(sys.stdout)
    err: Any = _AsInRecipes(sys.stderr)
    words = [_DATA.sub("--manifest.", word) for word in argv]
    for word in argv[: argv.index("--") if "--" in argv else None]:
        if word.startswith("-") and os.path.exists(word):
            print(f"tubelet {command}: {word} exists and is read as an option; write ./{word}", file=sys.stderr)
    with redirect_stdout(out), redirect_stderr(err):
        return tyro.cli(
            options, args=words, prog=f"tubelet {command}", description=description, config=flags_as_one_word
        )


def compute(run: Callable[..., int], *arguments: Any) -> int:
    """Do the work of a command that computes with a model: fp32 products take the way that is fast on this processor.

    It is set once, around the whole command, and so holds for all that the process computes.
    """
    from tubelet.session.fast_fp32 import fast_fp32  # imports torch, as ``run`` has done

    with fast_fp32():
        return run(*arguments)


def check_hub(source: str | None, run: Path | None = None) -> None:
    """End at once where a model is asked for by name and the hub does not answer: torch alone takes as long to import.

    Args:
        run: folder of a run. Where it is there the hub is not asked: a run that goes on has its first weights.

    Raises:
        CheckpointError: it can be had neither from the hub nor from the local cache.
    """
    if source is not None and "/" in source and not (run is not None and run.exists()):
        from tubelet.weights.hub import check_reachable  # imports no torch

        check_reachable(source)


class _AsInRecipes:
    """A stream that writes an option of a group as the field of a recipe that it is: ``--protocol.num_frames``.

    tyro accepts both spellings, and writes hyphens. Options without a group keep them.
    """

    def __init__(self, stream: Any) -> None:  # a TextIO; what captures output in tests is none to a type checker
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(_GROUPED.sub(lambda found: f"--{found[0][2:].replace('-', '_')}", text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
