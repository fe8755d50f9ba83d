"""Where to compute: ``auto`` is the first of CUDA, MPS and CPU that is there."""

from __future__ import annotations

from typing import Literal

import torch

from tubelet.errors import TubeletError

Device = Literal["auto", "cpu", "cuda", "mps"]


def choose_device(name: Device) -> torch.device:
    """The device of that name.

    Raises:
        TubeletError: it was asked for by name and is not there.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    if not available[name]:
        raise TubeletError(f"device '{name}' is not available here; use --device auto or --device cpu")
    return torch.device(name)
