"""The code of a reader process: it processes one row at a time and sends the result over its pipe.

The exchange for one row: the parent sends it. The process answers True (it has begun), then any number of
``MoreTime``, then a ``Failure``, an ``Unexpected``, an ``OSError``, any other result, or an ``ItemHeader`` and after it
the pixels as raw bytes. Pixels do not go through shared memory, because a killed process would leave it behind.
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
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from tubelet.data.clips.pixel_augmentation import PixelAugmentation
from tubelet.data.loading.dataset import Item
from tubelet.data.sources.open_source import TOO_LITTLE_MEMORY
from tubelet.errors import DataError, is_out_of_memory, memory_line

_LAST_SECONDS = 60  # a process that was asked to end lives on for so long, unless its parent ends first

R_contra = TypeVar("R_contra", contravariant=True)
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class Failure:
    """A row that could not be read: one line that names its file, and how it failed."""

    line: str
    kind: Literal["refused", "died", "hung"] = "refused"  # the reader raised; its process died; its time limit passed


@runtime_checkable
class RowProcessor(Protocol[R_contra, T_co]):
    """What the processes of a pool do with each row. It is pickled and sent to each of them, and holds no rows."""

    def name(self, row: R_contra) -> str:
        """The name of a row in messages. The parent calls it."""
        ...

    def run(self, row: R_contra, allow: Callable[[float], None]) -> T_co:
        """The result of one row, which is pickled and sent with it. A process calls it.

        ``allow(seconds)`` raises the row's time limit to so many seconds after its beginning. A ``DataError`` becomes a
        ``Failure``. Any other exception is raised in the parent.
        """
        ...


@dataclass(frozen=True)
class MoreTime:
    """Raises the time limit of the row to so many seconds after its beginning."""

    seconds: float


@dataclass(frozen=True)
class Unexpected:
    """An error in the code or the configuration, as the text of its traceback. The parent raises it."""

    trace: str


@dataclass(frozen=True)
class ItemHeader:
    """The fields of an ``Item`` without its pixels, which follow as bytes."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    labels: tuple[int, ...]
    seconds_covered: float
    frame_numbers: NDArray[np.int64]
    notes: tuple[str, ...]
    content: str | None
    augmentation: PixelAugmentation | None


def receive_item(connection: Connection, header: ItemHeader) -> Item:
    """Receive the pixels of an item whose header has arrived."""
    pixels = torch.empty(header.shape, dtype=header.dtype)
    connection.recv_bytes_into(pixels.numpy().reshape(-1).view(np.uint8))
    return Item(
        pixels=pixels,
        labels=header.labels,
        seconds_covered=header.seconds_covered,
        frame_numbers=torch.from_numpy(header.frame_numbers),
        notes=header.notes,
        content=header.content,
        augmentation=header.augmentation,
    )


def serve(connection: Connection, processor: RowProcessor[Any, object]) -> None:
    """The main loop of a reader process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent decides
    # So may SIGTERM. Without the delay, the row that the parent waits for would count as failed while it stops.
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(_LAST_SECONDS))
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    gc.freeze()  # modules stay anyway; without them, collecting after each row takes a fraction of a millisecond
    try:
        connection.send(True)
        while True:
            row = connection.recv()
            connection.send(True)
            _answer(connection, processor, row)
            gc.collect()  # else a decoder in a reference cycle would keep its frames for hundreds of rows
    except (EOFError, ConnectionError):
        return  # the pool has closed the pipe


def _answer(connection: Connection, processor: RowProcessor[R_contra, object], row: R_contra) -> None:
    try:
        result = processor.run(row, lambda seconds: connection.send(MoreTime(seconds)))
    except DataError as error:
        connection.send(Failure(str(error)))
    except ConnectionError:
        raise
    except OSError as error:  # of a file that is written; those of sources are DataErrors
        connection.send(OSError(error.errno, error.strerror, error.filename))
    except Exception as error:
        if is_out_of_memory(error):
            connection.send(Failure(f"{processor.name(row)}: {memory_line(error)}; {TOO_LITTLE_MEMORY}", "died"))
        else:
            connection.send(Unexpected(traceback.format_exc()))
    else:
        if isinstance(result, Item):
            pixels = result.pixels
            numbers = result.frame_numbers.numpy()
            covered, shape = result.seconds_covered, tuple(pixels.shape)
            notes, content = result.notes, result.content
            header = ItemHeader(
                shape, pixels.dtype, result.labels, covered, numbers, notes, content, result.augmentation
            )
            connection.send(header)
            connection.send_bytes(pixels.numpy().reshape(-1).view(np.uint8))
        else:
            connection.send(result)


def _exit_with_parent() -> None:
    """End this process when the parent ends, even if a read hangs."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
