"""The rows of a batch that one process computes, and what it must know of the whole batch.

Every process reads its own rows. Labels and weights of all rows go round, because each process must know how much its
videos count in the mean over the whole batch. Of the clips only those travel that mixup and cutmix pair with a clip of
another process. N processes then compute what one computes, with sums in another order.

    B  videos of the whole batch    b  of this process    C T H W  channels, frames, pixels
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from tubelet.data.clips.mixing import Mixture
from tubelet.data.loading.loader import rows_of_process
from tubelet.errors import ConfigError
from tubelet.session.processes import Processes
from tubelet.types import Batch


@dataclass(frozen=True, kw_only=True)
class MicroBatch:
    """This process's rows of a batch, and labels and weights of all rows."""

    own: Batch  # the rows of this process
    labels: Int[Tensor, " B"] | Int[Tensor, "B heads"]  # of all processes, in the order of their ranks
    weight: Float[Tensor, " B"]
    failed: dict[int, str]  # row of the manifest and why it could not be read, of all processes
    spans: tuple[slice, ...]  # the rows of each process


def gather_micro_batch(batch: Batch, processes: Processes, num_rows: int) -> MicroBatch:
    """Exchange with the other processes what each must know of the whole batch of ``num_rows`` rows."""
    unread = [row for row, weight in zip(batch.index, batch.weight.tolist(), strict=True) if weight == 0]
    failed = dict(zip(unread, batch.failures, strict=True))
    if processes.store is None:  # alone
        spans: tuple[slice, ...] = (slice(0, num_rows),)
        return MicroBatch(own=batch, labels=batch.labels, weight=batch.weight, failed=failed, spans=spans)
    spans = tuple(rows_of_process(num_rows, rank, processes.size) for rank in range(processes.size))
    own = torch.cat([batch.weight[:, None].double(), batch.labels.reshape(len(batch.weight), -1).double()], dim=1)
    longest = max(span.stop - span.start for span in spans)
    padded = F.pad(own, (0, 0, 0, longest - len(own)))
    found = [torch.empty_like(padded) for _ in spans]
    dist.all_gather(found, padded)
    whole = torch.cat([rows[: span.stop - span.start] for rows, span in zip(found, spans, strict=True)])
    labels = whole[:, 1:].to(batch.labels.dtype)
    weight = whole[:, 0].to(batch.weight.dtype)
    if (weight == 0).any():  # every process sees it, and takes part
        failed = {row: line for of_one in processes.gather(failed) for row, line in of_one.items()}
    return MicroBatch(
        own=batch,
        labels=labels[:, 0] if batch.labels.ndim == 1 else labels,
        weight=weight,
        failed=failed,
        spans=spans,
    )


@dataclass(frozen=True, kw_only=True)
class MixedClips:
    """The rows of this process, behind them the clips that they are mixed with, and the mixture among these."""

    clips: (
        UInt8[Tensor, "b_and_borrowed C T H W"] | Float[Tensor, "b_and_borrowed T D"]
    )  # the latter of a feature store
    labels: Int[Tensor, " b_and_borrowed"] | Int[Tensor, "b_and_borrowed heads"]
    mixture: Mixture


def borrow_partners(batch: MicroBatch, mixture: Mixture, processes: Processes) -> MixedClips:
    """Fetch the partners of this process's clips that lie on other processes.

    Args:
        batch: the rows of this process.
        mixture: of the whole batch.
    """
    own = batch.spans[processes.rank]
    needed = [_elsewhere(mixture, span) for span in batch.spans]
    clips = batch.own.clips
    if mixture.share == 1 or not any(needed):
        partner = mixture.partner[own] - own.start
        return MixedClips(clips=clips, labels=batch.labels[own], mixture=dataclasses.replace(mixture, partner=partner))
    rows = [*range(own.start, own.stop), *needed[processes.rank]]
    place = {row: i for i, row in enumerate(rows)}
    partner = torch.tensor([place[row] for row in mixture.partner[own].tolist()])
    return MixedClips(
        clips=torch.cat([clips, _fetch(clips, batch, needed, processes)]),
        labels=batch.labels[rows],
        mixture=dataclasses.replace(mixture, partner=partner),
    )


def _elsewhere(mixture: Mixture, span: slice) -> list[int]:
    """The partners of these rows that are not among them, ascending."""
    return sorted(row for row in set(mixture.partner[span].tolist()) if not span.start <= row < span.stop)


def _fetch(clips: Tensor, batch: MicroBatch, needed: Sequence[Sequence[int]], processes: Processes) -> Tensor:
    """Fetch the clips that this process needs, in the order of their rows, and send the others theirs.

    Clips travel through main memory, also between GPUs, because sends between GPUs that wait for each other could
    deadlock.
    """
    own, works, sent = batch.spans[processes.rank], [], []
    wanted = torch.empty(len(needed[processes.rank]), *clips.shape[1:], dtype=clips.dtype)
    for rank, span in enumerate(batch.spans):
        theirs = [row - own.start for row in needed[rank] if own.start <= row < own.stop]
        if theirs:
            sent.append(clips[theirs].cpu().contiguous())  # kept until it has arrived
            works.append(dist.isend(sent[-1], rank))
        ours = [place for place, row in enumerate(needed[processes.rank]) if span.start <= row < span.stop]
        if ours:  # rows are ascending, and so those of one process lie side by side
            works.append(dist.irecv(wanted[ours[0] : ours[-1] + 1], rank))
    for work in works:
        if work is not None:
            work.wait()
    return wanted.to(clips.device)


def check_portions(num_clips: int, accumulation: int, num_processes: int) -> None:
    """Raise ConfigError when a process would have fewer portions than the others, because they meet in each of them."""
    fewest = num_clips // num_processes
    if num_processes > 1 and fewest < accumulation:
        raise ConfigError(
            f"a batch of {num_clips} clips over {num_processes} processes gives one of them {fewest}, fewer than the "
            f"{accumulation} portions of training.accumulation; raise training.batch_size, or start fewer processes"
        )
