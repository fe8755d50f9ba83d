"""Configuration: strict, with messages that name the key, its nearest neighbor and its type."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from tubelet.config import (
    describe,
    earlier_values,
    from_dict,
    load_yaml,
    override,
    parse_value,
    to_dict,
    to_identity,
    type_name,
)
from tubelet.data.clips.augment_config import AugmentConfig
from tubelet.errors import ConfigError
from tubelet.types import added


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float = 0.1  # per second
    limit: float | None = 1.0  # none: no limit
    size: tuple[int, int] = (2, 3)  # height and width

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ConfigError(f"rate must not be negative, got {self.rate}")


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str  # what it is called
    kind: Literal["a", "b", 3] = "a"
    inner: Inner = field(default_factory=Inner)
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)  # of each head
    root: Path | None = None
    switch: bool = False
    fields: dict[str, Any] = field(default_factory=dict)


FULL = Outer(
    name="x",
    kind="b",
    inner=Inner(rate=2.0, limit=None, size=(5, 7)),
    names={"label": ("left", "right")},
    root=Path("some/where"),
    switch=True,
    fields={"depth": 2, "size": [1, 2], "deep": {"x": None}},
)


def test_plain_data_and_instances_are_two_forms_of_one_thing() -> None:
    assert from_dict(Outer, to_dict(FULL)) == FULL
    assert from_dict(Outer, to_dict(Outer(name="x"))) == Outer(name="x")


def test_a_whole_number_is_accepted_where_a_float_is_meant() -> None:
    value = from_dict(Inner, {"rate": 3}).rate
    assert (value, type(value)) == (3.0, float)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"nme": "x"}, "unknown key 'nme'; did you mean 'name'?"),
        ({"name": "x", "inner": {"rat": 1}}, "unknown key 'inner.rat'; did you mean 'rate'?"),
        ({"name": "x", "zzz": 1}, "unknown key 'zzz'; known: fields, inner, kind, name, names, root, switch"),
        ({}, "missing key 'name' (text) in Outer"),
        ({"name": 3}, "'name' must be text, got 3"),
        ({"name": "x", "kind": "c"}, "'kind' must be one of a, b, 3, got 'c'"),
        ({"name": "x", "kind": 3.0}, "'kind' must be one of a, b, 3, got 3.0"),
        ({"name": "x", "switch": 1}, "'switch' must be true | false, got 1"),
        ({"name": "x", "inner": 5}, "inner: expected keys and values, got 5"),
        ({"name": "x", "inner": {"rate": True}}, "'inner.rate' must be float, got True"),
        ({"name": "x", "inner": {"rate": "fast"}}, "'inner.rate' must be float, got 'fast'"),
        ({"name": "x", "inner": {"rate": float("nan")}}, "'inner.rate' must be a finite number, got nan"),
        ({"name": "x", "inner": {"limit": "much"}}, "'inner.limit' must be float, got 'much'"),
        ({"name": "x", "inner": {"size": [1]}}, "'inner.size' must be int, int, got [1]"),
        ({"name": "x", "inner": {"size": [1, 2.5]}}, "'inner.size[1]' must be int, got 2.5"),
        ({"name": "x", "names": {"label": "left"}}, "'names.label' must be text, ..., got 'left'"),
        ({"name": "x", "names": {"label": ["left", 1]}}, "'names.label[1]' must be text, got 1"),
        ({"name": "x", "inner": {"rate": -1.0}}, "inner: rate must not be negative, got -1.0"),
    ],
)
def test_what_does_not_fit_is_named_with_its_dotted_path(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        from_dict(Outer, data)
    assert str(refused.value) == message


def test_the_caller_s_place_stands_before_the_key() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'tubelet\.json\.rte'; did you mean 'rate'\?"):
        from_dict(Inner, {"rte": 1}, where="tubelet.json")


@pytest.mark.parametrize("value", [None, "none"])
def test_none_has_the_name_that_messages_give_it(value: str | None) -> None:
    assert from_dict(Inner, {"limit": value}).limit is None


def yaml_file(folder: Path, text: str) -> Path:
    file = folder / "x.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_scientific_notation_is_a_number_in_yaml(tmp_path: Path) -> None:
    data = load_yaml(yaml_file(tmp_path, "a: 1e-3\nb: -2E5\nc: 3.5e+2\nd: [1e-1]\ne: e3\nf: 1e\n"))
    assert data == {"a": 0.001, "b": -200000.0, "c": 350.0, "d": [0.1], "e": "e3", "f": "1e"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "key 'a' stands twice"),
        ("o:\n  a: 1\n  a: 1\n", "key 'a' stands twice"),
        ("{a}: 1\n", "cannot be a key"),
        ("a: [1\n", "not valid YAML"),
        ("- 1\n", "expected keys and values, got list"),
        ("", "expected keys and values, got NoneType"),
        ("a: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
    ],
)
def test_a_yaml_file_that_cannot_be_used_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = yaml_file(tmp_path, text)
    with pytest.raises(ConfigError) as refused:
        load_yaml(file)
    assert message in str(refused.value)
    assert str(refused.value).startswith(str(file))
    assert "\n" not in str(refused.value)


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_yaml(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read as a YAML text"):
        load_yaml(tmp_path / "binary.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("12", 12),
        ("true", True),
        ("null", None),
        ("2,16,16", [2, 16, 16]),
        ("1e-1,0.2", [0.1, 0.2]),
        ("(2, 3)", [2, 3]),
        ("left,right", ["left", "right"]),
        ("my_clips", "my_clips"),
        ("'12'", "12"),
        ("{name: x, rate: 1e-3}", {"name": "x", "rate": 0.001}),
        ("[a", "[a"),
        ("|", "|"),
        (",", ","),
        ("#", "#"),
        ("", None),
    ],
)
def test_a_command_line_text_is_read_as_people_mean_it(text: str, value: Any) -> None:
    parsed = parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_an_override_reaches_into_groups_and_leaves_the_rest() -> None:
    data = {"name": "x", "inner": {"rate": 1.0, "limit": 2.0}}
    changed = override(override(data, "inner.rate", "1e-3"), "root", "here")
    assert from_dict(Outer, changed) == Outer(name="x", inner=Inner(rate=0.001, limit=2.0), root=Path("here"))
    assert data == {"name": "x", "inner": {"rate": 1.0, "limit": 2.0}}


def test_an_override_makes_a_group_that_the_file_leaves_out() -> None:
    assert from_dict(Outer, override({"name": "x"}, "inner.size", "8,9")).inner == Inner(size=(8, 9))
    assert from_dict(Outer, override({"name": "x", "inner": None}, "inner.limit", "none")).inner == Inner(limit=None)


def test_an_overridden_value_equals_the_one_read_back_from_a_file() -> None:
    """Else a run made with --model.size 2,16,16 would not be recognized when it is resumed."""
    made = from_dict(Outer, override({"name": "x"}, "fields.size", "2,16,16"))
    assert from_dict(Outer, to_dict(made)) == made


def test_a_value_is_not_overridden_as_if_it_were_a_group() -> None:
    with pytest.raises(ConfigError, match=r"'name' is a value, not a group: cannot set 'name\.first'"):
        override({"name": "x"}, "name.first", "y")


def test_describe_gives_every_field_with_its_comment_as_help() -> None:
    rows = {key: rest for key, *rest in describe(Outer)}
    assert rows["name"] == ["text", "required", "what it is called"]
    assert rows["kind"] == ["a | b | 3", "a", ""]
    assert rows["inner.rate"] == ["float", "0.1", "per second"]
    assert rows["inner.limit"] == ["float or none", "1.0", "none: no limit"]
    assert rows["inner.size"] == ["int, int", "[2, 3]", "height and width"]
    assert rows["names"] == ["text: text, ...", "{}", "of each head"]
    assert set(rows) == {
        *(f.name for f in dataclasses.fields(Outer) if f.name != "inner"),
        *(f"inner.{f.name}" for f in dataclasses.fields(Inner)),
    }


def test_describe_says_which_groups_are_off() -> None:
    rows = {key: rest for key, *rest in describe(AugmentConfig)}
    assert rows["erasing"] == ["the fields below, or none", "none", "random erasing of one box of the frame"]
    assert rows["erasing.probability"][1] == "0.25"
    assert "mix" not in rows


def test_types_are_named_as_users_say_them() -> None:
    assert [type_name(hint) for hint in (bool, str, float | None, tuple[int, ...], Any)] == [
        "true | false",
        "text",
        "float or none",
        "int, ...",
        "value",
    ]


@dataclass(frozen=True, kw_only=True)
class Grown:
    """One that has a field that versions before did not have."""

    old: int = 1
    new: int = added(2)


@dataclass(frozen=True, kw_only=True)
class HoldsGrown:
    inner: tuple[Grown, ...] = (Grown(),)


def test_an_added_field_counts_for_identity_only_where_it_differs_from_its_default() -> None:
    assert to_identity(HoldsGrown()) == {"inner": [{"old": 1}]}
    assert to_identity(HoldsGrown(inner=(Grown(new=3),))) == {"inner": [{"old": 1, "new": 3}]}
    assert to_dict(Grown()) == {"old": 1, "new": 2}
    assert from_dict(Grown, {"old": 1}) == Grown()


@dataclass(frozen=True, kw_only=True)
class Changed:
    """One whose added field stands for what versions before did in another way."""

    old: int = 1
    also_old: int = 2
    rule: str = added("new", earlier="as before")


def test_what_an_earlier_version_wrote_keeps_its_rule_and_what_a_person_writes_gets_the_new_one() -> None:
    written = {"old": 1, "also_old": 2}
    assert from_dict(Changed, written) == Changed(rule="as before")
    assert from_dict(Changed, {"old": 5}) == from_dict(Changed, {}).__class__(old=5)
    assert from_dict(Changed, {"old": 5}).rule == "new"
    assert from_dict(Changed, {**written, "rule": "new"}).rule == "new"
    for config in (Changed(), Changed(rule="as before")):
        assert from_dict(Changed, to_dict(config)) == config
    assert to_identity(Changed(rule="as before")) == written
    assert to_identity(Changed()) == {**written, "rule": "new"}
    assert earlier_values(Changed(rule="as before")) == {"rule": "as before"}
    assert earlier_values(Changed()) == earlier_values(Changed(rule="else")) == {}
