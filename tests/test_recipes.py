"""Every shipped recipe: what its head says is published, and it trains on the data set that it is for.

That a recipe loads, makes its model and is saved whole is shown in ``test_recipe.py``.
"""

from __future__ import annotations

import math
import re
from importlib import resources
from pathlib import Path

import pytest
import torch

from recipe_data import shrunk, write_data
from support import rows_of
from tubelet.models import create_model
from tubelet.published import find_published
from tubelet.recipe import list_recipes, load_recipe
from tubelet.runs.run import run_recipe
from tubelet.session.session import Session
from tubelet.training.optim.groups import freeze

OWN_DATA = (
    "adrenalmnist3d",
    "films",
    "folder",
    "motion",
    "pretraining",
    "scenes",
)  # nothing is published for them, or not by these papers


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[object, Path]:
    """Written data by layout (or recipe folder); grows as tests ask for more."""
    return {"": tmp_path_factory.mktemp("data")}


def head_of(name: str) -> dict[str, str]:
    """The comment at the beginning: its keys and texts, the first line under ''."""
    text = resources.files("tubelet").joinpath("recipes", f"{name}.yaml").read_text(encoding="utf-8")
    lines = [line for line in text.split("\nmodel:")[0].splitlines() if line.startswith("#")]
    found, key = {"": lines[0]}, ""
    for line in lines[1:]:
        begun = re.match(r"# ([A-Z][a-z]+): +(.*)", line)
        if begun:
            key = begun[1]
        found[key] = f"{found.get(key, '')} {begun[2] if begun else line.removeprefix('#').strip()}".strip()
    return found


@pytest.mark.parametrize("name", list_recipes())
def test_a_recipe_trains_two_steps_on_its_own_data_set(name: str, tmp_path: Path, data: dict[object, Path]) -> None:
    layout = load_recipe(name).data.manifest.layout
    key = layout or name.partition("/")[0]
    if key not in data:
        data[key] = write_data(name, layout, data[""] / key)
    recipe = load_recipe(name, shrunk(name, data[key]))
    result = run_recipe(recipe, tmp_path / "run", Session())
    assert result.state.step == 2
    assert not result.state.failed
    rows = rows_of(tmp_path / "run" / "log.csv")
    assert len(rows) == 2
    assert all(math.isfinite(float(row["loss"])) and float(row["grad_norm"]) > 0 for row in rows)
    assert float(rows[1]["lr"]) > 0
    assert result.evaluation.metrics["num_videos"] > 0


@pytest.mark.parametrize("name", [n for n in list_recipes() if not n.startswith(OWN_DATA)])
def test_the_head_of_a_recipe_says_what_it_follows_and_what_is_published(name: str) -> None:
    head = head_of(name)
    assert {"Source", "Command", "Hardware", "Published"} <= set(head)
    command = "train" if load_recipe(name).masked_pretraining is None else "pretrain"
    assert head["Command"].startswith(f"tubelet {command} {name} --data DATA")
    published = head["Published"]
    if published.startswith("none"):
        return
    number = r"(\d+\.\d+)"
    figures = re.search(rf"top-1 / top-5 {number} / {number}", published) or re.search(
        rf"top-1 {number}(?:, top-5 {number})?", published
    )
    assert figures, published
    top1, top5 = float(figures[1]), float(figures[2]) if figures[2] else None
    views = re.search(r"(\d+)x(\d+)x(\d+)", published)  # frames x crops x clips
    recipe = load_recipe(name)
    fitting = [
        row
        for row in find_published(model=recipe.model["name"], dataset=name.partition("/")[0])
        if row.top1 == top1 and (top5 is None or row.top5 == top5)
        if views is None or (row.frames, row.views) == (int(views[1]), f"{views[3]}x{views[2]}")
    ]
    assert fitting, published
    first = re.split(r"; the paper", published)[0]
    assert ("unverified" in first) == (not any(row.verified for row in fitting)), published
    if views is not None and not re.search("tests|views", head.get("Note", "")):  # a note says how they differ
        p, segments = recipe.protocol, recipe.protocol.num_segments  # published as views, where they are pooled at once
        shown = (p.num_frames // segments, f"{p.num_temporal_views * segments}x{p.num_spatial_crops}")
        assert shown == (fitting[0].frames, fitting[0].views)


@pytest.mark.parametrize("name", [n for n in list_recipes() if load_recipe(n).freeze])
def test_what_is_frozen_is_all_but_what_the_recipe_says_starts_fresh(name: str) -> None:
    """Of probes on an encoder: nothing of the encoder trains, and all of pooling and classifier does."""
    recipe = load_recipe(name)
    if "probe" not in head_of(name)[""] and "frozen encoder" not in head_of(name)[""]:
        return
    with torch.device("meta"):
        model = create_model(recipe.model["name"], **recipe.model_options(num_classes=2))
    freeze(model, recipe.freeze)
    training = {n.partition(".")[0] for n, p in model.named_parameters() if p.requires_grad}
    assert training <= {"pooler", "pool", "head"}
    assert len(training) == 2
    assert not any(not p.requires_grad for n, p in model.named_parameters() if n.startswith(("pool", "head")))


@pytest.mark.parametrize("name", list_recipes())
def test_a_head_says_what_is_trained_how_and_on_what(name: str) -> None:
    head = head_of(name)
    assert {"Command", "Hardware"} <= set(head)
    assert {"Published", "Result"} & set(head)
    assert "tubelet " in head["Command"] or "python " in head["Command"]


@pytest.mark.parametrize("name", [n for n in list_recipes() if re.search(r"/videomae_[a-z0-9_]*$", n)])
def test_fine_tuning_of_a_masked_encoder_has_its_norm_behind_the_mean_whatever_the_encoder_brings(name: str) -> None:
    recipe = load_recipe(name)
    if recipe.masked_pretraining is None:  # a field that a recipe leaves out comes along with the first weights
        assert recipe.model["final_norm"] == "pooled"
