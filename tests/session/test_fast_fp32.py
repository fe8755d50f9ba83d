"""The way of fp32 products is one of the whole process, is refused where it is not fp32, and leaves no trace."""

from __future__ import annotations

import csv
import json
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path

import pytest
import torch

import tubelet
from tubelet.errors import ConfigError
from tubelet.session import fast_fp32 as module
from tubelet.session.fast_fp32 import (
    PLAIN,
    TABLE,
    TOLERANCE,
    FastFp32,
    Processor,
    fast_fp32,
    fast_fp32_in_use,
    of_processor,
    product_error,
)

ONEDNN = FastFp32(onednn_matmul=True)
RESULTS = Path(__file__).parents[2] / "docs" / "results" / "fast_fp32.json"


def test_products_by_onednn_are_fp32_or_refused() -> None:
    try:
        with fast_fp32(ONEDNN):
            found = product_error()
    except ConfigError:
        found = 0.0  # on a processor with bf16 matrix units
    assert found <= TOLERANCE
    assert fast_fp32_in_use() == PLAIN


def test_products_that_are_not_fp32_are_refused_and_torch_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOLERANCE", 1e-12)  # as if this processor computed them in bf16
    with pytest.raises(ConfigError, match="relative error"), fast_fp32(ONEDNN):
        pass
    assert fast_fp32_in_use() == PLAIN
    assert torch.get_float32_matmul_precision() == "highest"


def test_what_is_measured_to_be_fast_falls_back_where_the_check_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOLERANCE", 1e-12)
    monkeypatch.setattr(module, "of_processor", lambda found: ONEDNN)  # as if its row said so
    with fast_fp32() as chosen:
        assert chosen == PLAIN


def test_a_scope_holds_for_other_threads_and_ends() -> None:
    with fast_fp32(FastFp32(convolution_from=5)), ThreadPoolExecutor(1) as pool:
        assert pool.submit(fast_fp32_in_use).result() == FastFp32(convolution_from=5)
    assert fast_fp32_in_use() == PLAIN


def test_a_setting_of_the_caller_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "processor", lambda: Processor("GenuineIntel", 6, 143))
    torch.set_float32_matmul_precision("high")
    try:
        with fast_fp32():
            pass
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_a_processor_that_was_not_measured_keeps_the_products_of_torch() -> None:
    assert of_processor(Processor()) == PLAIN
    assert of_processor(Processor("GenuineIntel", 6, 143)) == PLAIN


def test_a_product_convolves_by_its_size_alone() -> None:
    choice = FastFp32(convolution_from=24576)
    assert all(choice.convolves(*size) for size in ((32, 768, 3072), (128, 768, 192)))
    assert not any(choice.convolves(*size) for size in ((31, 768, 3072), (127, 768, 192)))
    assert not PLAIN.convolves(10**6, 768, 768)


def test_a_record_gives_the_choice_back_and_none_is_the_products_of_torch() -> None:
    for choice in (PLAIN, ONEDNN, FastFp32(onednn_matmul=True, convolution_from=7)):
        assert FastFp32.from_record(json.loads(json.dumps(choice.to_record()))) == choice
    assert FastFp32.from_record(None) == PLAIN


def test_the_table_says_what_was_measured() -> None:
    rows = list(csv.DictReader(resources.files("tubelet.session").joinpath(TABLE).read_text("utf-8").splitlines()))
    measured = json.loads(RESULTS.read_text(encoding="utf-8"))["processors"]
    for name, result in measured.items():
        vendor, family, model = name.split("/")
        found = of_processor(Processor(vendor, int(family), int(model)))
        assert found.to_record() == result["choice"], name
    families = {tuple(name.split("/")[:2]) for name in measured}
    assert {(row["vendor"], row["family"]) for row in rows} <= families  # no row that nobody measured
    assert len({(row["vendor"], row["family"], row["models"]) for row in rows}) == len(rows)


def test_the_library_offers_the_choice() -> None:
    before = fast_fp32_in_use()
    try:
        assert tubelet.use_fast_fp32(FastFp32(convolution_from=3)).convolution_from == 3
        assert tubelet.use_fast_fp32(FastFp32()) == PLAIN
    finally:
        module.use_fast_fp32(before)
