"""Where to compute: ``auto`` takes the first of CUDA, MPS and CPU that is there. And how a CPU keeps its memory."""

from __future__ import annotations

import ctypes

import torch

from tubelet.errors import TubeletError
from tubelet.types import Device, Precision

# <malloc.h> of glibc
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_NEVER = 2**31 - 1
_BLOCK_BYTES = (2**30, 2**25)  # larger blocks are still given back; older versions accept only the second size


def choose_device(name: Device) -> torch.device:
    """Return the device of that name.

    Raises:
        TubeletError: The device was asked for by name and is not there.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    if not available[name]:
        raise TubeletError(f"device '{name}' is not available here; use --device auto or --device cpu")
    return torch.device(name)


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context in which a model computes in ``precision``. It may be entered again."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def keep_freed_memory() -> bool:
    """Let this process keep freed blocks of up to a gibibyte. Return False where the C library cannot.

    Every training step on a CPU takes the same large blocks and frees them. By default the C library of Linux returns
    such blocks to the system at once, and the next step finds and clears each anew, page by page;
    ``benchmarks/training.py`` measures what that costs. The setting lasts as long as the process and replaces that of
    the environment (``MALLOC_MMAP_THRESHOLD_``).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, _NEVER)) and any(mallopt(_M_MMAP_THRESHOLD, size) for size in _BLOCK_BYTES)
