"""The proof of an exported file: its logits beside those of torch, on random clips and on real ones.

B  videos   V  views   C  channels   T, H, W  clip   K  classes
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tubelet.data.clips.normalize import to_input
from tubelet.data.loading.read_views import read_views
from tubelet.errors import ExportError, reason
from tubelet.models.stages import model_inputs, takes_frame_numbers
from tubelet.protocol import Protocol
from tubelet.session.progress import Progress
from tubelet.tasks.choose import task_of
from tubelet.types import ExportPrecision
from tubelet.weights.exported.record import ClipAgreement, Proof, ProofCase, TakenClips

TOLERANCE = 1e-5  # of fp32: max |difference| over max |logits|
_BATCHES = (1, 3)


def prove(
    model: nn.Module,
    exported: nn.Module,
    protocol: Protocol,
    taken: TakenClips,
    *,
    precision: ExportPrecision,
    runtime: str,
    clips: Sequence[Path],
    progress: Progress,
) -> Proof:
    """Compare ``exported`` with ``model``, which is in eval mode on the CPU.

    Raises:
        ExportError: they differ by more than the precision may; the line says where.
    """
    tolerance = TOLERANCE if precision == "fp32" else None
    cases = []
    shapes = [(t, size, b) for size in taken.sizes for t in proof_frames(taken, protocol.num_frames) for b in _BATCHES]
    for done, (frames, size, batch) in enumerate(shapes, 1):
        try:
            difference = _difference(model, exported, protocol, frames, size, batch)
        except Exception as error:  # an exporter may have fixed an axis without a word
            raise ExportError(
                f"not written: {runtime} does not take {batch} clips of {frames}x{size[0]}x{size[1]} from the file "
                f"({reason(error)[:200]})"
            ) from error
        progress.advance(done, len(shapes), "clips compared")
        cases.append(ProofCase(num_frames=frames, size=size, batch=batch, difference=difference))
        if not math.isfinite(difference) or (tolerance is not None and difference > tolerance):
            raise ExportError(
                f"not written: in {runtime} the logits of {batch} clips of {frames}x{size[0]}x{size[1]} differ from "
                f"torch's by {difference:.1e} of the largest, where {tolerance or 'a finite number'} is allowed"
            )
    found: ClipAgreement | None = None
    refusal = ""
    if clips:
        found, refusal = agreement(model, exported, protocol, clips, progress)
    if precision != "fp32" and refusal:
        raise ExportError(f"not written: in {precision} {refusal}")
    reference = f"torch {torch.__version__}"
    return Proof(reference=reference, runtime=runtime, tolerance=tolerance, cases=tuple(cases), clips=found)


def proof_frames(taken: TakenClips, usual: int) -> tuple[int, ...]:
    """Five numbers of frames: the fewest, up to those of the protocol, and one step more."""
    if taken.num_frames is not None:
        return (taken.num_frames,)
    step = taken.frame_step
    wanted = [taken.min_frames, usual / 4, usual / 2, usual, usual + step]
    found = {max(taken.min_frames, math.ceil(t / step) * step) for t in wanted}
    while len(found) < 5:
        found.add(max(found) + step)
    return tuple(sorted(found))


@torch.inference_mode()
def _difference(
    model: nn.Module, exported: nn.Module, protocol: Protocol, frames: int, size: tuple[int, int], batch: int
) -> float:
    draw = torch.Generator().manual_seed(frames * 1000 + batch)
    shape = (batch, protocol.num_channels, frames, *size)
    clip = to_input(torch.randint(0, 256, shape, dtype=torch.uint8, generator=draw), protocol)
    numbers = 2 * torch.arange(frames).repeat(batch, 1)
    inputs = model_inputs(model, clip, numbers if takes_frame_numbers(model) else None)
    logits, own = model(*inputs).float(), exported(*inputs).float()  # each B K
    largest = float(logits.abs().max())
    difference = float((own - logits).abs().max())
    return difference / largest if largest else difference


@torch.inference_mode()
def agreement(
    model: nn.Module, exported: nn.Module, protocol: Protocol, clips: Sequence[Path], progress: Progress
) -> tuple[ClipAgreement, str]:
    """How the answers about real videos compare, and why the task does not allow it; empty where it does.

    Raises:
        DataError: a video cannot be read.
    """
    task, probs = task_of(protocol), []
    for done, clip in enumerate(clips, 1):
        item = read_views(clip, protocol)
        both = [_video_logits(each, item.pixels, item.frame_numbers, protocol) for each in (model, exported)]
        probs.append(task.probs(torch.stack(both)))  # 2 K
        progress.advance(done, len(clips), "videos compared")
    own, others = torch.stack(probs, dim=1)  # each N K
    found = task.agreement(own, others)
    lowest, highest = found.interval
    compared = ClipAgreement(
        num_clips=found.num_videos,
        num_equal=found.num_equal,
        lowest=lowest,
        highest=highest,
        largest_margin=float(found.largest_margin),
        map_change=found.map_change,
    )
    return compared, found.refusal


def _video_logits(
    model: nn.Module, views: Tensor, frame_numbers: Tensor | None, protocol: Protocol
) -> Float[Tensor, " K"]:
    """The mean over the views ``[V, C, T, H, W]`` of one video."""
    logits = []
    for i, view in enumerate(views):
        numbers = None if frame_numbers is None else frame_numbers[i : i + 1]
        logits.append(model(*model_inputs(model, to_input(view[None], protocol), numbers)).float())
    return torch.cat(logits).mean(0)


def check_clips_given(precision: ExportPrecision, clips: Sequence[Path]) -> None:
    """Raise ExportError for a low precision that nothing could prove."""
    if precision != "fp32" and not clips:
        raise ExportError(f"{precision} is proven on real videos: give some with --clips (30 or more of your own)")


def as_one_line(proof: Proof) -> str:
    """The proof for people."""
    worst = proof.largest
    text = (
        f"{len(proof.cases)} comparisons with {proof.reference} in {proof.runtime}: logits differ by at most "
        f"{worst.difference:.1e} of the largest"
    )
    if proof.clips is None:
        return text
    text += f"; {proof.clips.num_equal} of {proof.clips.num_clips} videos get the same label"
    if proof.clips.map_change is None:
        return text
    return f"{text}, mean average precision moves by {100 * proof.clips.map_change:.2f} points"
