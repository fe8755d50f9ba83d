"""Nested frozen dataclasses <-> plain data (YAML, JSON), strictly: a key is known, present and of its type, or raises.

Every configuration in tubelet is a frozen keyword-only dataclass beside its owner; this file holds the
operations they share, ``from_dict``, ``to_dict``, ``to_identity``, ``override`` (``"optim.lr"``, ``"1e-3"``) and
``describe``, and reads and writes YAML.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import math
import re
import textwrap
import types
import typing
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from tubelet.errors import ConfigError, nearest, reason
from tubelet.types import EARLIER

C = TypeVar("C")

GROUP = "the fields below, or none"  # the type in ``describe`` of a dataclass that may be left out


def from_dict(cls: type[C], data: Any, where: str = "") -> C:
    """An instance of the dataclass ``cls`` from plain data.

    Data that state every field but ``added`` ones were written by ``to_dict``. An ``added`` field that they lack did
    not exist then, and gets its ``earlier`` value. In other data, such as a recipe by hand, what is left out has its
    default.

    Args:
        cls: a dataclass whose field types are scalars, ``Literal``, ``X | None``, tuples, dicts or dataclasses.
        data: a mapping as YAML or JSON gives it; integers are accepted for floats, lists for tuples.
        where: the dotted path printed in messages, for example ``"recipe.optim"``.

    Raises:
        ConfigError: an unknown key (the nearest known one is named), a missing required key, or a value of
            another type.
    """
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where or cls.__name__}: expected keys and values, got {data!r}")
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    prefix = f"{where}." if where else ""
    for key in data:
        if key not in fields:
            raise ConfigError(f"unknown key '{prefix}{key}'{nearest(str(key), fields)}")
    values = {}
    is_written = all(name in data for name, field in fields.items() if EARLIER not in field.metadata)
    for name, field in fields.items():
        if name in data:
            values[name] = _convert(hints[name], data[name], f"{prefix}{name}")
        elif is_written and EARLIER in field.metadata:
            values[name] = field.metadata[EARLIER]
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"missing key '{prefix}{name}' ({type_name(hints[name])}) in {where or cls.__name__}")
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}" if where and not str(error).startswith(where) else str(error)) from None


def to_dict(config: Any) -> Any:
    """Plain data (dicts, lists, scalars) that ``from_dict`` turns back into an equal instance."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: to_dict(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {str(k): to_dict(v) for k, v in config.items()}
    if isinstance(config, list | tuple):
        return [to_dict(v) for v in config]
    if isinstance(config, Path):
        return str(config)
    return config


def earlier_values(config: Any) -> dict[str, Any]:
    """The ``added`` fields of a dataclass instance that differ from the default because an earlier version wrote it."""
    return {
        f.name: getattr(config, f.name)
        for f in dataclasses.fields(config)
        if EARLIER in f.metadata and getattr(config, f.name) == f.metadata[EARLIER] != f.default
    }


def to_identity(config: Any) -> Any:
    """Return ``to_dict(config)`` without the ``added`` fields that are as in versions before: what keys are made of."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        values = {f: getattr(config, f.name) for f in dataclasses.fields(config)}
        return {
            f.name: to_identity(value)
            for f, value in values.items()
            if EARLIER not in f.metadata or value != f.metadata[EARLIER]
        }
    if isinstance(config, Mapping):
        return {str(k): to_identity(v) for k, v in config.items()}
    if isinstance(config, list | tuple):
        return [to_identity(v) for v in config]
    return to_dict(config)


def load_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, read with the safe loader.

    Raises:
        ConfigError: the file is missing, is not YAML, repeats a key, or is not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a YAML text ({reason(error)}); expected a recipe file") from None
    try:
        data = yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        where = f" (line {mark.line + 1})" if mark else ""
        raise ConfigError(f"{path}: not valid YAML: {problem}{where}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected keys and values, got {type(data).__name__}; see recipes/ for examples")
    return data


def dump_yaml(data: Mapping[str, Any]) -> str:
    """Plain data as YAML that ``load_yaml`` reads back to the same."""
    return yaml.dump(data, Dumper=_StrictDumper, sort_keys=False, allow_unicode=True, width=110)


def dotted(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of nested plain data with their dotted keys, groups by their fields."""
    for key, value in fields.items():
        if isinstance(value, Mapping):
            yield from dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def override(data: Mapping[str, Any], key: str, text: str) -> dict[str, Any]:
    """A copy of nested plain ``data`` with the dotted ``key`` set to ``text`` parsed as a YAML value.

    The result is checked when ``from_dict`` reads it, so that a wrong name or type gives the same message on
    the command line as in a file.
    """
    head, _, rest = key.partition(".")
    copy = dict(data)
    if not rest:
        copy[head] = parse_value(text)
        return copy
    inner = copy.get(head)
    if inner is None:
        inner = {}
    if not isinstance(inner, Mapping):
        raise ConfigError(f"'{head}' is a value, not a group: cannot set '{key}'")
    copy[head] = override(inner, rest, text)
    return copy


def parse_value(text: str) -> Any:
    """A command-line text as YAML reads it, with three helps: ``1e-3`` is a number, ``2,16,16`` is a list, and a sign
    alone, such as ``|`` or ``#``, is itself."""
    try:
        return to_dict(ast.literal_eval(text))
    except (ValueError, SyntaxError):
        pass
    if re.fullmatch(r"[^\w\s\[\]{}~]+", text):
        return text
    try:
        value = yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError:
        return text
    if isinstance(value, str) and "," in value and not value.startswith("["):
        return [parse_value(part) for part in value.split(",")]
    return value


def describe(cls: type, where: str = "") -> list[tuple[str, str, str, str]]:
    """Rows (dotted key, type, default, comment) of a dataclass and the dataclasses in it, for ``--help``.

    The comment is the one that stands behind the field in the source. A dataclass that may be left out has a row of its
    own before those of its fields, whose defaults hold once one of them is set.
    """
    hints = typing.get_type_hints(cls)
    comments, rows = _comments(cls), list[tuple[str, str, str, str]]()
    for field in dataclasses.fields(cls):
        hint, key = hints[field.name], f"{where}{field.name}"
        inner = next((h for h in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(h)), None)
        if inner is not None:
            if inner is not hint:
                rows.append((key, GROUP, "none", comments.get(field.name, "")))
            rows += describe(typing.cast(type, inner), f"{key}.")
            continue
        if field.default is not dataclasses.MISSING:
            default = "none" if field.default is None else str(to_dict(field.default))
        elif field.default_factory is not dataclasses.MISSING:
            default = str(to_dict(field.default_factory()))
        else:
            default = "required"
        rows.append((key, type_name(hint), default, comments.get(field.name, "")))
    return rows


def type_name(hint: Any) -> str:
    """A type as a user reads it: ``int``, ``token | avg``, ``float or none``, ``int, int, int``."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " | ".join(map(str, args))
    if origin in (typing.Union, types.UnionType):
        return " or ".join("none" if a is type(None) else type_name(a) for a in args)
    if origin is tuple:
        return f"{type_name(args[0])}, ..." if args[-1] is Ellipsis else ", ".join(map(type_name, args))
    if origin in (dict, Mapping):
        return f"{type_name(args[0])}: {type_name(args[1])}"
    return {str: "text", bool: "true | false", Any: "value"}.get(hint, getattr(hint, "__name__", str(hint)))


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return value if isinstance(value, hint) else from_dict(hint, value, where)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(args, value, where, hint)
    if origin is typing.Literal:
        if value in args and type(value) is type(args[args.index(value)]):
            return value
        raise ConfigError(f"'{where}' must be one of {', '.join(map(str, args))}, got {value!r}")
    if origin is tuple and isinstance(value, list | tuple):
        if args[-1] is Ellipsis:
            return tuple(_convert(args[0], v, f"{where}[{i}]") for i, v in enumerate(value))
        if len(value) == len(args):
            return tuple(_convert(a, v, f"{where}[{i}]") for i, (a, v) in enumerate(zip(args, value, strict=True)))
    if origin in (dict, Mapping) and isinstance(value, Mapping):
        return {_convert(args[0], k, where): _convert(args[1], v, f"{where}.{k}") for k, v in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"'{where}' must be a finite number, got {value}")
    if hint in (int, float, str, bool, Path) and type(value) is hint:
        return value
    raise ConfigError(f"'{where}' must be {type_name(hint)}, got {value!r}")


def _convert_union(args: tuple[Any, ...], value: Any, where: str, hint: Any) -> Any:
    if value is None and type(None) in args:
        return None
    options = [a for a in args if a is not type(None)]
    if value == "none" and type(None) in args and str not in options:
        return None  # as messages and --help call it; YAML's own word is null
    if len(options) == 1:
        return _convert(options[0], value, where)
    for option in options:
        try:
            return _convert(option, value, where)
        except ConfigError:
            continue
    raise ConfigError(f"'{where}' must be {type_name(hint)}, got {value!r}")


def _comments(cls: type) -> dict[str, str]:
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        lines = textwrap.dedent(inspect.getsource(base)).splitlines()
        for node in ast.parse("\n".join(lines)).body[0].body:  # type: ignore[attr-defined]
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                _, _, comment = lines[(node.end_lineno or node.lineno) - 1][node.end_col_offset or 0 :].partition("#")
                found[node.target.id] = comment.strip()
    return found


class _StrictLoader(yaml.SafeLoader):
    """The safe loader, refusing a key that stands twice (YAML would silently keep the last)."""


class _StrictDumper(yaml.SafeDumper):
    """The safe dumper for what ``_StrictLoader`` reads."""


def _quoted_where_needed(dumper: _StrictDumper, text: str) -> yaml.ScalarNode:
    # Unquoted, PyYAML writes the sign "next line" as a line break, which is read back as a space.
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if "\x85" in text else None)


_StrictDumper.add_representer(str, _quoted_where_needed)


def _mapping_without_repeats(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):
            raise yaml.constructor.ConstructorError(None, None, f"{key} cannot be a key", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key '{key}' stands twice", key_node.start_mark)
        seen.add(key)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_StrictLoader.add_constructor("tag:yaml.org,2002:map", _mapping_without_repeats)
# YAML 1.1 reads 1e-3 as a text; people mean a number. The dumper must know, to put the text '1e-3' in quotes.
for _yaml in (_StrictLoader, _StrictDumper):
    _yaml.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
    )
