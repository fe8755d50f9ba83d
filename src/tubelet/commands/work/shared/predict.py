"""``tubelet predict --out``: a part for every block of files, which several calls share, and the files of all of them.

parts/00000000/results.jsonl   a line per file: its prediction or film, or the line that says why there is none
predictions.csv                of all files, once no part is missing
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tubelet.data.scan.scan_file import fingerprint
from tubelet.files import json_lines
from tubelet.inference.films import Film
from tubelet.inference.windows import WindowPlan
from tubelet.session.shards import Block, SharedWork, damaged_part
from tubelet.types import HeadScores, Prediction, Segment

RESULTS, PREDICTIONS = "results.jsonl", "predictions.csv"

Found = Prediction | Film | str  # of a file; the line of one that could not be read
PredictFiles = Callable[[Sequence[Path]], Iterator[Found]]  # in order


def predict_blocks(
    work: SharedWork,
    blocks: Sequence[Block],
    files: Sequence[Path],
    predict: PredictFiles,
    on_file: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Make the parts that are not there. A file that could not be read or has changed is tried again.

    Args:
        work: the blocks of ``files``.
        blocks: those of this call.
        files: of all calls.
        predict: predicts some of them.
        on_file: called with how many files of this call are done, and how many there are.

    Returns:
        How many files of this call could not be read.
    """
    marks = {number: fingerprint(files[number]) for block in blocks for number in block.items}
    kept = {block: dict(_kept(work, block, marks)) for block in blocks}
    todo = [number for block in blocks for number in block.items if number not in kept[block]]
    total, done, failed = len(marks), len(marks) - len(todo), 0
    on_file(done, total)
    results = predict([files[number] for number in todo])
    for block in blocks:
        lines = kept[block]
        if len(lines) == len(block.items):
            continue
        for number in block.items:
            if number not in lines:
                found = next(results)
                lines[number] = {"mark": marks[number], **_plain(found)}
                failed += isinstance(found, str)
                done += 1
                on_file(done, total)
        _write(work, block, lines)
    return failed


def write_failed(work: SharedWork, block: Block, files: Sequence[Path], line: str) -> int:
    """Make the part of a block none of whose files could be read, for one reason. Return their number."""
    _write(work, block, {number: {"mark": "", "error": f"{files[number]}: {line}"} for number in block.items})
    return len(block.items)


def _write(work: SharedWork, block: Block, lines: Mapping[int, Mapping[str, Any]]) -> None:
    with work.writing(block) as part:
        text = "".join(json.dumps(lines[number], ensure_ascii=False) + "\n" for number in block.items)
        (part / RESULTS).write_bytes(text.encode(errors="backslashreplace"))


def results_of(work: SharedWork, blocks: Iterable[Block]) -> list[Found]:
    """The results of blocks that are done, in order.

    Raises:
        DataError: a part has not as many results as files. The next call of its part makes it again.
    """
    found = list[Found]()
    for block in blocks:
        lines = list(json_lines(work.path(block) / RESULTS))
        if len(lines) != len(block.items):
            raise damaged_part(work.path(block), f"{len(lines)} of {len(block.items)} results in {RESULTS}")
        found += map(_found, lines)
    return found


def _kept(work: SharedWork, block: Block, marks: dict[int, str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The lines of earlier calls that stand."""
    lines = list(json_lines(work.path(block) / RESULTS))
    if len(lines) == len(block.items):
        for number, line in zip(block.items, lines, strict=True):
            if "error" not in line and line["mark"] == marks[number]:
                yield number, line


def _plain(found: Found) -> dict[str, Any]:
    match found:
        case str():
            return {"error": found}
        case Film():
            return {"film": dataclasses.asdict(found)}
    return {"prediction": dataclasses.asdict(found)}


def _found(line: dict[str, Any]) -> Found:
    if "error" in line:
        return str(line["error"])
    if "prediction" in line:
        plain = line["prediction"]
        return Prediction(**plain | _scores(plain) | {"notes": tuple(plain["notes"])})
    plain = line["film"]
    segments = tuple(Segment(**segment | _scores(segment)) for segment in plain["segments"])
    return Film(**plain | {"plan": WindowPlan(**plain["plan"]), "segments": segments, "notes": tuple(plain["notes"])})


def _scores(plain: dict[str, Any]) -> dict[str, Any]:
    """The fields of scores with the types that JSON does not have."""
    heads = {
        name: HeadScores(labels=tuple(head["labels"]), probs=tuple(head["probs"]))
        for name, head in plain["heads"].items()
    }
    return {"labels": tuple(plain["labels"]), "probs": tuple(plain["probs"]), "heads": heads}
