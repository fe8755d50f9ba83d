"""Work on many items that several machines or calls share: which items a call takes, and results that are whole or not
there.

``--shard 2/8`` takes every eighth item from the second on, under any scheduler. Each item's result is a folder that is
written beside its name and moved there, so that a call that was killed goes on with what is missing, and whichever call
ends last finds all parts.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tubelet.errors import ConfigError
from tubelet.files import naming

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """Part ``index`` of ``count``, from 1 on."""

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str | None) -> Shard:
        """``2/8``. None means all items.

        Raises:
            ConfigError: no such text.
        """
        if text is None:
            return cls()
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise ConfigError(f"--shard must be PART/PARTS, such as 2/8, from 1/8 to 8/8; got '{text}'")
        return cls(int(found[1]), int(found[2]))

    def of(self, items: Sequence[T]) -> list[T]:
        """The items of this part. Every part must be given the same items in the same order."""
        return list(items[self.index - 1 :: self.count])


class Parts:
    """The results of items in a folder, one folder each.

    Args:
        root: where they lie; made when the first is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def is_done(self, name: str) -> bool:
        """Whether the result of an item is there."""
        return (self.root / name).is_dir()

    def missing(self, names: Iterable[str]) -> list[str]:
        """The items without a result."""
        return [name for name in names if not self.is_done(name)]

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Yield an empty folder for the result of an item. It is moved to its name, or removed on an error.

        Where another call was faster, its result stays.

        Raises:
            OSError: it cannot be written; the error names the folder.
        """
        final, new = self.root / name, self.root / f".{name}.{os.getpid()}.new"
        try:
            with naming(final, instead_of=new):
                shutil.rmtree(new, ignore_errors=True)
                new.mkdir(parents=True)
                yield new
                if not final.exists():
                    new.rename(final)
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def remove(self, name: str) -> None:
        """Remove the result of an item, so that it is done again."""
        gone = self.root / f".{name}.{os.getpid()}.old"
        (self.root / name).rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def part_names(paths: Sequence[Path], others: Iterable[str] = ()) -> list[str]:
    """A name for the result of each path, by its last part, distinct where file systems ignore case.

    Args:
        others: names that are not free.
    """
    names, taken = [], {name.casefold() for name in others}
    for path in paths:
        stem, number = re.sub(r"[^\w.\-]", "_", path.stem).lstrip(".")[:100] or "item", 1
        name = stem
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.casefold())
        names.append(name)
    return names
