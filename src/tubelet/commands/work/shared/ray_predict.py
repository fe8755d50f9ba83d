"""``tubelet predict --ray``: Ray actors that hold the model make the parts."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tubelet.commands.predict import Options
from tubelet.commands.work.shared.predict import predict_blocks, write_failed
from tubelet.session.console_progress import ConsoleProgress
from tubelet.session.ray_actors import MOST_DEATHS, run_on_actors
from tubelet.session.shards import Block, Shard, SharedWork


class PredictWorker:
    """The model in an actor.

    Args:
        options: of the command. Files are decoded in the actor, unless ``num_workers`` says otherwise.
        files: of all actors.
        folder: that relative paths are of.
    """

    def __init__(self, options: Options, files: Sequence[Path], folder: str) -> None:
        from tubelet.commands.work.predict import as_asked, results_in_order
        from tubelet.inference.predictor import load

        os.chdir(folder)
        assert options.out is not None
        loaded = load(options.checkpoint, options.device, precision=options.precision, reject=options.reject)
        here = dataclasses.replace(options, num_workers=options.num_workers or 0)
        progress = ConsoleProgress("predict", is_quiet=True)
        self._predict = results_in_order(here, as_asked(here, loaded), progress)
        self._files, self._work = files, SharedWork(options.out, Shard(), len(files))

    def run(self, block: Block) -> int:
        """As ``BlockWorker.run``."""
        return predict_blocks(self._work, [block], self._files, self._predict)


def predict_on_ray(
    options: Options,
    work: SharedWork,
    files: Sequence[Path],
    num_actors: int,
    num_gpus: int,
    on_block: Callable[[int, int], None],
) -> int:
    """Make the parts of all files. Return how many files could not be read."""
    return run_on_actors(
        partial(PredictWorker, options, list(files), os.getcwd()),
        work.blocks,
        num_actors,
        num_gpus=num_gpus,
        on_block=on_block,
        give_up=lambda block: write_failed(
            work, block, files, f"the process that predicts it died {MOST_DEATHS} times; leave it out"
        ),
    )
