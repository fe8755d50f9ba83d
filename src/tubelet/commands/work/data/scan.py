"""``tubelet data scan``: decodes every file of a dataset and reports what is wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tubelet.commands.data.scan import Options
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.near_copies import NOT_LOOKED
from tubelet.data.manifest.quarantine import write_quarantine
from tubelet.data.manifest.read import read_manifest
from tubelet.data.scan.report import as_dict, as_text
from tubelet.data.scan.scan_dataset import Scan, scan
from tubelet.data.scan.shared_scan import scan_shard
from tubelet.files import check_path, write_atomically
from tubelet.session.console_progress import ConsoleProgress
from tubelet.session.shards import Shard


def run(options: Options) -> int:
    out = options.out or Path("runs") / f"scan-{Path(options.data).resolve().stem}"
    Shard.parse(options.shard)
    check_path(out, is_written=True)
    config = options.columns.applied_to(options.manifest)
    manifest = read_manifest(options.data, config, is_checked=False)
    with ConsoleProgress("scan") as progress:
        for note in manifest.notes:
            progress.note(note)
        result = _scan(manifest, options, out, progress)
        if isinstance(result, str):
            print(f"tubelet: {result}", file=sys.stderr)
            return 0
        if manifest.split_origin.kept_together == NOT_LOOKED:  # now they are known
            result = result.of(read_manifest(options.data, config, is_checked=False))
        if result.num_reused:
            progress.note(f"{result.num_reused} of {len(result.facts)} files are unchanged since the last scan")
    report = json.dumps(as_dict(result), indent=2, ensure_ascii=False)
    text = as_text(result)
    write_atomically(out / "report.json", report + "\n")
    write_atomically(out / "report.txt", text)
    write_quarantine(out / "quarantine.csv", result.findings.quarantine())
    print(report if options.json else text, end="\n" if options.json else "")
    print(_verdict(result, out), file=sys.stderr)
    return 0 if result.findings.is_clean else 1


def _scan(manifest: Manifest, options: Options, out: Path, progress: ConsoleProgress) -> Scan | str:
    if options.shard is None:
        return scan(manifest, options.scan, out, progress.advance)
    return scan_shard(manifest, options.scan, out, Shard.parse(options.shard), progress.advance)


def _verdict(result: Scan, out: Path) -> str:
    if result.findings.is_clean:
        return f"report: {out / 'report.txt'}"
    return (
        f"tubelet: error: the scan found problems; the report is {out / 'report.txt'}, the rows to leave out are in "
        f"{out / 'quarantine.csv'} (--manifest.quarantine of `tubelet train`)"
    )
