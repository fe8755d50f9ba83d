"""The harness itself: it knows a case by its content, takes shapes that no stored case has, and sees a wrong number."""

from __future__ import annotations

import json
import shutil
import uuid
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from parity import made_others as others
from parity import made_vivit as vivit
from parity.cases import CHECKS
from parity.compare import read_config
from parity.conftest import pytest_terminal_summary
from parity.kinds import key_of_case
from parity.making import write_case
from parity.test_parity import run_case, run_manifest
from tubelet.errors import CheckpointError

STORED = Path(__file__).parents[1] / "fixtures" / "parity"
Make = Callable[[Path], Path]
# By what the harness must know them as.
MADE: dict[str, dict[str, Make]] = {
    "vivit/model": {name: partial(vivit.make_model, name=name) for name in vivit.MODELS},
    "vivit/init": {
        **{name: partial(vivit.make_init, name=name) for name in vivit.INITS},
        **{f"image {pool}": partial(vivit.make_image_init, classifier=pool) for pool in ("token", "gap", "gmp")},
    },
    "vivit/multihead": {f"top {k}": partial(vivit.make_multihead, k=k) for k in (3, 7)},
    "vivit/hf_model": {act: partial(others.make_hf_vivit, activation=act) for act in ("gelu_fast", "gelu")},
    "vivit/hf_preprocess": {f"to {short}": partial(others.make_hf_preprocess, short=short) for short in (25, 40)},
    "vtn/model": {block: partial(others.make_vtn, block=block) for block in ("basic", "bottleneck")},
    "timesformer/model": {
        kind: partial(others.make_timesformer, attention=kind) for kind in ("divided_space_time", "space_only")
    },
    "timesformer/image_init": {
        kind: partial(others.make_timesformer_init, attention=kind)
        for kind in ("divided_space_time", "joint_space_time")
    },
    "timesformer/hf_model": {
        kind: partial(others.make_hf_timesformer, attention=kind) for kind in ("divided_space_time", "space_only")
    },
    "uniformerv2/model": {"local": partial(others.make_uniformerv2, local=True)},
    "uniformerv2/image_init": {"no stride": partial(others.make_uniformerv2_init, downsample=False)},
    "uniformerv2/train_step": {kind: partial(others.make_train_step, wiring=kind) for kind in ("local", "frozen")},
}
EACH = [pytest.param(key, make, id=f"{key} {name}") for key, makers in MADE.items() for name, make in makers.items()]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(("key", "make"), EACH)
def test_case_of_another_shape_passes_and_fails_with_one_number_changed(key: str, make: Make, tmp_path: Path) -> None:
    case = make(tmp_path / uuid.uuid4().hex / uuid.uuid4().hex)
    assert key_of_case(read_config(case), case) == key
    run_case(case)
    tamper(case)
    with pytest.raises(AssertionError):
        run_case(case)


def test_stored_case_fails_with_one_number_changed_whatever_its_name_is(case: Path, tmp_path: Path) -> None:
    copy = copied(case, tmp_path)
    assert key_of_case(read_config(copy), copy) == key_of_case(read_config(case), case)
    tamper(copy)
    with pytest.raises(AssertionError):
        run_case(copy)


@pytest.mark.parametrize("name", ["vivit/manifest_hf_vivit-b-16x2", "timesformer/manifest_base_divided_8x224_k400"])
def test_manifest_fails_with_one_shape_changed_whatever_its_name_is(name: str, tmp_path: Path) -> None:
    content = json.loads((STORED / f"{name}.json").read_text(encoding="utf-8"))
    content["parameters"][0][1][-1] += 1
    copy = tmp_path / f"{uuid.uuid4().hex}.json"
    copy.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"weights do not fit"):
        run_manifest(copy)


def test_every_check_is_shown_to_pass_and_to_fail_here() -> None:
    stored = {key_of_case(read_config(file.parent), file.parent) for file in STORED.glob("*/*/config.json")}
    assert {*MADE, *stored} == set(CHECKS)


def test_case_that_nothing_claims_fails_with_the_fields_it_has(tmp_path: Path) -> None:
    sound = write_case(tmp_path / "a", {"source": "google-research/scenic", "function": "scenic.sound"})
    with pytest.raises(
        AssertionError, match=r"no test claims vivit/unknown \(repository .*, function 'scenic\.sound'; files"
    ):
        run_case(sound)
    empty = write_case(tmp_path / "vivit" / "model1_token", {}, input=torch.zeros(1))
    with pytest.raises(
        AssertionError, match=r"unknown/unknown \(no family, kind, .*; files config\.json, input\.npy\)"
    ):
        run_case(empty)
    probe = write_case(tmp_path / "b", {"family": "vivit", "kind": "vivit_probe"})
    with pytest.raises(AssertionError, match=r"vivit/vivit_probe \(family 'vivit', kind 'vivit_probe'; files"):
        run_case(probe)


def test_pending_cases_and_manifests_are_named_at_the_end_by_what_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parity.cases.PENDING", ["vjepa2/vjepa2_encoder", "videomae"])
    write_case(tmp_path / "vivit" / "model1_token", {"family": "vjepa2", "kind": "vjepa2_encoder"})
    write_case(tmp_path / "vivit" / "hf_preprocess", {"family": "vjepa2", "kind": "vjepa2_probe"})
    write_case(tmp_path / "vjepa2" / "encoder", {"source": "google-research/scenic", "class": "ViViT"})
    manifest = {"source": {"repo": "https://github.com/MCG-NJU/VideoMAE"}, "parameters": []}
    (tmp_path / "vivit" / "manifest_any.json").write_text(json.dumps(manifest), encoding="utf-8")
    said: list[str] = []
    reporter: Any = SimpleNamespace(section=said.append, write_line=said.append)
    options: Any = SimpleNamespace(getoption=lambda _: tmp_path)
    pytest_terminal_summary(reporter, options)
    assert said[0].startswith("2 parity cases and manifests pending")
    assert said[1] == "vivit/model1_token, vivit/manifest_any"


def copied(case: Path, tmp_path: Path) -> Path:
    """The case under names that mean nothing; ``case``, which some configs repeat, goes too."""
    copy = tmp_path / uuid.uuid4().hex / uuid.uuid4().hex
    shutil.copytree(case, copy)
    config = {name: value for name, value in read_config(case).items() if name != "case"}
    (copy / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return copy


def tamper(case: Path) -> None:
    """One recorded number changes by a hundredth of the largest beside it, or by 1 where it is whole."""
    file = case / "output.npz"
    if not file.is_file():
        config = read_config(case)
        if "rows" in config:
            config["rows"][0]["frames"][0] += 1
        elif "cases" in config:
            config["cases"][0]["indices"][0] += 1
        else:
            config["values"][1][1] *= 1.01
        (case / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return
    with np.load(file, allow_pickle=False) as reference:
        arrays = dict(reference)
    names = sorted(name for name, array in arrays.items() if array.size)
    name = names[zlib.crc32(json.dumps(names).encode()) % len(names)]
    array = arrays[name].reshape(-1).copy()
    array[-1] += 0.01 * max(1.0, np.abs(array).max()) if array.dtype.kind == "f" else 1
    arrays[name] = array.reshape(arrays[name].shape)
    np.savez(file, **arrays)
