"""A scan in parts that several calls share: a block of files is a part, and the last call reports on all of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from tubelet.data.manifest.manifest import Manifest
from tubelet.data.scan.config import ScanConfig
from tubelet.data.scan.scan_dataset import (
    RESULTS,
    Scan,
    decoded,
    facts_of,
    files_of,
    kept_facts,
    line_of,
    scan_of,
)
from tubelet.data.scan.scan_file import FileFacts, missing_facts
from tubelet.files import json_lines, write_atomically
from tubelet.session.shards import PARTS, Shard, SharedWork, claim, digest_of


def scan_shard(
    manifest: Manifest, config: ScanConfig, folder: Path, shard: Shard, on_file: Callable[[int, int], None]
) -> Scan | str:
    """Decode the files of a part. Return the scan of all where no part is missing, else a line about those that are.

    A file that has changed, or whose process hung or crashed, is decoded again. Arguments are those of ``scan``.

    Raises:
        ConfigError: ``folder`` holds parts of another scan.
        DataError: the manifest has no row.
    """
    files = files_of(manifest)
    names = [f"{file.path} {file.fps}" for file in files.values()]
    about = {"list of files": digest_of(names), "num_channels": config.num_channels, "version of PyAV": version("av")}
    claim(folder / PARTS, about, "facts")
    work, paths = SharedWork(folder, shard, len(files)), list(files)
    own = {path: files[path] for block in work.own for path in (paths[number] for number in block.items)}
    facts = {found.path: found for found in kept_facts(folder / RESULTS, own)}
    for block in work.own:
        facts |= {found.path: found for found in kept_facts(work.path(block) / RESULTS, own)}
    for path, source in own.items():
        if not source.file.exists():
            facts[path] = missing_facts(path)
    todo, done = tuple(source for path, source in own.items() if path not in facts), len(facts)
    on_file(done, len(own))
    results = decoded(todo, config)
    for block in work.own:
        for path in (paths[number] for number in block.items):
            if path not in facts:
                facts[path], done = next(results), done + 1
                on_file(done, len(own))
        of_block = [facts[paths[number]] for number in block.items]
        if not work.is_done(block) or _read(work.path(block)) != of_block:
            with work.writing(block) as part:
                write_atomically(part / RESULTS, _lines(of_block))
    left = work.missing_text()
    if left is not None:
        return left
    found = [facts for block in work.blocks for facts in _read(work.path(block))]
    write_atomically(folder / RESULTS, _lines([facts for facts in found if facts.kind != "missing"]))
    return scan_of(manifest, {facts.path: facts for facts in found}, on_file=on_file)


def _lines(facts: list[FileFacts]) -> str:
    return "".join(json.dumps(line_of(found), ensure_ascii=False) + "\n" for found in facts)


def _read(part: Path) -> list[FileFacts]:
    return [found for line in json_lines(part / RESULTS) if (found := facts_of(line)) is not None]
