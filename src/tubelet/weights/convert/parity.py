"""How far a converted model's logits are from the original's, measured on a stored or a seeded random clip."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from tubelet.errors import CheckpointError, reason
from tubelet.weights.mapping.converter import Converted, Source


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A clip in the original's own axes, and what the original computed for it, where that is stored."""

    clip: Tensor
    logits: Tensor | None
    described: str  # file and checksum, or seed and shape


def read_reference(file: Path) -> Reference:
    """A clip from ``.npy``, or ``input`` and ``logits`` from ``.npz``; float32, in the original's own axes.

    Raises:
        CheckpointError: unreadable, or other arrays.
    """
    try:
        content = np.load(file, allow_pickle=False)
        arrays = {"input": content} if isinstance(content, np.ndarray) else {n: content[n] for n in content.files}
        clip = torch.from_numpy(arrays.pop("input").astype(np.float32))
        logits = torch.from_numpy(arrays.pop("logits").astype(np.float32)) if "logits" in arrays else None
    except KeyError:
        raise CheckpointError(f"{file}: expected the array 'input' (and 'logits')") from None
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise CheckpointError(f"{file}: cannot be read as .npy or .npz ({reason(error)})") from None
    if arrays:
        raise CheckpointError(f"{file}: expected the arrays 'input' and 'logits', found also '{next(iter(arrays))}'")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return Reference(clip=clip, logits=logits, described=f"{file.name}, sha256 {digest}")


def random_reference(model: nn.Module, axes: str) -> Reference:
    """One clip of the size that the model is made for, values from -1 to 1, seed 0."""
    config: Any = model.config
    shape = (1, config.in_channels, config.num_frames, *config.image_size)
    clip = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    text = f"random from -1 to 1, seed 0, {' '.join(map(str, shape))}"
    return Reference(clip=rearrange(clip, f"B C T H W -> {axes}"), logits=None, described=text)


def measure_parity(
    converted: Converted, source: Source, path: Path, reference: Reference | None, tolerance: float
) -> dict[str, Any]:
    """What goes into the record: the largest difference of the logits, on which input, against which original.

    Args:
        path: what was converted; an original that can run here is loaded from it.
        reference: a stored clip; None means a random one, where the original can run.
        tolerance: largest difference over max(1, largest logit).

    Raises:
        CheckpointError: the clip does not fit, or the logits differ by more than the tolerance.
    """
    if reference is None and source.original is None:
        return {"measured": False, "reason": "the original cannot run here and no --reference-input was given"}
    stored = reference or random_reference(converted.model, source.format.clip_axes)
    expected, against = stored.logits, "the logits stored with the input"
    if expected is None:
        answer = source.original(path, stored.clip) if source.original is not None else None
        if answer is None:
            return {"measured": False, "reason": "the original is not installed here and no logits were given"}
        expected, against = answer[0], f"{answer[1]}, run on this input"
    actual = _logits(converted.model, stored.clip, source.format.clip_axes)
    if actual.shape != expected.shape:
        shapes = f"{tuple(expected.shape)}, the converted model's {tuple(actual.shape)}"
        raise CheckpointError(f"the original's logits have shape {shapes}")
    difference, largest = float((actual - expected).abs().max()), float(expected.abs().max())
    if not difference <= tolerance * max(1.0, largest):
        raise CheckpointError(
            f"the converted model is not the original: logits differ by {difference:.3g} where the largest is "
            f"{largest:.3g} (tolerance {tolerance:g}); nothing was written"
        )
    return {
        "measured": True,
        "max_abs_difference": difference,
        "max_abs_logit": largest,
        "input": stored.described,
        "against": against,
    }


def _logits(model: nn.Module, clip: Tensor, axes: str) -> Tensor:
    try:
        with torch.inference_mode():
            logits: Tensor = model(rearrange(clip, f"{axes} -> B C T H W").contiguous())
    except Exception as error:  # einops, the model and torch each have their own
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"the reference input {tuple(clip.shape)} is no clip [{axes}] ({reason})") from None
    return logits
