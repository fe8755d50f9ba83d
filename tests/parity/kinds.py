"""What a parity case is: its family and kind, as its ``config.json`` and files say, whatever its folder is called."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

# A word in the name of the original -> family. The first that fits counts.
_ORIGINALS = {
    **{name: name for name in ("timesformer", "uniformerv2", "videomae", "vjepa2", "videoprism", "vivit")},
    "scenic": "vivit",
    "slowfast": "vtn",
}
# A file that only one kind of case has -> kind.
_FILES = {"image_vit_state_dict.npz": "image_init", "clip_state_dict.npz": "image_init"}
# The original's function or class -> kind.
_FUNCTIONS = {
    "initialise_from_train_state": "init",
    "sample_frames_uniformly": "frame_sampling",
    "compound_lr_scheduler": "lr_schedule",
    "joint_accuracy": "multihead",
    "joint_top_k": "multihead",
}
_CLASSES = {
    **dict.fromkeys(("ViViT", "SpaceTimeViViT", "VTN", "VisionTransformer"), "model"),
    **dict.fromkeys(("VivitForVideoClassification", "TimesformerForVideoClassification"), "hf_model"),
    **dict.fromkeys(("VivitImageProcessor", "VivitVideoProcessor"), "hf_preprocess"),
}


def key_of_case(config: Mapping[str, Any], case: Path) -> str:
    """``family/kind``; a part that nothing tells is ``unknown``."""
    return f"{family_of(config)}/{_kind(config, case)}"


def key_of_manifest(content: Mapping[str, Any]) -> str:
    """``family/manifest``, or ``family/hf_manifest`` where the names are those of a package and not of a repository."""
    return f"{family_of(content)}/{'hf_manifest' if 'package' in _original(content) else 'manifest'}"


def family_of(content: Mapping[str, Any]) -> str:
    """``family``, or the one that the content's original belongs to."""
    if "family" in content:
        return str(content["family"])
    named = " ".join(_original(content).values()).lower()
    return next((family for word, family in _ORIGINALS.items() if word in named), "unknown")


def described(content: Mapping[str, Any], files: Collection[str]) -> str:
    """The fields that were looked at, for a message about content that nothing claims."""
    seen = {name: content[name] for name in ("family", "kind", "functions") if name in content} | _original(content)
    fields = ", ".join(f"{name} {value!r}" for name, value in seen.items())
    return f"{fields or 'no family, kind, function, class, model or source'}; files {', '.join(sorted(files))}"


def _kind(config: Mapping[str, Any], case: Path) -> str:
    original = _original(config)
    by_file = next((kind for name, kind in _FILES.items() if (case / name).is_file()), None)
    functions = [original.get("function", ""), *config.get("functions", ())]
    by_function = next(
        (_FUNCTIONS[f] for f in (name.rpartition(".")[2] for name in functions) if f in _FUNCTIONS), None
    )
    name = original.get("class") or original.get("model")
    by_class = "train_step" if _has_gradients(case) else _CLASSES.get(name or "")
    return str(config.get("kind") or by_file or by_function or by_class or "unknown")


def _has_gradients(case: Path) -> bool:
    if not (case / "output.npz").is_file():
        return False
    with np.load(case / "output.npz", allow_pickle=False) as arrays:
        return any(name.startswith("grad/") for name in arrays.files)


def _original(content: Mapping[str, Any]) -> dict[str, str]:
    """What the content says it was made with: repository or package, function, class and model."""
    source = content.get("source", {})
    stated = {**(source if isinstance(source, Mapping) else {"repository": source}), **content}
    named = ("repo", "repository", "package", "function", "class", "model")
    return {name: stated[name] for name in named if isinstance(stated.get(name), str)}
