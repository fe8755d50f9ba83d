"""The public surface: every public name is documented and typed, and importing it costs nothing until it is used."""

from __future__ import annotations

import inspect
import subprocess
import sys
import typing
from typing import Any

import pytest

import tubelet

FUNCTIONS = [name for name in tubelet.__all__ if name != "__version__"]


def public_methods(value: Any) -> list[Any]:
    if not inspect.isclass(value):
        return [value]
    return [
        member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        for name, member in vars(value).items()
        if not name.startswith("_") and (callable(member) or isinstance(member, property | classmethod))
    ]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_public_is_documented_and_typed(name: str) -> None:
    value = getattr(tubelet, name)
    assert inspect.getdoc(value), name
    for function in public_methods(value):
        assert inspect.getdoc(function), function
        hints = inspect.get_annotations(inspect.unwrap(function))
        named = [p for p in inspect.signature(function).parameters if p not in ("self", "cls")]
        assert {*named, "return"} <= hints.keys(), function


def test_public_names_are_those_that_are_listed() -> None:
    assert sorted(tubelet._HOME) == sorted(FUNCTIONS)
    assert set(FUNCTIONS) <= set(dir(tubelet))
    assert typing.get_type_hints(tubelet.predict)["device"]
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        tubelet.trian  # noqa: B018


def test_importing_tubelet_imports_no_torch() -> None:
    code = "import sys, tubelet; assert 'torch' not in sys.modules; tubelet.train; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
