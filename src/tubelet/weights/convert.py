"""Strict mapping of foreign weights onto a model: every source tensor is used or dropped for a stated reason,
every target tensor is filled, every shape agrees, or nothing is loaded.

A source is described by rules, each "this target tensor is that operation on these source tensors". Names are
templates in which ``{i}`` stands for a block number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from tubelet.errors import CheckpointError

Operation = Callable[..., Tensor]  # source tensors -> target tensor


@dataclass(frozen=True)
class Rule:
    """``target`` is ``operation(*sources)``; names may hold ``{i}``, the same number on both sides."""

    target: str
    sources: tuple[str, ...]
    operation: Operation


@dataclass(frozen=True, kw_only=True)
class MappingReport:
    """What became of every tensor: ``used`` maps each target name to its sources, ``dropped`` a source to a reason."""

    used: Mapping[str, tuple[str, ...]]
    dropped: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{len(self.used)} tensors filled, {len(self.dropped)} source tensors dropped"


def map_weights(
    source: Mapping[str, Tensor],
    model: nn.Module,
    rules: Sequence[Rule],
    dropped: Mapping[str, str] | None = None,
) -> tuple[dict[str, Tensor], MappingReport]:
    """The state dict of ``model`` made from ``source``; nothing is loaded yet.

    Args:
        source: tensors under their original names.
        rules: the first rule whose target matches a name of the model's state dict makes that tensor.
        dropped: regular expression of source names -> reason why they are not needed.

    Raises:
        CheckpointError: a target no rule makes, a source that is missing, left over, or of a shape that does
            not fit; the first few offenders are named.
    """
    state: dict[str, Tensor] = {}
    used: dict[str, tuple[str, ...]] = {}
    problems: list[str] = []
    for name, target in model.state_dict().items():
        rule, number = _rule_for(name, rules)
        sources = tuple(s.format(i=number) for s in rule.sources) if rule else ()
        absent = [s for s in sources if s not in source]
        used[name] = sources
        if rule is None:
            problems.append(f"{name} has no source")
        elif absent:
            problems.append(f"{name} needs {', '.join(absent)}, which the source lacks")
        else:
            try:
                tensor = rule.operation(*(source[s] for s in sources))
            except (RuntimeError, IndexError):  # what tensors raise when their axes are not those of the operation
                shapes = ", ".join(f"{s} {tuple(source[s].shape)}" for s in sources)
                problems.append(f"{name} {tuple(target.shape)} cannot be made from {shapes}")
                continue
            if tensor.shape != target.shape:
                problems.append(f"{name} has shape {tuple(target.shape)}, {sources[0]} gives {tuple(tensor.shape)}")
            state[name] = tensor.contiguous()
    taken = {s for names in used.values() for s in names}
    left = [s for s in source if s not in taken]
    reasons = {s: reason for s in left for pattern, reason in (dropped or {}).items() if re.fullmatch(pattern, s)}
    problems += [f"{s} {tuple(source[s].shape)} is not used" for s in left if s not in reasons]
    if problems:
        more = f" (and {len(problems) - 4} more)" if len(problems) > 4 else ""
        raise CheckpointError(f"weights do not fit {type(model).__name__}: {'; '.join(problems[:4])}{more}")
    return state, MappingReport(used=used, dropped=reasons)


def _rule_for(name: str, rules: Sequence[Rule]) -> tuple[Rule | None, str]:
    for rule in rules:
        pattern = re.escape(rule.target).replace(r"\{i\}", r"(?P<i>\d+)")
        match = re.fullmatch(pattern, name)
        if match:
            return rule, match.groupdict().get("i", "")
    return None, ""
