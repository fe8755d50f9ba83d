"""Random generators that depend on a key alone, so that draws do not depend on workers, order or resuming."""

from __future__ import annotations

import numpy as np


def keyed_generator(seed: int, *key: int) -> np.random.Generator:
    """A generator for one draw or clip, for example with the key (epoch, index)."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=key)))
