"""How this process computes fp32 matrix products on a CPU: as torch does by itself, or on a faster way to oneDNN.

torch multiplies fp32 matrices by MKL, which runs some processors at half of what they do. Two ways lead past it:

* ``torch.backends.mkldnn.matmul.fp32_precision = "bf16"`` hands every product of the process to oneDNN, attention and
  other libraries' layers among them. The name promises bf16, which oneDNN takes where a processor has matrix units for
  it (AMX); elsewhere it computes in fp32. So it is used only where a check against float64 shows fp32's accuracy.
* A 1x1 convolution is the same product (``tubelet.nn.linear``). It changes nothing outside of tubelet's layers.

The ways differ in their last bits. Which one a processor takes is therefore no matter of timing but a row of
``fast_fp32.csv``, measured by ``benchmarks/fast_fp32.py``; processors without a row stay with torch's own products.
(``docs/results/README.md`` says which row rests on what.) Where a row has both ways, oneDNN's setting brings most of
the speed, and reaches attention and timm's layers; the convolution adds the rest in layers of many rows.
The choice is one of the process: torch's setting is. Python code asks for it, the command line sets it once, a run
records it and goes on with it.
"""

from __future__ import annotations

import csv
import functools
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from tubelet.errors import ConfigError

KEY = "fast_fp32"  # in records
TABLE = "fast_fp32.csv"
TOLERANCE = 5e-6  # largest error of a product, relative to its largest value
_log = logging.getLogger("tubelet")


@dataclass(frozen=True, kw_only=True)
class FastFp32:
    """How fp32 matrix products are computed. Without arguments it is as torch does by itself."""

    onednn_matmul: bool = False  # every product of the process goes to oneDNN
    convolution_from: int | None = (
        None  # rows x the shorter side of the weight, from which layers convolve; None: never
    )

    def convolves(self, rows: int, inner: int, columns: int) -> bool:
        """Whether a layer computes ``rows x inner`` by ``inner x columns`` as a convolution."""
        return self.convolution_from is not None and rows * min(inner, columns) >= self.convolution_from

    def to_record(self) -> dict[str, Any]:
        """What stands in the record of a run."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any] | None) -> FastFp32:
        """None is the record of versions that knew torch's own products alone."""
        return cls(**(record or {}))


PLAIN = FastFp32()
_in_use = PLAIN


def fast_fp32_in_use() -> FastFp32:
    """How this process computes fp32 products now."""
    return _in_use


def use_fast_fp32(choice: FastFp32 | None = None) -> FastFp32:
    """Compute fp32 matrix products on the CPU in this way from now on, in every thread of this process.

    Results change in their last bits (by less than 5e-6 of the largest value). bf16, fp16, float64 and other devices
    are not touched. While oneDNN has all products, ``torch.get_float32_matmul_precision()`` raises. Call it before
    anything computes, and not from several threads.

    Args:
        choice: None means what was measured to be fast on this processor, which may be torch's own way;
            ``FastFp32()`` is torch's own way.

    Returns:
        What is in use now.

    Raises:
        ConfigError: ``choice`` has oneDNN take all products, which this processor does not compute in fp32.
    """
    global _in_use
    chosen = of_processor(processor()) if choice is None else choice
    if chosen.onednn_matmul and not _in_use.onednn_matmul:
        _set_onednn_matmul("bf16")
        error = _error_on_one_thread()
        if error > TOLERANCE:
            _set_onednn_matmul("none")
            if choice is not None:
                raise ConfigError(
                    f"oneDNN computes fp32 products with a relative error of {error:.0e} on this processor, more than "
                    f"{TOLERANCE:.0e}; use FastFp32(), or a processor without bf16 matrix units"
                )
            _log.info("fp32 products stay with torch's own: oneDNN's have a relative error of %.0e here", error)
            chosen = PLAIN
    elif _in_use.onednn_matmul and not chosen.onednn_matmul:
        _set_onednn_matmul("none")
    _in_use = chosen
    return chosen


def _set_onednn_matmul(precision: str) -> None:
    torch.backends.mkldnn.matmul.fp32_precision = precision  # type: ignore[attr-defined]  # the stubs lack it


def _error_on_one_thread() -> float:
    """Of small products, which other threads on a busy machine would hold up for seconds."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return product_error()
    finally:
        torch.set_num_threads(before)


def products_of_record(record: Path) -> dict[str, Any]:
    """Compute as the calls before that share a folder, and return the entry for their record.

    Args:
        record: a JSON file of plain values (``tubelet.session.shards.claim``). Where it is missing this call is the
            first, and what is in use stays.

    Raises:
        ConfigError: this processor does not compute as they did.
    """
    if record.is_file():
        try:
            there = json.loads(record.read_text(encoding="utf-8"))
        except ValueError:
            there = {}  # which ``claim`` refuses
        use_fast_fp32(FastFp32.from_record(there.get(KEY)))
    return {KEY: fast_fp32_in_use().to_record()}


@contextmanager
def fast_fp32(choice: FastFp32 | None = None) -> Iterator[FastFp32]:
    """``use_fast_fp32`` for a whole command or run, and afterwards as before. It holds for every thread."""
    before = fast_fp32_in_use()
    try:
        yield use_fast_fp32(choice)
    finally:
        use_fast_fp32(before)


@dataclass(frozen=True)
class Processor:
    """A processor as Linux names it in ``/proc/cpuinfo``; empty and 0 where that is not known."""

    vendor: str = ""
    family: int = 0
    model: int = 0


@functools.cache
def processor() -> Processor:
    """The processor of this machine."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return Processor()
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    family, model = (facts.get(name, "") for name in ("cpu family", "model"))
    if not (family.isdigit() and model.isdigit()):  # not x86
        return Processor()
    return Processor(facts.get("vendor_id", ""), int(family), int(model))


def of_processor(found: Processor) -> FastFp32:
    """The row of the table for a processor; torch's own products where it has none."""
    text = resources.files("tubelet.session").joinpath(TABLE).read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        first, last = map(int, row["models"].split("-"))
        if (row["vendor"], row["family"]) == (found.vendor, str(found.family)) and first <= found.model <= last:
            least = row["convolution_from"]
            return FastFp32(onednn_matmul=row["onednn_matmul"] == "yes", convolution_from=int(least) if least else None)
    return PLAIN


# What layers, their gradients and attention multiply: batch, rows, inner, columns.
_PRODUCTS = (
    (1, 1, 768, 400),
    (1, 9, 192, 768),
    (1, 197, 768, 256),
    (1, 640, 96, 96),
    (24, 33, 64, 33),
    (24, 33, 33, 64),
)
_ATTENTION = (2, 3, 129, 64)  # batch, heads, tokens, width of a head


def product_error() -> float:
    """The largest error of fp32 products as this process computes them now, relative to the largest value of each.

    Against float64, with fixed values: layers of few and many rows with their gradients, batches of small products,
    and attention with its gradients.
    """
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    with torch.inference_mode(mode=False), torch.enable_grad():
        for batch, rows, inner, columns in _PRODUCTS:
            left = torch.randn(batch, rows, inner, generator=generator)
            if batch == 1:
                worst = max(worst, _error(F.linear, left, torch.randn(columns, inner, generator=generator)))
            else:
                worst = max(worst, _error(torch.bmm, left, torch.randn(batch, inner, columns, generator=generator)))
        tokens = [torch.randn(_ATTENTION, generator=generator) for _ in range(3)]
        return max(worst, _error(F.scaled_dot_product_attention, *tokens))


def _error(function: Any, *inputs: torch.Tensor) -> float:
    """Of the result and of the gradients of all inputs."""
    single, double = _with_gradients(function, inputs), _with_gradients(function, [x.double() for x in inputs])
    return max(((a.double() - b).abs().max() / b.abs().max()).item() for a, b in zip(single, double, strict=True))


def _with_gradients(function: Any, inputs: Any) -> list[torch.Tensor]:
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    result = function(*leaves)
    weights = torch.linspace(-1, 1, result.numel(), dtype=result.dtype).view_as(result).cos()
    (result * weights).sum().backward()
    return [result.detach(), *(leaf.grad for leaf in leaves)]
