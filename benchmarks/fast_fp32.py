"""Which way of fp32 matrix products is fast on this processor, and what it is worth: the table of tubelet.session.

python benchmarks/fast_fp32.py                          products, models and training steps, about twenty minutes
python benchmarks/fast_fp32.py --parts products         what decides the row of the table, two minutes
python benchmarks/fast_fp32.py --threads 1 --repetitions 3 --parts models

Ways are ``FastFp32`` of ``tubelet.session.fast_fp32``: torch's own products, oneDNN for every product of the process,
layers as convolutions, and both. Every figure is how many times as fast as torch's own, the median over rounds in which
the ways take turns, in CPU time of the process. ``gflops`` are the best of a round.

A way is chosen where it is at least 1.1 times as fast: oneDNN over the geometric mean of layers and attention of many
rows, convolutions from the size on from which no layer is slower than that. The chosen row is printed, and belongs into
src/tubelet/session/fast_fp32.csv; a test compares the two.
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import partial
from importlib.metadata import version
from typing import Any, Literal

import torch
import torch.nn.functional as F
import tyro
from huggingface_vivit import huggingface_twin
from results import read_result, write_result
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from models import cpu_model
from tubelet.models import create_model, model_config
from tubelet.nn.linear import Linear
from tubelet.session.fast_fp32 import PLAIN, FastFp32, fast_fp32, processor, product_error

Part = Literal["products", "models", "training"]
WAYS = {
    "torch": PLAIN,
    "onednn": FastFp32(onednn_matmul=True),
    "convolution": FastFp32(convolution_from=0),
    "both": FastFp32(onednn_matmul=True, convolution_from=24576),
}
ENOUGH = 1.1  # times as fast
ROWS, WIDTHS = (8, 32, 64, 128, 512, 3137), (192, 384, 768)
TOLERANCE = 5e-6  # of logits and gradients, relative to the largest
MODELS = ("vivit_b16x2_joint", "vivit_b16x2_fe", "uniformerv2_b16", "timesformer_b16_divided", "vtn_vit_b16")
TRAINED = {  # name: frames, pixels, clips
    "vivit_s16x2_fe": (16, 112, 8),
    "vivit_b16x2_joint": (16, 112, 2),
    "uniformerv2_b16_ssv2": (8, 112, 2),
}
HUGGINGFACE = "VivitForVideoClassification"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure the ways of fp32 products."""

    parts: tuple[Part, ...] = ("products", "models", "training")  # what to measure
    threads: tuple[int, ...] = (1, 2)  # of models and training steps; products are measured on one
    models: tuple[str, ...] = MODELS  # of the part models
    num_frames: int | None = None  # of the clips of that part; by default those of the model
    repetitions: int = 3  # counted rounds
    write: bool = False  # into docs/results; else into runs/results


def in_turn(runs: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, list[float]]:
    """CPU seconds of each, after one round that is not counted. A run sets its own way and takes it back."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for round_number in range(repetitions + 1):
        for name, run in runs.items():
            began = time.process_time()
            run()
            if round_number:
                seconds[name].append(time.process_time() - began)
    return seconds


def times_as_fast(seconds: Mapping[str, list[float]], name: str, other: str = "torch") -> float:
    return round(statistics.median(a / b for a, b in zip(seconds[other], seconds[name], strict=True)), 3)


def by_way(call: Callable[[], object], names: tuple[str, ...], number: int = 1) -> dict[str, Callable[[], object]]:
    """The call, so many times, in each of these ways."""

    def run(choice: FastFp32) -> None:
        torch.backends.mkldnn.matmul.fp32_precision = "bf16" if choice.onednn_matmul else "none"  # type: ignore[attr-defined]
        with fast_fp32(FastFp32(convolution_from=choice.convolution_from)):
            for _ in range(number):
                call()
        torch.backends.mkldnn.matmul.fp32_precision = "none"  # type: ignore[attr-defined]

    return {name: lambda choice=WAYS[name]: run(choice) for name in names}  # type: ignore[misc]


def layer_product(rows: int, width: int, trains: bool) -> tuple[Callable[[], object], int]:
    """A layer from D to 4 D over so many rows, and its multiply-adds."""
    layer, x = Linear(width, 4 * width), torch.randn(rows, width, requires_grad=trains)
    macs = rows * width * 4 * width
    if not trains:
        return lambda: _infer(layer, x), macs
    gradient = torch.randn(rows, 4 * width)
    return lambda: layer(x).backward(gradient), 3 * macs


@torch.no_grad()
def _infer(layer: nn.Module, x: Tensor) -> Tensor:
    result: Tensor = layer(x)
    return result


def attention(trains: bool) -> tuple[Callable[[], object], int]:
    q, k, v = (torch.randn(1, 12, 1569, 64, requires_grad=trains) for _ in range(3))
    macs = 2 * 12 * 1569**2 * 64
    if trains:
        return lambda: F.scaled_dot_product_attention(q, k, v).sum().backward(), macs * 7 // 2
    return lambda: F.scaled_dot_product_attention(q, k, v), macs


def measure_products(repetitions: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    rows: dict[str, Any] = {}
    for trains in (False, True):
        for width in WIDTHS:
            for count in ROWS:
                call, macs = layer_product(count, width, trains)
                ways = ("torch", "onednn", "convolution")
                name = f"layer {count}x{width}x{4 * width}{', with gradients' if trains else ''}"
                rows[name] = _row(call, macs, ways, repetitions)
        call, macs = attention(trains)
        rows[f"attention{', with gradients' if trains else ''}"] = _row(call, macs, ("torch", "onednn"), repetitions)
    left, right = torch.randn(96, 197, 64), torch.randn(96, 64, 197)
    rows["batch of 96 products 197x64x197"] = _row(
        lambda: torch.bmm(left, right), 96 * 197 * 64 * 197, ("torch", "onednn"), repetitions
    )
    return {"choice": chosen(rows).to_record(), "rows": rows}


def _row(call: Callable[[], object], macs: int, ways: tuple[str, ...], repetitions: int) -> dict[str, Any]:
    number = max(1, math.ceil(5e8 / macs))  # about a hundredth of a second
    seconds = in_turn(by_way(call, ways, number), repetitions)
    row: dict[str, Any] = {"gflops": round(2e-9 * macs * number / min(seconds["torch"]), 1)}
    return row | {way: times_as_fast(seconds, way) for way in ways[1:]}


def chosen(rows: Mapping[str, Mapping[str, Any]]) -> FastFp32:
    """The row of the table: see above."""
    large = [row["onednn"] for name, row in rows.items() if name.startswith((f"layer {ROWS[-1]}", "attention"))]
    takes_onednn = statistics.geometric_mean(large) >= ENOUGH and _onednn_is_fp32()
    sizes = {}
    for width in WIDTHS:
        for count in ROWS:
            both = [row for name, row in rows.items() if name.startswith(f"layer {count}x{width}x")]
            least = min(row["convolution"] for row in both)
            sizes[count * width] = min(least, sizes.get(count * width, least))
    start = None
    for size in sorted(sizes, reverse=True):
        if sizes[size] < ENOUGH:
            break
        start = size
    return FastFp32(onednn_matmul=takes_onednn, convolution_from=start)


def _onednn_is_fp32() -> bool:
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"  # type: ignore[attr-defined]
    error = product_error()
    torch.backends.mkldnn.matmul.fp32_precision = "none"  # type: ignore[attr-defined]
    return error <= TOLERANCE


def made(name: str, **fields: Any) -> nn.Module:
    """A model whose every part counts: some start at zero."""
    torch.manual_seed(0)
    model = create_model(name, **fields)
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return model


def measure_model(name: str, repetitions: int, num_frames: int | None) -> dict[str, Any]:
    """Inference of one clip; the largest difference of logits, relative to the largest."""
    fields = {} if num_frames is None else {"num_frames": num_frames}
    config, model = model_config(name, fields), made(name, **fields).eval()
    clip = torch.randn(1, config.in_channels, config.num_frames, *config.image_size)
    runs = by_way(lambda: model(clip), ("torch", "onednn", "both"))
    if name == "vivit_b16x2_joint":
        twin, turned = huggingface_twin(model), clip.transpose(1, 2).contiguous()
        runs[HUGGINGFACE] = lambda: twin(turned).logits
    with torch.inference_mode():
        seconds = in_turn(runs, repetitions)
        plain = model(clip)
        with fast_fp32(WAYS["both"]):
            difference = ((model(clip) - plain).abs().max() / plain.abs().max()).item()
    result: dict[str, Any] = {
        "clip": "x".join(map(str, clip.shape)),
        "cpu_seconds_of_torch": round(statistics.median(seconds["torch"]), 3),
        **{way: times_as_fast(seconds, way) for way in ("onednn", "both")},
        "largest_relative_difference": float(f"{difference:.1e}"),
    }
    if HUGGINGFACE in seconds:
        result |= {f"{way}_over_huggingface": times_as_fast(seconds, way, HUGGINGFACE) for way in ("torch", "both")}
    return result


def measure_step(name: str, repetitions: int) -> dict[str, Any]:
    """Forward and backward without an optimizer; the largest difference of a gradient, relative to the largest."""
    frames, pixels, clips = TRAINED[name]
    model = made(name, num_classes=8, num_frames=frames, image_size=(pixels, pixels)).eval()  # no dropout
    clip, target = torch.randn(clips, 3, frames, pixels, pixels), torch.zeros(clips, dtype=torch.long)

    def step() -> None:
        model.zero_grad()
        F.cross_entropy(model(clip), target).backward()

    seconds = in_turn(by_way(step, ("torch", "onednn", "both")), repetitions)
    step()
    plain = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    with fast_fp32(WAYS["both"]):
        step()
    fast = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return {
        "clips": "x".join(map(str, clip.shape)),
        "cpu_seconds_of_torch": round(statistics.median(seconds["torch"]), 3),
        **{way: times_as_fast(seconds, way) for way in ("onednn", "both")},
        "largest_relative_difference": float(f"{((fast - plain).abs().max() / plain.abs().max()).item():.1e}"),
    }


def main(options: Options) -> None:
    torch.manual_seed(0)
    found, name = processor(), cpu_model()
    key = f"{found.vendor}/{found.family}/{found.model}"
    content = read_result("fast_fp32", write=options.write)
    result: dict[str, Any] = content.get("processors", {}).get(key, {})
    result |= {
        "cpu": f"{name}, family {found.family}, model {found.model}, {torch.backends.cpu.get_cpu_capability()}",
        "date": date.today().isoformat(),
        "versions": {name: version(name) for name in ("torch", "transformers")},
        "cores": os.cpu_count(),
    }
    if "products" in options.parts:
        result |= measure_products(options.repetitions)
        _save(content, key, result, options)
    for threads in options.threads:
        torch.set_num_threads(threads)
        infer = partial(measure_model, num_frames=options.num_frames)
        parts = {"models": (options.models, infer), "training": (tuple(TRAINED), measure_step)}
        for part, (names, measure) in parts.items():
            for each in names if part in options.parts else ():
                rows = result.setdefault(part, {}).setdefault(f"{threads} threads", {})
                rows[each] = measure(each, options.repetitions) | {"load_average": round(os.getloadavg()[0], 1)}
                print(part, threads, each, rows[each], flush=True)
                _save(content, key, result, options)
    if "products" in options.parts:
        print_products(result)


def _save(content: dict[str, Any], key: str, result: dict[str, Any], options: Options) -> None:
    told = {"command": "python benchmarks/fast_fp32.py"}
    write_result("fast_fp32", told | {"processors": content.get("processors", {}) | {key: result}}, write=options.write)


def print_products(result: dict[str, Any]) -> None:
    table = Table(title=f"{result['cpu']}: times as fast as torch's own products")
    for column in ("product", "GFLOP/s of torch", "onednn", "convolution"):
        table.add_column(column, justify="left" if column == "product" else "right")
    for name, row in result["rows"].items():
        table.add_row(name, *(str(row.get(column, "")) for column in ("gflops", "onednn", "convolution")))
    Console().print(table)
    print(f"choice: {result['choice']}")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
