"""What docs/library.md shows, in a real notebook: training with workers needs no guard, and results show as tables."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient

from support import MODEL, TINY


def notebook(*cells: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])


def run_notebook(book: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    client = NotebookClient(book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    return client.execute()


def html_of(cell: nbformat.NotebookNode) -> str:
    (output,) = [output for output in cell.outputs if output.output_type == "execute_result"]
    return str(output.data["text/html"])


def test_a_notebook_trains_with_workers_and_shows_tables_and_errors_in_one_line(videos: Path, tmp_path: Path) -> None:
    fields = {
        "model": MODEL,
        **{f"model.{name}": value for name, value in TINY.items()},
        "protocol": {"num_frames": 4, "frame_stride": 2, "target_fps": None, "resize_short_side": 20},
        "protocol.crop_size": [16, 16],
        "epochs": 1,
        "batch_size": 8,
        "data.num_workers": 1,
    }
    film = str(videos / "test" / "left" / "0000.mp4")
    call = f"run = tubelet.train({str(videos)!r}, out='run', progress=False, device='cpu', **{fields})"
    cells = notebook(
        f"import tubelet\n{call}",
        "run",
        f"classifier = run.load('cpu')\nclassifier.predict({film!r}, top_k=3)",
        f"classifier.windows({film!r}, window='clip')",
        "tubelet.train('missing')",
    )
    cells.cells[-1].metadata["tags"] = ["raises-exception"]
    found = run_notebook(cells, tmp_path).cells
    assert html_of(found[1]).startswith("<table><caption>run</caption>")
    assert html_of(found[2]).count("<tr>") == 4  # the head and three labels
    assert "start_seconds" in html_of(found[3])
    (error,) = found[4].outputs
    assert (error.output_type, error.ename) == ("error", "DataError")
    assert "\n" not in error.evalue
    said = [str(output.get("text")) for cell in found for output in cell.outputs if output.output_type == "stream"]
    assert not [text for text in said if "TqdmWarning" not in text]  # of a dependency, about a missing widget
