"""Work that several calls share: every item is in one part, and a result is whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tubelet.errors import ConfigError
from tubelet.session.shards import Parts, Shard, part_names


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_parts_hold_every_item_once(count: int) -> None:
    items = list(range(11))
    shards = [Shard.parse(f"{index}/{count}") for index in range(1, count + 1)]
    assert sorted(item for shard in shards for item in shard.of(items)) == items
    assert max(len(shard.of(items)) for shard in shards) - min(len(shard.of(items)) for shard in shards) <= 1
    assert Shard.parse(None).of(items) == items


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "1/0", "-1/2", "1/2/3"])
def test_a_part_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--shard must be PART/PARTS, such as 2/8"):
        Shard.parse(text)


def test_a_result_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    parts = Parts(tmp_path)

    def fail() -> None:
        with parts.writing("a") as folder:
            (folder / "half").write_text("x")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fail()
    assert list(tmp_path.iterdir()) == []
    with parts.writing("a") as folder:
        (folder / "whole").write_text("x")
        assert not parts.is_done("a")
    assert parts.missing(["a", "b"]) == ["b"]
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "whole"]


def test_the_first_of_two_writers_keeps_its_result(tmp_path: Path) -> None:
    parts = Parts(tmp_path)
    with parts.writing("a") as slow:
        (slow / "who").write_text("slow")
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "who").write_text("fast")
    assert (tmp_path / "a" / "who").read_text() == "fast"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    parts.remove("a")
    assert not list(tmp_path.iterdir())


def test_names_of_results_are_distinct_and_plain() -> None:
    paths = [Path("x/day 1.mp4"), Path("y/Day 1.mkv"), Path("z/.hidden"), Path("a/ü.mp4")]
    names = part_names(paths)
    assert names == ["day_1", "Day_1-2", "hidden", "ü"]
