"""Scores the rows of a split in parts that several calls share. A block is one or more whole batches of the split, so
that every video is scored beside the same others as by one call, to the same bits.
"""

from __future__ import annotations

from tubelet.data.loading.loader import Loader
from tubelet.data.loading.video_notes import VideoNotes
from tubelet.data.manifest.failure_budget import FailureBudget
from tubelet.errors import DataError
from tubelet.evaluation.evaluate import Score
from tubelet.evaluation.scored_videos import ScoredVideos, merged, read_scored, write_scored
from tubelet.session.session import Session
from tubelet.session.shards import Block, SharedWork
from tubelet.types import Batch


def num_batches(num_rows: int, batch_size: int) -> int:
    """How many items the blocks of a split have."""
    return -(-num_rows // batch_size)


def rows_of(block: Block, num_rows: int, batch_size: int) -> range:
    """The rows of a block of batches."""
    return range(block.items.start * batch_size, min(block.items.stop * batch_size, num_rows))


def blocks_to_do(work: SharedWork) -> list[Block]:
    """The blocks of this call that are not there or damaged, or that lack a video that could not be read: it is tried
    again."""
    return [block for block in work.own if not work.is_done(block) or not _is_whole(work, block)]


def score_blocks(
    work: SharedWork, todo: list[Block], loader: Loader, score: Score, budget: FailureBudget, session: Session
) -> None:
    """Make parts.

    Args:
        work: the blocks of the split.
        todo: those to make.
        loader: reads the rows of ``todo`` in views mode, in batches of the split.
        score: scores a batch.
        budget: of the whole split.
        session: notes each video that cannot be read, and reports how many videos are done.

    Raises:
        DataError: more videos cannot be read than the budget allows.
        Stopped: a signal asked this process to stop; parts that are done stay.
    """
    notes = VideoNotes(loader.dataset.name, (loader.num_videos, "videos of this part"), session)
    batches, done = loader.eval_batches(), 0
    for block in todo:
        rows = rows_of(block, len(budget.manifest), loader.batch_size)
        scored, contents = list[ScoredVideos](), dict[str, str]()
        for start in range(rows.start, rows.stop, loader.batch_size):
            batch = next(batches)
            notes.add_batch(batch)
            scored.append(_scored(batch, start, score))
            contents |= loader.take_contents()
            for line in budget.add(scored[-1].failed).values():
                session.progress.note(f"not used: {line}")
            budget.check()
            done += len(batch.index)
            session.advance(done, loader.num_videos, "evaluating")
        with work.writing(block) as part:
            write_scored(part, merged(scored), contents)
    notes.end()


def _is_whole(work: SharedWork, block: Block) -> bool:
    try:
        return not read_scored(work.path(block))[0].failed
    except DataError:
        return False


def joined_scores(work: SharedWork) -> tuple[ScoredVideos, dict[str, str]]:
    """All rows of the split, and the content of their files, once no part is missing."""
    parts = [read_scored(work.path(block)) for block in work.blocks]
    contents = {path: content for _, found in parts for path, content in found.items()}
    return merged([scored for scored, _ in parts]), contents


def _scored(batch: Batch, start: int, score: Score) -> ScoredVideos:
    """The scores of one batch, whose first video is row ``start`` of the split."""
    read, lines = batch.weight > 0, iter(batch.failures)
    kept = [start + place for place, ok in enumerate(read.tolist()) if ok]
    failed = {start + place: next(lines) for place, ok in enumerate(read.tolist()) if not ok}
    scores = score(batch, read) if kept else None
    return ScoredVideos(rows=tuple(kept), scores=scores, labels=batch.labels[read], failed=failed)
