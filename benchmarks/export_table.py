"""The table of docs/export.md: a tiny model of every family as a file of every format, and its proof.

    python benchmarks/export_table.py           writes runs/results/export_table.json and prints the table
    python benchmarks/export_table.py --write   into docs/results
    python benchmarks/export_table.py --cases vivit_fsa vtn_resnet      variants, as tests/export names them

Each file takes two sizes (an archive of torch one), any batch, and any number of frames where the model does. *Proof*
is the largest difference of logits from torch's over the largest logit, of five numbers of frames, every size and
batches of 1 and 3.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from results import write_result

sys.path.append(str(Path(__file__).parents[1] / "tests" / "export"))

from exported_models import TINY, VARIANTS, export, tiny

from tubelet.errors import TubeletError
from tubelet.export.config import SUFFIXES
from tubelet.types import ExportFormat

FORMATS: tuple[ExportFormat, ...] = ("onnx", "openvino", "torch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--cases", nargs="+", default=[*TINY], choices=[*TINY, *VARIANTS])
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for case in options.cases:
        rows.append(row_of(case))
        print(rows[-1], file=sys.stderr, flush=True)
    result = {
        "command": " ".join(["python", *sys.argv]),
        "date": time.strftime("%Y-%m-%d"),
        "versions": {name: version(name) for name in ("torch", "onnxruntime", "openvino")},
        "rows": rows,
    }
    print(table(rows))
    write_result("export_table", result, write=options.write)


def row_of(case: str) -> dict[str, Any]:
    """A model in every format: which axes are free, and the largest difference, or why there is no file."""
    model, record = tiny(case)
    row: dict[str, Any] = {"model": record.model_name, "case": case, "axes": "", "proof": {}}
    other = (48, 64) if case == "vtn_resnet" else (24, 32)
    for form in FORMATS:
        sizes = (other,) if form == "torch" else (record.protocol.crop_size, other)
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = export(model, record, Path(folder) / f"model{SUFFIXES[form]}", format=form, sizes=sizes)
            except TubeletError as error:
                row["proof"][form] = str(error)
                continue
        clips = found.record.clips
        row["axes"] = f"batch, T from {clips.min_frames} by {clips.frame_step}"
        row["proof"][form] = found.record.proof.largest.difference
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """In Markdown, as docs/export.md has it."""
    lines = ["| model | free axes | " + " | ".join(FORMATS) + " |", "|---|---|" + "---|" * len(FORMATS)]
    for row in rows:
        proofs = (row["proof"][form] for form in FORMATS)
        cells = " | ".join(f"{p:.1e}" if isinstance(p, float) else "no" for p in proofs)
        lines.append(f"| {row['model']} ({row['case']}) | {row['axes']} | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
