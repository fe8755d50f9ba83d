"""Every source of first weights gives the tensors, and the digest, that it gave before it went through one form.

The digests were made by the code of commit 29b1175, which had three forms on the way. What is left fresh is not in
them, so that no random number is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from support import PROTOCOL
from tubelet.models import create_model
from tubelet.weights.config import InitConfig
from tubelet.weights.init.initialize import initialize
from tubelet.weights.init.source import model_fields, read_source
from tubelet.weights.mapping.digest import tensors_sha256
from weights.first_weights_cases import SOURCES, TARGETS

EXPECTED: dict[str, dict[str, str]] = json.loads(
    (Path(__file__).parents[1] / "fixtures" / "first_weights.json").read_text(encoding="utf-8")
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


def path_of(source: str, folder: Path) -> Path:
    """Where the source lies, written once."""
    place = folder / f"source_{list(SOURCES).index(source)}"
    written = next((path for path in folder.glob(f"{place.name}*")), None)
    return written or SOURCES[source](place)


def started(path: Path, name: str, fields: dict[str, Any], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    init = InitConfig(source=str(path), **options)
    source = read_source(init, name)
    along = {**model_fields(source, {"name": name, **fields}), **fields}
    torch.manual_seed(0)
    model = create_model(name, **{"num_classes": 8, "num_frames": 4, "image_size": (32, 32), **along})
    return model, initialize(model, source, init, PROTOCOL)


@pytest.mark.parametrize("case", EXPECTED)
def test_tensors_and_digest_are_those_of_before(folder: Path, case: str) -> None:
    source, target = case.split(" -> ")
    model, provenance = started(path_of(source, folder), *TARGETS[target])
    filled = {name: tensor for name, tensor in model.state_dict().items() if name not in provenance["fresh"]}
    assert tensors_sha256(filled) == EXPECTED[case]["filled"]
    assert provenance["sha256"] == EXPECTED[case]["sha256"]


def test_every_source_is_checked_but_the_one_that_is_refused() -> None:
    """A DeiT of transformers has a distillation token, which no model has a place for."""
    assert set(SOURCES) - {case.split(" -> ")[0] for case in EXPECTED} == {"huggingface, deit"}
