"""Released files of V-JEPA 2: encoders with their predictor, and probes, each in a file of its own.

Source: facebookresearch/vjepa2, commit c2963a47: an encoder's file holds the state dicts ``encoder``,
``target_encoder`` (its moving average) and ``predictor``, with ``module.backbone.`` before every name; a probe's file
holds a list of them, ``classifiers``, with ``module.`` before every name. The evaluations read ``target_encoder``, so
the probes belong to it; torch.hub at that commit reads ``encoder``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from tubelet.errors import CheckpointError
from tubelet.types import WhichWeights
from tubelet.weights.mapping.read import read_content
from tubelet.weights.mapping.training_state import Weights

_SUFFIXES = (".pt", ".pth", ".safetensors", ".npz", ".bin")
_PREFIXES = ("module.", "backbone.")
_AVERAGED, _RAW = ("target_encoder", "ema_encoder"), "encoder"  # averages, of which ema_encoder is V-JEPA 2.1's


def read_parts(path: Path, which: WhichWeights | None) -> Weights:
    """Encoder and probe of a file, or of a folder with one of each, under ``encoder.`` and ``classifier.``.

    Args:
        which: "encoder" or "model" take ``encoder``; None and "ema" take ``target_encoder``.

    Raises:
        CheckpointError: a file that cannot be read or holds neither, two of one kind, or a probe alone.
    """
    tensors: dict[str, Tensor] = {}
    left_out: dict[str, str] = {}
    notes: list[str] = []
    for file in _files(path):
        try:
            found, without, said = _parts_of(read_content(file), which)
        except CheckpointError as error:
            raise CheckpointError(str(error) if str(error).startswith(str(file)) else f"{file}: {error}") from None
        if twice := next((name for name in found if name in tensors), None):
            part = twice.partition(".")[0]
            raise CheckpointError(f"{path}: two files hold a part called {part} ({file.name} is the second); leave one")
        tensors, left_out, notes = tensors | found, left_out | without, [*notes, *said]
    if not any(name.startswith("encoder.") for name in tensors):
        raise CheckpointError(
            f"{path}: holds a probe without its encoder; put both files into one folder and give the folder"
        )
    return Weights(tensors=tensors, left_out=left_out, notes=tuple(notes))


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file or folder")
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES)
    if not files:
        raise CheckpointError(f"{path}: expected an encoder's file, and a probe's, ending in {', '.join(_SUFFIXES)}")
    return files


def _parts_of(content: Any, which: WhichWeights | None) -> tuple[dict[str, Tensor], dict[str, str], list[str]]:
    """Tensors under their part's name, what was left out with the reason, and what a user should know."""
    if not isinstance(content, Mapping):
        raise CheckpointError(f"holds a {type(content).__name__}, expected state dicts by name")
    if "classifiers" in content:
        return _state(_only_probe(content["classifiers"]), "classifier"), {}, []
    if any(isinstance(content.get(name), Mapping) for name in (*_AVERAGED, _RAW)):
        return _encoder_of(content, which)
    if which is not None:
        raise CheckpointError(f"holds one state dict, and no averaged one beside a raw one; leave which={which} out")
    tensors = _state(content, "")
    if any(name.startswith("encoder.") for name in tensors):
        return tensors, {}, []
    return _state(tensors, "classifier" if "pooler.query_tokens" in tensors else "encoder"), {}, []


def _encoder_of(
    content: Mapping[str, Any], which: WhichWeights | None
) -> tuple[dict[str, Tensor], dict[str, str], list[str]]:
    averaged = next((name for name in _AVERAGED if isinstance(content.get(name), Mapping)), _AVERAGED[0])
    there = [name for name in (averaged, _RAW) if isinstance(content.get(name), Mapping)]
    taken = _RAW if which in ("model", "encoder") else averaged
    if taken not in there and which is None:
        taken = there[0]
    if taken not in there:
        raise CheckpointError(f"holds no {taken}, which which={which} asks for; it has {', '.join(there)}")
    tensors, left_out, notes = _state(content[taken], "encoder"), dict[str, str](), []
    other = _RAW if taken == averaged else averaged
    if other in there:
        hint = f"which={'encoder' if other == _RAW else 'ema'}"
        kind = "averaged" if taken == averaged else "raw"
        notes.append(f"{kind} weights taken ({taken}), as {_why(taken)}; those of {other} left out: {hint} takes them")
        names = (f"{other}.{name}" for name in content[other])
        left_out = dict.fromkeys(names, f"beside {taken}; {hint} takes them")
    if isinstance(content.get("predictor"), Mapping):
        tensors |= _state(content["predictor"], "predictor")
    return tensors, left_out, notes


def _why(taken: str) -> str:
    return "torch.hub did at first" if taken == _RAW else "the original's evaluations do"


def _only_probe(probes: Any) -> Mapping[str, Any]:
    if not isinstance(probes, Sequence) or len(probes) != 1 or not isinstance(probes[0], Mapping):
        count = len(probes) if isinstance(probes, Sequence) else "no list of"
        raise CheckpointError(
            f"'classifiers' holds {count} probes, of which the released files have one: the others were trained beside "
            "it with other learning rates; save the state dict of the best alone"
        )
    return probes[0]


def _state(content: Mapping[str, Any], part: str) -> dict[str, Tensor]:
    """Tensors with the part's name before theirs, without what training put there."""
    found: dict[str, Tensor] = {}
    for name, tensor in content.items():
        if not isinstance(tensor, Tensor):
            raise CheckpointError(f"no state dict, since {name} is no tensor")
        for prefix in _PREFIXES:
            name = str(name).removeprefix(prefix)
        found[f"{part}.{name}" if part else name] = tensor.detach()
    return found
