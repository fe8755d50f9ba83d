"""Which function checks which parity case, and the cases whose model or function does not exist yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from parity import vivit, vtn

# Families and cases still to be built; whoever builds one removes its row.
PENDING = [
    "timesformer/*",
    "uniformerv2/*",
    "vivit/hf_*",
    "vivit/init_*",
    "vivit/manifest_hf_*",
    "vivit/multihead_metrics*",
]

Check = Callable[[Path, dict[str, Any]], None]  # case folder, its config.json

# Which function checks a case: the first whose pattern fits its name.
CHECKS: list[tuple[str, Check]] = [
    ("vivit/model*", vivit.check_vivit_model),
    ("vivit/frame_sampling", vivit.check_frame_sampling),
    ("vivit/lr_schedule", vivit.check_lr_schedule),
    ("vtn/*", vtn.check_vtn),
]

# Which function checks a manifest of a real-size checkpoint, given its content.
MANIFEST_CHECKS: list[tuple[str, Callable[[Mapping[str, Any]], None]]] = [
    ("vivit/manifest_scenic_*", vivit.check_scenic_manifest),
    ("vtn/manifest_*", vtn.check_vtn_manifest),
]
