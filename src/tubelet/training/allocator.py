"""Training on a CPU keeps the memory that it frees.

Every step takes the same large blocks and gives them back. The C library of Linux hands such blocks to the system as
they are freed, and each is found and cleared anew, page by page, for the next step; ``benchmarks/training.py`` has what
that costs.
"""

from __future__ import annotations

import ctypes

# <malloc.h> of glibc
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_NEVER = 2**31 - 1
_BLOCK_BYTES = (2**30, 2**25)  # larger ones are still given back; older versions take no more than the second


def keep_freed_memory() -> bool:
    """From now on this process keeps freed blocks of up to a gibibyte for itself; False where the C library cannot.

    For the whole process and the rest of its life. What is set in the environment (``MALLOC_MMAP_THRESHOLD_``) is
    replaced.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, _NEVER)) and any(mallopt(_M_MMAP_THRESHOLD, size) for size in _BLOCK_BYTES)
