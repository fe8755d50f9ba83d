"""README and results say what is true: files exist, figures are the measured ones."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from code_blocks import PAGES, ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "docs/results/README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_every_path_shown_in_the_tree_exists() -> None:
    (tree,) = re.findall(r"```text\n(src/tubelet/.*?)```", CONTRIBUTING, flags=re.DOTALL)
    names = [line.split()[0] for line in tree.splitlines() if line.startswith("  ")]
    assert len(names) > 10
    for name in names:
        assert (ROOT / "src/tubelet" / name).exists(), name


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES.keys())
def test_every_local_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_readme_is_read_in_a_minute_and_every_page_of_the_docs_is_two_clicks_away() -> None:
    assert len(README.splitlines()) < 120
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    listed = {line for block in re.findall(r"```{toctree}\n(.*?)```", index, flags=re.DOTALL) for line in block.split()}
    for name in PAGES:
        if name.startswith("docs/") and name != "docs/index.md":
            assert name.removeprefix("docs/").removesuffix(".md") in listed, name


@pytest.mark.parametrize(
    ("page", "command"),
    [
        ("clips.md", "tubelet train --data my_clips"),  # a folder of clips
        ("moments.md", "tubelet train --task per_frame"),  # labels of BORIS
        ("volumes.md", "tubelet train --data my_volumes"),  # 3-D volumes
        ("checkpoints.md", "tubelet convert"),  # a paper's checkpoint
        ("films.md", "tubelet stream"),  # a camera
        ("comparisons.md", "tubelet compare"),  # designs to compare
        ("export.md", "tubelet export"),  # a product to ship
        ("cluster.md", "tubelet predict"),  # many machines
    ],
)
def test_the_page_of_each_job_is_one_click_away_and_begins_with_the_command_that_does_it(
    page: str, command: str
) -> None:
    assert f"(docs/{page})" in README
    assert f"({page})" in (ROOT / "docs/index.md").read_text(encoding="utf-8")
    lines = (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()
    assert any(line.startswith(command) for line in lines[:16])


def test_the_table_of_what_to_change_names_files_that_are_there() -> None:
    rows = re.findall(r"^\| [^|]+ \| `(src/[^`]+)` \|$", CONTRIBUTING, flags=re.MULTILINE)
    assert len(rows) > 20
    for file in rows:
        assert (ROOT / file).is_file(), file


def test_the_messages_of_the_error_catalog_are_ones_that_the_code_says() -> None:
    catalog = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
    phrases = re.findall(r"^\| `([^`]+)` \|", catalog, flags=re.MULTILINE)
    code = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "src").rglob("*.py"))
    assert len(phrases) > 5
    for phrase in phrases:
        assert phrase in code, phrase


def test_every_result_is_spoken_of() -> None:
    said = "".join(page.read_text(encoding="utf-8") for page in PAGES.values())
    for file in (ROOT / "docs/results").glob("*.json"):
        assert f"{file.name})" in said or f"]({file.stem}.md)" in said, file.name


def results(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((ROOT / f"docs/results/{name}.json").read_text(encoding="utf-8"))
    return content


def test_speeds_are_those_of_the_committed_measurement() -> None:
    measured = results("models")
    shares = [row["product_share"] for row in measured["inference"]["rows"].values()]
    numbers = [f"{measured[part]['speedup_over_huggingface']:.2f}" for part in ("inference", "training")]
    for number in [*numbers, *(f"{share:.1%}" for share in shares)]:
        assert number in RESULTS, f"{number} of docs/results/models.json is not in the text"


def test_accuracies_are_those_of_the_committed_measurements() -> None:
    spread = results("adrenalmnist3d")["spread"]
    numbers = [f"{spread[name]['mean']:.3f} ± {spread[name]['sd']:.3f}" for name in ("auroc", "top1")]
    tops = [row["top1"] for row in (*results("demo")["rows"].values(), results("scenes")["row"])]
    for number in [*numbers, *(f"{100 * top1:.1f} %" for top1 in tops)]:
        assert number in README + RESULTS, f"{number} of docs/results is not in the text"


def test_figures_of_comparisons_and_of_the_finer_recipe_are_those_that_were_measured() -> None:
    spread = results("adrenalmnist3d_p3")["spread"]
    for name in ("auroc", "top1"):
        assert f"**{spread[name]['mean']:.3f}** ({spread[name]['low']:.3f} to {spread[name]['high']:.3f})" in RESULTS
    auroc = spread["auroc"]
    assert f"AUROC {auroc['mean']:.3f} ({auroc['low']:.3f} to {auroc['high']:.3f})" in README
    counts = results("thickness")["rows"]["test"]
    assert f"{counts['auroc']:.3f} | {counts['top1']:.3f}" in RESULTS
    assert f"three voxel counts reach {counts['auroc']:.3f}" in README
    report = (ROOT / "docs/results/tokenizers.md").read_text(encoding="utf-8")
    table = RESULTS.split("**Tubelets or sampled frames?**")[1].split("\n\n")[1]
    intervals = re.findall(r"\d\.\d{3} \(\d\.\d{3} to \d\.\d{3}\)", table)
    assert len(intervals) == 7
    for interval in intervals:
        assert f" {interval} " in report
    for value in re.findall(r"p = (\d\.\d{3})", table):
        assert f"p = {value} after correction" in report


def test_the_table_of_exported_files_is_that_of_the_result() -> None:
    text = (ROOT / "docs/export.md").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads((ROOT / "docs/results/export_table.json").read_text(encoding="utf-8"))
    for row in content["rows"]:
        cells = " | ".join(f"{proof:.1e}" if isinstance(proof, float) else "no" for proof in row["proof"].values())
        assert f"| {row['model']} ({row['case']}) | {row['axes']} | {cells} |" in text
