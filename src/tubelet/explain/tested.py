"""Which methods find a cause that is known, by the design of a model: the rows of ``tested.csv``.

``benchmarks/explain_truth.py`` measures them and writes the file; ``docs/explain.md`` says how.
"""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from importlib import resources
from typing import cast

from torch import nn

from tubelet.errors import ConfigError
from tubelet.explain.config import Method

FILE = "tested.csv"
REFERENCE: Method = "occlusion"  # of models that were not tested: it needs nothing of a model but its logits


@dataclass(frozen=True, kw_only=True)
class MethodResult:
    """What one method reached on models of one design."""

    model: str  # design: the class, and what else tells models apart
    method: Method
    found: str  # its concentration, with the 95 % interval, in the worst model of this design
    fails: str  # why it is not offered; empty where it is
    default: bool


@functools.cache
def known_results() -> tuple[MethodResult, ...]:
    """All rows."""
    text = resources.files("tubelet.explain").joinpath(FILE).read_text("utf-8")
    return tuple(
        MethodResult(
            model=row["model"],
            method=cast(Method, row["method"]),
            found=row["found"],
            fails=row["fails"],
            default=row["default"] == "yes",
        )
        for row in csv.DictReader(text.splitlines())
    )


def tested_of(model: nn.Module) -> dict[Method, MethodResult]:
    """The rows of a model's design; none where it was not tested."""
    return {row.method: row for row in known_results() if row.model == design_of(model)}


def design_of(model: nn.Module) -> str:
    """The name under which a model is tested: its ``design``, or its class."""
    return str(getattr(model, "design", type(model).__name__))


def choose_method(model: nn.Module, possible: tuple[Method, ...]) -> Method:
    """The method that was asked for, or the model's default among those that are possible.

    Raises:
        ConfigError: the method that was asked for failed on models of this design, or all that are possible did.
    """
    rows = tested_of(model)
    offered = [method for method in possible if method not in rows or not rows[method].fails]
    if not offered:
        others = [method for method, row in rows.items() if not row.fails]
        raise ConfigError(
            f"{possible[0]} is not offered for {design_of(model)}: it failed where the cause is known "
            f"({rows[possible[0]].fails}); use {' or '.join(others) or 'another model'}"
        )
    default = [method for method in offered if method in rows and rows[method].default]
    if default:
        return default[0]
    return REFERENCE if REFERENCE in offered else offered[0]


def known_text(model: nn.Module, method: Method) -> str:
    """What a picture says of the method."""
    row = tested_of(model).get(method)
    name = design_of(model)
    return f"not tested on known causes for {name}" if row is None else f"on known causes, {name}: {row.found}"
