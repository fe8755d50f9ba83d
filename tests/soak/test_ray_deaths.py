"""Ray actors that die are started again, and their blocks are not lost: `make soak`.

python -m pytest -m soak tests/soak/test_ray_deaths.py
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tubelet.session.ray_actors import MOST_DEATHS, run_on_actors
from tubelet.session.shards import Block, blocks

pytestmark = pytest.mark.soak


def test_a_block_survives_the_death_of_its_actor_and_one_that_kills_every_actor_is_given_up(tmp_path: Path) -> None:
    class Worker:
        """Dies at block 2 the first time, and at block 4 always."""

        def run(self, block: Block) -> int:
            with (tmp_path / f"{block.name}.tries").open("a") as tries:
                tries.write("x")
            is_first = len((tmp_path / f"{block.name}.tries").read_text()) == 1
            if block.items.start == 4 or (block.items.start == 2 and is_first):
                os._exit(9)
            (tmp_path / block.name).write_text("done")
            return int(block.items.start == 1)

    given_up, told = list[str](), list[tuple[int, int]]()

    def give_up(block: Block) -> int:
        given_up.append(block.name)
        return 1

    def tell(done: int, total: int) -> None:
        told.append((done, total))

    assert run_on_actors(Worker, blocks(6), 2, on_block=tell, give_up=give_up) == 2
    assert given_up == ["00000004"]
    assert len((tmp_path / "00000004.tries").read_text()) == MOST_DEATHS
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == "") == [
        f"0000000{number}" for number in (0, 1, 2, 3, 5)
    ]
    assert told[-1] == (6, 6)
