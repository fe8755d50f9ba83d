"""The training state: what a killed run resumes from to the same bits. It is never half written.

No random state is stored, because every step seeds the generators from (seed, step) and data are drawn by
(seed, epoch, index): randomness needs only the step number.

``resume.pt`` holds the state. For a model in shards it names the folder ``shards-STEP`` beside it, to which every
process writes its own (torch.distributed.checkpoint, as safetensors). The folder is complete before the file names it,
and only then the folder before is removed.
"""

from __future__ import annotations

import io
import pickle
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn

from tubelet.errors import CheckpointError, TubeletError, reason
from tubelet.files import written_atomically
from tubelet.training.optim.ema import WeightAverage
from tubelet.training.parallel.parallelize import ParallelModel

FILE, SHARDS = "resume.pt", "shards-"
_FAULTS = (OSError, RuntimeError, EOFError, KeyError, TypeError, ValueError, AttributeError, pickle.UnpicklingError)


@dataclass
class TrainingState:
    """How far a run is: ``step`` optimizer steps are done, and ``best`` is the best validation value so far."""

    step: int = 0
    best: float | None = None
    best_loss: float | None = None  # of that validation; None means that a version wrote the state that did not keep it
    best_step: int = 0
    failed: dict[int, str] = field(default_factory=dict)  # training row: why it could not be read
    num_read: int = 0  # videos asked for so far
    seconds: float = 0.0  # training time so far, over all sessions
    closed_step: int = 0  # the last end of an epoch after which all that was due is done: validation, checkpoints
    num_processes: int = 1  # that the run has now
    contents: dict[str, str] = field(default_factory=dict)  # hashes of the training files read so far, by file


def save_state(
    folder: Path,
    parallel: ParallelModel,
    optimizer: torch.optim.Optimizer,
    training_state: TrainingState,
    average: WeightAverage | None = None,
) -> None:
    """Write the state. Every process must take part.

    Raises:
        OSError: The file or a shard cannot be written. The state before is untouched.
        TubeletError: A shard cannot be written for another reason. The state before is untouched.
    """
    state: dict[str, Any] = {"progress": asdict(training_state)}
    if parallel.is_sharded:
        state["shards"] = _save_shards(folder, parallel, optimizer, training_state.step)
    if not parallel.processes.is_main:
        return
    if not parallel.is_sharded:
        state |= {"model": parallel.model.state_dict(), "optimizer": optimizer.state_dict()}
    if average is not None:
        state["average"] = average.state_dict()
    with written_atomically(folder / FILE) as new:
        write_state(state, new)
    for old in folder.glob(f"{SHARDS}*"):
        if old.name != state.get("shards"):
            shutil.rmtree(old, ignore_errors=True)


def load_state(
    folder: Path,
    parallel: ParallelModel,
    optimizer: torch.optim.Optimizer,
    average: WeightAverage | None = None,
) -> TrainingState:
    """Load the state into the model, the optimizer and the averaged weights, and return how far the run was.

    A run killed before its first state starts anew, with the state of step 0.

    Raises:
        CheckpointError: The state cannot be read, or belongs to another model.
    """
    file = folder / FILE
    if not file.exists():
        return TrainingState()
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        if parallel.is_sharded:
            _load_shards(folder / state["shards"], parallel.model, optimizer)
        else:
            parallel.model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
        if average is not None:
            average.load_state_dict(state["average"])
        # A state without closed_step is of a version that wrote it when all was done.
        return TrainingState(**{"closed_step": state["progress"]["step"]} | state["progress"])
    except (*_FAULTS, dcp.CheckpointException) as error:
        raise CheckpointError(f"{file}: cannot resume from it ({reason(error)[:200]}); start the run anew") from None


def steps_done(folder: Path) -> int:
    """Return the number of optimizer steps of the state in ``folder``; 0 without a state. Tensors are not read.

    Raises:
        CheckpointError: The state cannot be read.
    """
    file = folder / FILE
    if not file.exists():
        return 0
    try:
        step: int = torch.load(file, map_location="cpu", weights_only=True, mmap=True)["progress"]["step"]
    except _FAULTS as error:
        raise CheckpointError(f"{file}: cannot resume from it ({reason(error)[:200]}); start the run anew") from None
    return step


def _save_shards(folder: Path, parallel: ParallelModel, optimizer: torch.optim.Optimizer, step: int) -> str:
    """Write the shards of every process, and return the name of their folder."""
    new = f"{SHARDS}{step}"
    while (folder / new).exists():  # of this step already, or left by a killed writer
        new += "-again"
    name: str = parallel.processes.gather(new)[0]
    tensors = _tensors(parallel.model) | _moments(parallel.model, optimizer)
    try:
        dcp.save(tensors, storage_writer=dcp.HuggingFaceStorageWriter(str(folder / name), save_distributed=True))
    except dcp.CheckpointException as error:
        if parallel.processes.is_main:
            shutil.rmtree(folder / name, ignore_errors=True)  # all processes have ended their part
        raise _as_of_storage(error, folder / name) from None
    return name


def _as_of_storage(error: dcp.CheckpointException, path: Path) -> Exception:
    """Return the error to raise for a shard that could not be written: the system error with the file, or one line."""
    failures = [failure for failure, _ in error.failures.values()]
    for failure in failures:
        if isinstance(failure, OSError) and failure.errno is not None:
            return OSError(failure.errno, failure.strerror, str(path))
    return TubeletError(f"{path}: the state cannot be written ({reason(failures[0])[:200]}); the one before is kept")


def _load_shards(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Read what the shards of this process need, whatever number of processes wrote them."""
    reader = dcp.HuggingFaceStorageReader(str(folder))
    parameters = dict(model.named_parameters())
    for key, found in reader.read_metadata().state_dict_metadata.items():
        kind, _, rest = key.partition(".")
        if kind == "optimizer":
            moment, _, name = rest.partition(".")
            like, dtype = parameters[name], found.properties.dtype  # type: ignore[union-attr]
            same = found.size == like.shape and like.ndim > 0  # type: ignore[union-attr]
            empty = torch.zeros_like(like, dtype=dtype) if same else torch.zeros(found.size, dtype=dtype)  # type: ignore[union-attr]
            optimizer.state[like][moment] = empty.detach()
    dcp.load(_tensors(model) | _moments(model, optimizer), storage_reader=dcp.HuggingFaceStorageReader(str(folder)))


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {f"model.{name}": tensor for name, tensor in model.state_dict().items()}


def _moments(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return what the optimizer keeps of each parameter, as ``optimizer.MOMENT.PARAMETER``, without rates."""
    return {
        f"optimizer.{moment}.{name}": value
        for name, parameter in model.named_parameters()
        for moment, value in optimizer.state.get(parameter, {}).items()
    }


def write_state(state: dict[str, Any], file: Path) -> None:
    """Write tensors and plain data for ``torch.load(weights_only=True)``.

    Raises:
        OSError: The file cannot be written, such as to a full disk. (``torch.save`` would only name a position in the
            file.)
    """
    with file.open("wb", buffering=0) as stream:
        watched = _Watched(stream)
        try:
            torch.save(state, cast(IO[bytes], watched))
        except RuntimeError:
            if watched.error is None:
                raise
            raise watched.error from None


class _Watched(io.BufferedIOBase):
    """A stream that remembers the system error of a write that failed."""

    def __init__(self, stream: io.RawIOBase) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        left = memoryview(data).cast("B")
        length = len(left)
        try:
            while left:
                left = left[self._stream.write(left) or 0 :]
        except OSError as error:
            self.error = error
            raise
        return length
