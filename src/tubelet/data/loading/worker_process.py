"""The inside of a reader process: it does one row of a job at a time and sends what came of it over its pipe.

On the pipe, for one row: the parent sends (index, epoch); the process answers True (it has begun), then any number of
``MoreTime``, then a ``Failure``, an ``Unexpected``, any other result, or an ``ItemHeader`` followed by the pixels as
raw bytes. Pixels do not go through shared memory, so that a killed process leaves nothing behind.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from tubelet.data.clips.pixel_augmentation import PixelAugmentation
from tubelet.data.loading.dataset import Item
from tubelet.errors import DataError

_LAST_SECONDS = 60  # of a process that was asked to end, unless its parent ends first

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class Failure:
    """A row that could not be read, as one line that names its file, and how it showed."""

    line: str
    kind: Literal["refused", "died", "hung"] = "refused"  # by the reader; its process died; it passed its time limit


@runtime_checkable
class RowProcessor(Protocol[T_co]):
    """What the processes of a pool do, row by row. It travels to them by pickle."""

    def name(self, index: int) -> str:
        """The row as messages name it. Called in the parent."""
        ...

    def run(self, index: int, epoch: int, allow: Callable[[float], None]) -> T_co:
        """The result of one row; ``allow(seconds)`` sets the row's time limit, counted from its beginning, if that is
        later than the present one. A ``DataError`` becomes a ``Failure``; any other exception is raised in the parent.
        """
        ...


@dataclass(frozen=True)
class MoreTime:
    """The row may take so many seconds, counted from its beginning."""

    seconds: float


@dataclass(frozen=True)
class Unexpected:
    """A mistake in the code or the configuration, as the text of its traceback: the parent raises it."""

    trace: str


@dataclass(frozen=True)
class ItemHeader:
    """The fields of an ``Item`` beside its pixels, which follow as bytes."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    labels: tuple[int, ...]
    seconds_covered: float
    frame_numbers: NDArray[np.int64]
    notes: tuple[str, ...]
    augmentation: PixelAugmentation | None


def receive_item(connection: Connection, header: ItemHeader) -> Item:
    """The item whose header has come."""
    pixels = torch.empty(header.shape, dtype=header.dtype)
    connection.recv_bytes_into(pixels.numpy().reshape(-1).view(np.uint8))
    return Item(
        pixels=pixels,
        labels=header.labels,
        seconds_covered=header.seconds_covered,
        frame_numbers=torch.from_numpy(header.frame_numbers),
        notes=header.notes,
        augmentation=header.augmentation,
    )


def serve(connection: Connection, processor: RowProcessor[object]) -> None:
    """The life of a reader process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    # So may SIGTERM; time for the parent to end in its own way, before the row it waits for counts as unreadable.
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(_LAST_SECONDS))
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    gc.freeze()  # what is there stays: collecting after each row then takes a fraction of a millisecond
    try:
        connection.send(True)
        while True:
            index, epoch = connection.recv()
            connection.send(True)
            _answer(connection, processor, index, epoch)
            gc.collect()  # a decoder in a reference cycle would keep its pictures for hundreds of rows
    except (EOFError, ConnectionError):
        return  # the pool has closed


def _answer(connection: Connection, processor: RowProcessor[object], index: int, epoch: int) -> None:
    try:
        result = processor.run(index, epoch, lambda seconds: connection.send(MoreTime(seconds)))
    except DataError as error:
        connection.send(Failure(str(error)))
    except ConnectionError:
        raise
    except Exception:
        connection.send(Unexpected(traceback.format_exc()))
    else:
        if isinstance(result, Item):
            pixels = result.pixels
            numbers = result.frame_numbers.numpy()
            covered, shape = result.seconds_covered, tuple(pixels.shape)
            header = ItemHeader(shape, pixels.dtype, result.labels, covered, numbers, result.notes, result.augmentation)
            connection.send(header)
            connection.send_bytes(pixels.numpy().reshape(-1).view(np.uint8))
        else:
            connection.send(result)


def _exit_with_parent() -> None:
    """Even a read that hangs ends when the parent is killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
