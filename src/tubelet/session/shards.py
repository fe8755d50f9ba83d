"""Work on many items that several machines or calls share: which items a call takes, and results that are whole or not
there.

``--shard 2/8`` takes every eighth item from the second on, under any scheduler. Each item's result is a folder that is
written beside its name and moved there, so that a call that was killed goes on with what is missing. Whichever call
ends last finds all parts and joins them: it writes what one call alone would have written.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tubelet.errors import ConfigError, DataError
from tubelet.files import naming, write_atomically

T = TypeVar("T")

PARTS, RECORD = "parts", "shared.json"  # a folder beside the joined result, and what its parts are of
_MOST_BLOCKS = 4096  # of many items, so that a folder of parts stays small enough for a network drive
_MOST_NAMED = 4  # missing parts that a line names


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
        final, new = self.root / name, self.root / f".{name}.{socket.gethostname()}.{os.getpid()}.new"
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


@dataclass(frozen=True)
class Block:
    """Neighboring items whose results are one part."""

    name: str
    items: range


def blocks(num_items: int) -> list[Block]:
    """All items in blocks. Their size depends on ``num_items`` alone, so that any calls may share them."""
    size = max(1, -(-num_items // _MOST_BLOCKS))
    return [Block(f"{start:08d}", range(start, min(start + size, num_items))) for start in range(0, num_items, size)]


class SharedWork:
    """Blocks of items that several calls work on, each block a part in ``folder/parts``.

    Args:
        folder: where the joined result goes.
        shard: the part of this call.
        num_items: of all calls together.
    """

    def __init__(self, folder: Path, shard: Shard, num_items: int) -> None:
        self.shard, self.blocks = shard, blocks(num_items)
        self.parts = Parts(folder / PARTS)

    @property
    def own(self) -> list[Block]:
        """The blocks of this call, done or not."""
        return self.shard.of(self.blocks)

    def path(self, block: Block) -> Path:
        """The folder of a part, whether or not it is there."""
        return self.parts.root / block.name

    def is_done(self, block: Block) -> bool:
        """Whether the part of a block is there."""
        return self.parts.is_done(block.name)

    @contextmanager
    def writing(self, block: Block) -> Iterator[Path]:
        """As ``Parts.writing``, over a part that is there."""
        with self.parts.writing(block.name) as new:
            yield new
            if self.is_done(block):
                self.parts.remove(block.name)

    def missing_text(self) -> str | None:
        """Which parts are missing and whose they are, in one line. None where all are there and can be joined."""
        names = [block.name for block in self.blocks]
        return missing_text(self.shard, names, list(map(self.parts.is_done, names)), "parts")


def missing_text(shard: Shard, names: Sequence[str], is_done: Sequence[bool], what: str) -> str | None:
    """Which of the results of all calls are missing, and which calls make them. None where all are there."""
    missing = [number for number, done in enumerate(is_done) if not done]
    if not missing:
        return None
    whose = sorted({number % shard.count + 1 for number in missing})
    named = ", ".join(names[number] for number in missing[:_MOST_NAMED]) + ", ..." * (len(missing) > _MOST_NAMED)
    calls = ", ".join(f"{index}/{shard.count}" for index in whose)
    return f"{len(missing)} of {len(names)} {what} are left to other parts: {named}; they are those of --shard {calls}"


def damaged_part(path: Path, found: str) -> DataError:
    """What a part that is not as it was written is told as.

    Args:
        path: its folder.
        found: what is there.
    """
    return DataError(f"{path}: is damaged ({found}); the call of its part (--shard) makes it again, or delete it")


def digest_of(texts: Iterable[str]) -> str:
    """16 hex digits of texts in their order, for ``claim``."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode(errors="surrogateescape") + b"\0")
    return digest.hexdigest()[:16]


def claim(folder: Path, about: Mapping[str, Any], what: str, record: str = RECORD) -> None:
    """Say in a folder what its parts are of, or refuse one that holds parts of something else.

    Args:
        folder: made if missing. It may be claimed by several calls at once.
        about: plain values that all calls must have in common. A record of an earlier version may lack some.
        what: the results, for messages.
        record: the name of the file.

    Raises:
        ConfigError: the folder holds parts of another run, or anything else.
    """
    file = folder / record
    if not file.is_file():
        others = [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []
        if others and not file.is_file():
            raise ConfigError(f"{folder}: not empty and no folder of {what}; give another --out")
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(about, indent=2) + "\n")
    try:
        there = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise ConfigError(f"{file}: is not the record of {what}; delete {folder}, or give another --out") from None
    if wrong := [name for name, value in about.items() if there.get(name, value) != value]:
        raise ConfigError(f"{folder}: holds {what} of another {', '.join(wrong)}; give another --out")


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
