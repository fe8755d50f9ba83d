"""Work on blocks by Ray actors, on one machine or on a Ray cluster. The extra ``ray`` installs Ray.

Each actor keeps what it loads and takes one block after the other, so that only names of blocks travel. An actor that
dies is replaced (one that Ray starts again would refuse blocks meanwhile) and its block is given out once more. Ray's
usage statistics and dashboard stay off.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from tubelet.errors import ConfigError, TubeletError
from tubelet.session.shards import Block
from tubelet.session.telemetry import disable_telemetry

MOST_DEATHS = 3  # of the actors that had a block, before it is given up
OBJECT_STORE_BYTES = 100 * 2**20  # of a Ray that is started here; results go to files


class BlockWorker(Protocol):
    """What an actor holds."""

    def run(self, block: Block) -> int:
        """Make the part of a block. Return how many of its items failed."""
        ...


def run_on_actors(
    make_worker: Callable[[], BlockWorker],
    blocks: Sequence[Block],
    num_actors: int,
    *,
    num_gpus: float = 0,
    on_block: Callable[[int, int], None] = lambda done, total: None,
    give_up: Callable[[Block], int],
) -> int:
    """Make the parts of blocks.

    Args:
        make_worker: called in every actor, and in each that replaces one that died.
        blocks: to be done.
        num_actors: processes, each with one processor.
        num_gpus: of each actor.
        on_block: called with how many blocks are done, and how many there are.
        give_up: called for a block whose actor died ``MOST_DEATHS`` times; returns how many of its items failed.

    Returns how many items failed.

    Raises:
        ConfigError: Ray is not installed, or ``num_actors`` is below 1.
        TubeletError: a worker raised it.
    """
    if num_actors < 1:
        raise ConfigError(f"--ray must be the number of actors, at least 1; got {num_actors}")
    failed, done, deaths = 0, 0, Counter[str]()
    with _ray(num_actors) as ray:
        actor_class = ray.remote(num_cpus=1, num_gpus=num_gpus, max_restarts=0, max_task_retries=0)(_Actor)
        idle = [actor_class.remote(make_worker) for _ in range(min(num_actors, len(blocks)))]
        waiting, running = list(reversed(blocks)), dict[Any, tuple[Any, Block]]()
        while waiting or running:
            while idle and waiting:
                actor, block = idle.pop(), waiting.pop()
                running[actor.run.remote(block)] = actor, block
            (ready, *_), _ = ray.wait(list(running), num_returns=1)
            actor, block = running.pop(ready)
            of_block = _result(ray, ready)
            idle.append(actor_class.remote(make_worker) if of_block is None else actor)
            if of_block is None:
                deaths[block.name] += 1
                if deaths[block.name] < MOST_DEATHS:
                    waiting.append(block)
                    continue
                of_block = give_up(block)
            failed, done = failed + of_block, done + 1
            on_block(done, len(blocks))
    return failed


def _result(ray: Any, ready: Any) -> int | None:
    """What an actor returned, or None where it died."""
    try:
        failed: int = ray.get(ready)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, TubeletError | OSError):
            raise error.cause from None
        raise
    except ray.exceptions.RayActorError:
        return None
    return failed


class _Actor:
    def __init__(self, make_worker: Callable[[], BlockWorker]) -> None:
        self._worker = make_worker()

    def run(self, block: Block) -> int:
        return self._worker.run(block)


@contextmanager
def _ray(num_actors: int) -> Iterator[Any]:
    """Ray, connected to the cluster of ``RAY_ADDRESS`` or started here for as long as the block lasts."""
    disable_telemetry()
    try:
        import ray
    except ImportError:
        raise ConfigError("--ray needs Ray; install it with: pip install 'tubelet[ray]'") from None
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False, configure_logging=False)
    else:
        ray.init(
            num_cpus=num_actors,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
            configure_logging=False,
        )
    try:
        yield ray
    finally:
        ray.shutdown()
