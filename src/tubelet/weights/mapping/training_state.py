"""The weights in what training code saves: without the object around them, and averaged or raw where both are there.

Averaged weights (an exponential moving average, EMA) stand beside raw ones under many names: ``state_dict_ema`` (timm),
``model_ema`` (DeiT, ConvNeXt, torchvision's references), ``ema_state``, ``ema``, ``module_ema``, or as a prefix in one
state dict. mmcv (``ema_backbone_...`` among the weights), mmengine and Lightning exchange the two before they save, so
that the state dict holds the averages and the other entry the raw weights (``mmcv/runner/hooks/ema.py``,
``mmengine/hooks/ema_hook.py``, ``lightning/pytorch/callbacks/weight_averaging.py``).

These trainers evaluate the averages, as timm's loaders do, so they are what is taken unless a caller asks otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from tubelet.errors import CheckpointError
from tubelet.types import WhichWeights

# Where training code puts the state dict inside the object that it pickles; torchvision and timm pickle it alone.
_WRAPPERS = ("state_dict", "model_state", "model_state_dict", "model", "module")
# What DistributedDataParallel and torch.compile put before every name.
_PREFIXES = ("module.", "_orig_mod.")
# Where training states of flax keep the parameters: scenic of 2021, big_vision and vision_transformer, scenic today.
_PARAMETERS = ("optimizer/target/params/", "optimizer/target/", "opt/target/", "params/params/", "params/")
# An entry that holds averages, and the same as the first part of names: model_ema.blocks.0.norm1.weight.
_AVERAGED = re.compile(r"(?:\w+_)?(?:ema|swa|averaged)(?:_\w+)?", re.IGNORECASE)
_FIRST_PART = re.compile(rf"({_AVERAGED.pattern})[./]", re.IGNORECASE)
_IN_AVERAGED = (*_WRAPPERS, "shadow", "params")  # where such an entry keeps them, if not at once
_COUNTERS = frozenset({"n_averaged", "num_updates", "updates", "decay", "step", "steps"})  # of averages, no weights
_MMCV = "ema_"  # before the name of a weight whose dots are underscores
# An entry that holds raw weights beside averages in the state dict -> another entry that its trainer always writes.
_EXCHANGED = {"ema_state_dict": "message_hub", "current_model_state": "averaging_state"}


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The tensors of a file under the names that they have there, and what of it was not taken."""

    tensors: dict[str, Tensor]
    left_out: Mapping[str, str] = field(default_factory=dict)  # names of further weights -> why they were not taken
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Found:
    """Raw and averaged weights, one of which may be missing, and the entries of the file that hold them."""

    raw: dict[str, Tensor]
    averaged: dict[str, Tensor]
    raw_at: str = ""
    averaged_at: str = ""


def weights_in(content: Any, which: WhichWeights | None) -> Weights:
    """The weights in what a file holds: names and tensors, or an object around them that training code saved.

    Args:
        which: averaged or raw ones. None means averaged ones where there are any.

    Raises:
        CheckpointError: no names and tensors, or not the weights that ``which`` asks for.
    """
    if which == "encoder":
        raise CheckpointError(
            "which=encoder is for files that hold an encoder beside its average (target_encoder); ema and model are "
            "the choices here"
        )
    path: list[str] = []
    beside: dict[str, Tensor] = {}
    beside_at, exchanged, others = "", False, []
    while isinstance(content, Mapping):
        key = next((k for k in _WRAPPERS if isinstance(content.get(k), Mapping)), None)
        entry = None if beside else _entry_beside(content)
        if key is None and entry is None:
            break
        if entry is not None:
            beside, beside_at = _state_dict(_inner(content[entry]), _COUNTERS), ".".join([*path, entry])
            exchanged = _EXCHANGED.get(entry) in content
        others += [str(k) for k in content if k not in (key, entry)]
        path += [] if key is None else [key]
        content = {} if key is None else content[key]
    found = _within(_state_dict(content), ".".join(path))
    if beside:
        found = _Found(raw=found.raw, averaged=beside, raw_at=found.raw_at, averaged_at=beside_at)
    return _chosen(_exchange(found) if exchanged else found, which, others)


def _entry_beside(content: Mapping[Any, Any]) -> str | None:
    """The key of averaged weights beside raw ones, or of raw ones beside averaged."""
    for key, value in content.items():
        named = isinstance(key, str) and (_AVERAGED.fullmatch(key) or _EXCHANGED.get(key) in content)
        if named and isinstance(value, Mapping) and any(isinstance(t, Tensor) for t in _inner(value).values()):
            return str(key)
    return None


def _inner(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state dict of an averaging object, which may keep it beside its own state."""
    key = next((k for k in _IN_AVERAGED if isinstance(entry.get(k), Mapping)), None)
    return entry if key is None else _inner(entry[key])


def _state_dict(content: Any, without: frozenset[str] = frozenset()) -> dict[str, Tensor]:
    """Names and tensors, without the prefixes that every name has.

    Raises:
        CheckpointError: it holds something else.
    """
    if not isinstance(content, Mapping):
        raise CheckpointError(f"holds a {type(content).__name__}, expected a state dict (names and tensors)")
    entries = {str(name): value for name, value in content.items() if name not in without}
    other = [name for name, value in entries.items() if not isinstance(value, Tensor)]
    if other:
        known = ", ".join(_WRAPPERS)
        raise CheckpointError(
            f"no state dict, since {other[0]} is no tensor ({len(other)} of {len(entries)} entries); "
            f"expected names and tensors, alone or under one of {known}"
        )
    tensors = {name: value.detach() for name, value in entries.items()}
    while prefix := next((p for p in _PREFIXES if tensors and all(n.startswith(p) for n in tensors)), None):
        tensors = _below(prefix, tensors)
    return tensors


def _within(tensors: dict[str, Tensor], at: str) -> _Found:
    """The averaged weights that stand in a state dict itself; of a flax training state, the parameters alone."""
    flattened = {name.replace(".", "_") for name in tensors}
    flat = {name: tensor for name, tensor in tensors.items() if name.startswith(_MMCV) and not re.search(r"[./]", name)}
    of_mmcv = {name: tensor for name, tensor in flat.items() if name.removeprefix(_MMCV) in flattened}
    if of_mmcv:
        rest = {name: tensor for name, tensor in tensors.items() if name not in of_mmcv}
        return _exchange(_Found(raw=rest, averaged=_below(_MMCV, of_mmcv), raw_at=at, averaged_at=f"{_MMCV}*"))
    first = next((match for name in tensors if (match := _FIRST_PART.match(name))), None)
    averaged = {} if first is None else _state_dict(_below(first[0], tensors), _COUNTERS)
    rest = {name: tensor for name, tensor in tensors.items() if first is None or not name.startswith(first[0])}
    prefix = next((p for p in _PARAMETERS if any(name.startswith(p) for name in rest)), "")
    return _Found(raw=_below(prefix, rest), averaged=averaged, raw_at=at, averaged_at="" if first is None else first[1])


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _exchange(found: _Found) -> _Found:
    """The same where the entry called ema holds the raw weights."""
    raw = _overlaid(found.raw, found.averaged)
    return _Found(raw=raw, averaged=found.raw, raw_at=found.averaged_at, averaged_at=found.raw_at)


def _overlaid(base: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``base`` with ``others`` in the places that their names say; what they lack, such as buffers, keeps its value.

    A name of ``others`` may lack ``model.`` in front, and may have "_" or nothing for every dot.

    Raises:
        CheckpointError: a tensor of ``others`` that has no place in ``base``, or another shape.
    """
    places: dict[str, str] = {}
    for name in base:
        for form in (name, name.removeprefix("model.")):
            for spelled in (form, form.replace(".", "_"), form.replace(".", "")):
                places.setdefault(spelled, name)
    result = dict(base)
    for name, tensor in others.items():
        place = places.get(name)
        if place is None or base[place].shape != tensor.shape:
            why = "are not there" if place is None else f"have shape {tuple(base[place].shape)}"
            raise CheckpointError(
                f"averaged and raw weights disagree: {name} {tuple(tensor.shape)} stands in one, and in the other "
                f"they {why}"
            )
        result[place] = tensor
    return result


def _chosen(found: _Found, which: WhichWeights | None, others: Sequence[str]) -> Weights:
    """The weights asked for, and the others as left out."""
    notes = [f"other entries of the file, left out: {', '.join(others)}"] if others else []
    if not found.averaged:
        if which == "ema":
            raise CheckpointError("holds no averaged weights, and which=ema asks for them; leave it out")
        return Weights(tensors=found.raw, notes=tuple(notes))
    if not found.raw:
        if which == "model":
            raise CheckpointError(
                f"holds averaged weights alone ({found.averaged_at}) and not the raw ones that which=model asks for"
            )
        return Weights(tensors=found.averaged, notes=(f"averaged weights ({found.averaged_at}), no others", *notes))
    averaged = _overlaid(found.raw, found.averaged)
    changed = [name for name, tensor in averaged.items() if tensor is not found.raw[name]]
    taken, kind, at, other, other_at = averaged, "averaged", found.averaged_at, "raw", found.raw_at
    if which == "model":
        taken, kind, at, other, other_at = found.raw, other, other_at, kind, at
    hint = f"which={'ema' if which == 'model' else 'model'} takes them"
    at, where = at or "the state dict", other_at or "the state dict"
    note = f"{kind} weights taken ({at}); {len(changed)} {other} ones left out ({where}): {hint}"
    names = (f"{other_at}.{name}" if other_at else name for name in changed)
    left_out = dict.fromkeys(names, f"{other} weights beside {kind} ones; {hint}")
    return Weights(tensors=taken, left_out=left_out, notes=(note, *notes))
