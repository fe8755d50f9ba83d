"""Strict mapping of foreign weights onto a model, and back: every source tensor is used or dropped for a stated
reason, every target tensor is filled or left fresh for a stated reason, every shape agrees, or nothing is loaded.

A format is described by rules, each "this target tensor is that operation on these source tensors". Names are
templates: ``{i}`` stands for a number, the same on both sides.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tubelet.errors import CheckpointError

_NAMED = 4  # offenders that an error names; the rest are counted


@dataclass(frozen=True)
class Operation:
    """How source tensors make a target tensor; ``backward`` gives them back, where nothing is lost on the way."""

    name: str  # as the report prints it
    forward: Callable[..., Tensor]  # source tensors -> target tensor
    backward: Callable[[Tensor], Sequence[Tensor]] | None = None  # target tensor -> source tensors


SAME = Operation("as it is", lambda x: x, lambda x: (x,))
TRANSPOSED = Operation("transposed", lambda x: x.T, lambda x: (x.T,))


def stacked(count: int) -> Operation:
    """``count`` tensors of equal shape, one behind the other along the first axis (query, key and value)."""
    return Operation(f"{count} stacked", lambda *xs: torch.cat(xs), lambda x: x.chunk(count))


@dataclass(frozen=True)
class Rule:
    """``target`` is ``operation(*sources)``; names may hold placeholders such as ``{i}``, each a number."""

    target: str
    sources: tuple[str, ...]
    operation: Operation = SAME


@dataclass(frozen=True, kw_only=True)
class Filled:
    """One tensor of the model, the rule that made it and the names that it was made from."""

    target: str
    sources: tuple[str, ...]
    rule: Rule


@dataclass(frozen=True, kw_only=True)
class MappingReport:
    """What became of every tensor: filled from sources, left fresh, or, of the source, dropped (name -> reason)."""

    filled: tuple[Filled, ...]
    fresh: Mapping[str, str] = field(default_factory=dict)
    partly_fresh: tuple[str, ...] = ()  # filled, but for rows that keep the model's own values
    dropped: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # what a user should know: another number format, a resized table

    def rows(self) -> list[dict[str, Any]]:
        """A row per rule, so that twelve equal blocks are one: target, sources, operation, count; then a row per
        reason for what is fresh and what is dropped."""
        counts = Counter(tensor.rule for tensor in self.filled)
        rows: list[dict[str, Any]] = [
            {"target": r.target, "sources": list(r.sources), "operation": r.operation.name, "count": n}
            for r, n in counts.items()
        ]
        for (pattern, reason), n in Counter((_template(name), why) for name, why in self.fresh.items()).items():
            rows.append({"target": pattern, "sources": [], "operation": f"fresh: {reason}", "count": n})
        for (pattern, reason), n in Counter((_template(name), why) for name, why in self.dropped.items()).items():
            rows.append({"target": "", "sources": [pattern], "operation": f"dropped: {reason}", "count": n})
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a checkpoint's provenance."""
        return {"summary": str(self), "notes": list(self.notes), "rows": self.rows()}

    def __str__(self) -> str:
        return f"{len(self.filled)} tensors filled, {len(self.fresh)} fresh, {len(self.dropped)} of the source dropped"


def map_weights(
    source: Mapping[str, Tensor],
    model: nn.Module,
    rules: Sequence[Rule],
    dropped: Mapping[str, str] | None = None,
    fresh: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> tuple[dict[str, Tensor], MappingReport]:
    """The state dict of ``model`` made from ``source``; nothing is loaded yet.

    Floating-point tensors must be of one number format; another than the model's is converted, and the report says
    so.

    Args:
        source: tensors under their original names.
        rules: the first rule whose target matches a name of the model's state dict makes that tensor.
        dropped: regular expression of source names -> reason why they are not needed.
        fresh: regular expression of the model's names -> reason why they keep the value that the model has.
        notes: what the report should also say.

    Raises:
        CheckpointError: a target no rule makes, a source that is missing, left over, not finite, of another number
            format than the rest or of a shape that does not fit; the first few offenders are named.
    """
    state: dict[str, Tensor] = {}
    filled: list[Filled] = []
    kept: dict[str, str] = {}
    problems: list[str] = []
    for name, target in model.state_dict().items():
        reason = _reason(name, fresh)
        if reason is not None:
            kept[name], state[name] = reason, target
            continue
        rule, numbers = _rule_for(name, rules)
        if rule is None:
            problems.append(f"{name} has no source")
            continue
        sources = tuple(s.format(**numbers) for s in rule.sources)
        filled.append(Filled(target=name, sources=sources, rule=rule))
        try:
            state[name] = _made(name, target, rule, {s: source.get(s) for s in sources})
        except CheckpointError as problem:
            problems.append(str(problem))
    taken = {s for tensor in filled for s in tensor.sources}
    reasons = {s: _reason(s, dropped) for s in source if s not in taken}
    problems += [f"{s} {tuple(source[s].shape)} is not used" for s, reason in reasons.items() if reason is None]
    used = {s: source[s] for s in source if s in taken}
    problems += _unsound(used)
    if problems:
        raise CheckpointError(f"weights do not fit {type(model).__name__}: {_first_few(problems)}")
    why_dropped = {s: reason for s, reason in reasons.items() if reason is not None}
    all_notes = [*notes, *_format_notes(used)]
    report = MappingReport(filled=tuple(filled), fresh=kept, dropped=why_dropped, notes=tuple(all_notes))
    return {name: state[name].to(t.dtype).contiguous() for name, t in model.state_dict().items()}, report


def map_back(state: Mapping[str, Tensor], rules: Sequence[Rule]) -> dict[str, Tensor]:
    """The source's tensors under their original names, from a model's state dict.

    Raises:
        CheckpointError: a tensor that no rule makes, or whose operation has no way back.
    """
    source: dict[str, Tensor] = {}
    problems: list[str] = []
    for name, tensor in state.items():
        rule, numbers = _rule_for(name, rules)
        if rule is None or rule.operation.backward is None:
            problems.append(f"{name} has no place there")
            continue
        parts = rule.operation.backward(tensor)
        for template, part in zip(rule.sources, parts, strict=True):
            source[template.format(**numbers)] = part.contiguous()
    if problems:
        raise CheckpointError(f"the format cannot hold this model: {_first_few(problems)}")
    return source


def rename_weights(
    source: Mapping[str, Tensor], rules: Sequence[Rule], dropped: Mapping[str, str] | None = None
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of ``source`` under the rules' targets, and what was dropped with the reason.

    What no rule takes keeps its name, so that whoever maps the result onto a model refuses it by that name.

    Raises:
        CheckpointError: a rule's sources are not all there, or not of the shapes that its operation takes.
    """
    renamed: dict[str, Tensor] = {}
    taken: set[str] = set()
    for rule in rules:
        for name in source:
            match = _pattern(rule.sources[0]).fullmatch(name)
            if match is None:
                continue
            sources = [template.format(**match.groupdict()) for template in rule.sources]
            if absent := [other for other in sources if other not in source]:
                raise CheckpointError(f"{name} comes without {', '.join(absent)}")
            try:
                renamed[rule.target.format(**match.groupdict())] = rule.operation.forward(*map(source.get, sources))
            except (RuntimeError, IndexError):  # what tensors raise when their axes are not those of the operation
                raise CheckpointError(
                    f"{name} has shape {tuple(source[name].shape)}, not {rule.operation.name}"
                ) from None
            taken.update(sources)
    left = {name: _reason(name, dropped) for name in source if name not in taken}
    kept = {name: source[name] for name, reason in left.items() if reason is None}
    return renamed | kept, {name: reason for name, reason in left.items() if reason is not None}


def _made(name: str, target: Tensor, rule: Rule, sources: Mapping[str, Tensor | None]) -> Tensor:
    absent = [s for s, tensor in sources.items() if tensor is None]
    if absent:
        raise CheckpointError(f"{name} needs {', '.join(absent)}, which the source lacks")
    tensors = {s: tensor for s, tensor in sources.items() if tensor is not None}
    try:
        tensor = rule.operation.forward(*tensors.values())
    except (RuntimeError, IndexError):  # what tensors raise when their axes are not those of the operation
        shapes = ", ".join(f"{s} {tuple(t.shape)}" for s, t in tensors.items())
        raise CheckpointError(f"{name} {tuple(target.shape)} cannot be made from {shapes}") from None
    if tensor.shape != target.shape:
        first = next(iter(tensors))
        raise CheckpointError(f"{name} has shape {tuple(target.shape)}, {first} gives {tuple(tensor.shape)}")
    return tensor


def _unsound(used: Mapping[str, Tensor]) -> list[str]:
    """Values that are not finite, and tensors of another floating-point format than most."""
    formats = Counter(t.dtype for t in used.values() if t.is_floating_point())
    usual = formats.most_common(1)[0][0] if formats else None
    problems = [
        f"{s} is {t.dtype} among tensors that are {usual}"
        for s, t in used.items()
        if t.is_floating_point() and t.dtype != usual
    ]
    return problems + [
        f"{s} holds values that are not finite"
        for s, t in used.items()
        if t.is_floating_point() and not t.is_meta and not torch.isfinite(t).all()
    ]


def _format_notes(used: Mapping[str, Tensor]) -> list[str]:
    formats = {t.dtype for t in used.values() if t.is_floating_point()}
    return [f"{old} converted to torch.float32" for old in formats if old != torch.float32]


def _reason(name: str, reasons: Mapping[str, str] | None) -> str | None:
    return next((why for pattern, why in (reasons or {}).items() if re.fullmatch(pattern, name)), None)


def _template(name: str) -> str:
    """``blocks.3.norm.bias`` -> ``blocks.*.norm.bias``, so that equal blocks share a row."""
    return re.sub(r"(?<=[._/])\d+(?=[._/])", "*", name)


def _first_few(problems: Sequence[str]) -> str:
    more = f" (and {len(problems) - _NAMED} more)" if len(problems) > _NAMED else ""
    return "; ".join(problems[:_NAMED]) + more


def _rule_for(name: str, rules: Sequence[Rule]) -> tuple[Rule | None, dict[str, str]]:
    for rule in rules:
        if match := _pattern(rule.target).fullmatch(name):
            return rule, match.groupdict()
    return None, {}


@functools.cache
def _pattern(template: str) -> re.Pattern[str]:
    """``blocks.{i}.bias`` as a regular expression whose group ``i`` is a number."""
    return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>\\d+)", re.escape(template)))
