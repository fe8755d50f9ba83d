"""The proof of an exported file: its logits beside those of torch, on random clips and on real ones.

B  videos   V  views   C  channels   T, H, W  clip   K  classes
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
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
LEAST_AGREEMENT = 0.99  # of low precision: the upper end of the interval must reach it
FEW_CLIPS = 30  # below, an interval says little, and no clear disagreement is allowed
CLEAR_MARGIN = 0.1  # of probability
_BATCHES = (1, 3)
_NORMAL_95 = 1.959964  # two-sided quantile


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
    found = agreement(model, exported, protocol, clips, progress) if clips else None
    if precision != "fp32" and found is not None:
        _check_agreement(found, precision)
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
    model: nn.Module, exported: nn.Module, protocol: Protocol, clips: Iterable[Path], progress: Progress
) -> ClipAgreement:
    """How often both give a video the same first label.

    Raises:
        DataError: a video cannot be read.
    """
    task, equal, total, margin = task_of(protocol), 0, 0, 0.0
    clips = list(clips)
    for total, clip in enumerate(clips, 1):
        item = read_views(clip, protocol)
        probs = [
            task.probs(_video_logits(each, item.pixels, item.frame_numbers, protocol)) for each in (model, exported)
        ]
        ranked = task.rank(probs[0], None)
        label = task.rank(probs[1], 1).labels[0]
        equal += label == ranked.labels[0]
        of_label = dict(zip(ranked.labels, ranked.probs, strict=True))[label]
        margin = max(margin, ranked.probs[0] - of_label)
        progress.advance(total, len(clips), "videos compared")
    lowest, highest = wilson(equal, total)
    return ClipAgreement(num_clips=total, num_equal=equal, lowest=lowest, highest=highest, largest_margin=float(margin))


def _video_logits(
    model: nn.Module, views: Tensor, frame_numbers: Tensor | None, protocol: Protocol
) -> Float[Tensor, " K"]:
    """The mean over the views ``[V, C, T, H, W]`` of one video."""
    logits = []
    for i, view in enumerate(views):
        numbers = None if frame_numbers is None else frame_numbers[i : i + 1]
        logits.append(model(*model_inputs(model, to_input(view[None], protocol), numbers)).float())
    return torch.cat(logits).mean(0)


def wilson(equal: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    if not total:
        return 0.0, 1.0
    z, share = _NORMAL_95, equal / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0.0, middle - half), min(1.0, middle + half)


def _check_agreement(found: ClipAgreement, precision: ExportPrecision) -> None:
    where = f"in {precision} {found.num_equal} of {found.num_clips} videos get the label of torch"
    if found.num_clips < FEW_CLIPS and found.largest_margin > CLEAR_MARGIN:
        raise ExportError(
            f"not written: {where}, and one of the others is off by {found.largest_margin:.2f} of probability "
            f"(fewer than {FEW_CLIPS} videos allow {CLEAR_MARGIN}); use fp32, or more videos"
        )
    if found.num_clips >= FEW_CLIPS and found.highest < LEAST_AGREEMENT:
        raise ExportError(
            f"not written: {where} (95 % interval {found.lowest:.3f} to {found.highest:.3f}), where "
            f"{LEAST_AGREEMENT} is asked for; use fp32"
        )


def check_clips_given(precision: ExportPrecision, clips: Sequence[Path], protocol: Protocol) -> None:
    """Raise ExportError for a low precision that nothing could prove."""
    if precision == "fp32":
        return
    if not clips:
        raise ExportError(f"{precision} is proven on real videos: give some with --clips (30 or more of your own)")
    if protocol.multi_label:
        raise ExportError(f"{precision} of a model whose videos have several labels cannot be proven yet; use fp32")


def as_one_line(proof: Proof) -> str:
    """The proof for people."""
    worst = proof.largest
    text = (
        f"{len(proof.cases)} comparisons with {proof.reference} in {proof.runtime}: logits differ by at most "
        f"{worst.difference:.1e} of the largest"
    )
    if proof.clips is None:
        return text
    return f"{text}; {proof.clips.num_equal} of {proof.clips.num_clips} videos get the same label"
