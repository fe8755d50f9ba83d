"""The part of a batch that one process computes, and what it must know of the whole.

Every process reads its own rows. Labels and weights of all rows go round, so that each knows how much its videos count
in the mean over the whole batch; of the clips only those travel that mixup and cutmix pair with a clip elsewhere. N
processes then compute what one computes, with sums in another order.

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
from tubelet.session.processes import Processes
from tubelet.types import Batch


@dataclass(frozen=True, kw_only=True)
class Part:
    """This process's rows of a batch, and labels and weights of all rows."""

    batch: Batch  # of this process
    labels: Int[Tensor, " B"] | Int[Tensor, "B heads"]  # of all processes, in the order of their ranks
    weight: Float[Tensor, " B"]
    failed: dict[int, str]  # row of the manifest and why it could not be read, of all processes
    spans: tuple[slice, ...]  # the rows of each process

    def rows(self, rank: int) -> slice:
        """Where the rows of a process lie in the whole batch."""
        return self.spans[rank]

    def __len__(self) -> int:
        """Videos of the whole batch."""
        return len(self.weight)


def gather_part(batch: Batch, processes: Processes, num_rows: int) -> Part:
    """What this process must know to compute ``batch``, its part of ``num_rows`` rows."""
    spans = tuple(rows_of_process(num_rows, rank, processes.size) for rank in range(processes.size))
    unread = [row for row, weight in zip(batch.index, batch.weight.tolist(), strict=True) if weight == 0]
    failed = dict(zip(unread, batch.failures, strict=True))
    if not processes.has_group:
        return Part(batch=batch, labels=batch.labels, weight=batch.weight, failed=failed, spans=spans)
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
    return Part(
        batch=batch,
        labels=labels[:, 0] if batch.labels.ndim == 1 else labels,
        weight=weight,
        failed=failed,
        spans=spans,
    )


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """The rows of this process with the clips that they are mixed with behind them, and the mixture among these."""

    clips: (
        UInt8[Tensor, "b_and_borrowed C T H W"] | Float[Tensor, "b_and_borrowed T D"]
    )  # the latter of a feature store
    labels: Int[Tensor, " b_and_borrowed"] | Int[Tensor, "b_and_borrowed heads"]
    mixture: Mixture


def borrow_partners(part: Part, mixture: Mixture, processes: Processes) -> Mixed:
    """Fetch the partners of this process's clips that lie on other processes.

    Args:
        part: the rows of this process.
        mixture: of the whole batch.
    """
    own = part.rows(processes.rank)
    needed = [_elsewhere(mixture, span) for span in part.spans]
    clips = part.batch.clips
    if mixture.share == 1 or not any(needed):
        partner = mixture.partner[own] - own.start
        return Mixed(clips=clips, labels=part.labels[own], mixture=dataclasses.replace(mixture, partner=partner))
    rows = [*range(own.start, own.stop), *needed[processes.rank]]
    place = {row: i for i, row in enumerate(rows)}
    partner = torch.tensor([place[row] for row in mixture.partner[own].tolist()])
    return Mixed(
        clips=torch.cat([clips, _fetch(clips, part, needed, processes)]),
        labels=part.labels[rows],
        mixture=dataclasses.replace(mixture, partner=partner),
    )


def _elsewhere(mixture: Mixture, span: slice) -> list[int]:
    """The partners of these rows that are not among them, ascending."""
    return sorted(row for row in set(mixture.partner[span].tolist()) if not span.start <= row < span.stop)


def _fetch(clips: Tensor, part: Part, needed: Sequence[Sequence[int]], processes: Processes) -> Tensor:
    """The clips of the rows that this process needs, in their order; and the others get theirs from here.

    They travel through main memory, also between GPUs: there, sends that wait for each other could stand still.
    """
    own, works, sent = part.rows(processes.rank), [], []
    wanted = torch.empty(len(needed[processes.rank]), *clips.shape[1:], dtype=clips.dtype)
    for rank, span in enumerate(part.spans):
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
