"""Exported files against eager torch: how fast a clip is scored, how long a file takes to load, and its memory.

    python benchmarks/export.py                                   all models; --write: into docs/results
    python benchmarks/export.py --models vivit_ti16x2_fe --repetitions 5
    python benchmarks/export.py --clips FOLDER                    int8 too, calibrated on these videos

One clip at the model's own size, random weights, one thread, runs interleaved. A *speedup* says how many times as fast
a file is as eager fp32, by CPU time. Files are written without the proof, which takes longer than what is measured:
the logits are compared on the clip that is timed. Loading is the time on the clock from a file to its first logits,
and peak memory that of a process of its own that does so.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from relative import Runs, measure_interleaved, speedup
from results import write_result
from torch import Tensor, nn

from tubelet.data.layouts.find_files import find_files
from tubelet.export.calibration import calibration_inputs
from tubelet.export.config import SUFFIXES, ExportConfig
from tubelet.export.taken_clips import example_inputs, taken_clips
from tubelet.export.writers import WRITERS, Job
from tubelet.models import create_model, model_config
from tubelet.protocol import Protocol
from tubelet.weights.exported.module import Run
from tubelet.weights.exported.onnx_file import run_onnx
from tubelet.weights.exported.openvino_file import read_model, run_openvino

MODELS = (
    *("vivit_b16x2_joint", "vivit_b16x2_fe", "timesformer_b16_divided", "videomae_b16"),
    *("uniformerv2_b16", "vtn_vit_b16"),
)
FILES: tuple[tuple[str, str], ...] = (
    ("onnx", "fp32"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
)


def main() -> None:
    options = parse()
    torch.set_num_threads(1)
    if options.load is not None:
        print(json.dumps(load_alone(*options.load)))
        return
    result = {
        "command": " ".join(["python", *sys.argv]),
        "date": time.strftime("%Y-%m-%d"),
        "processor": processor(),
        "versions": {name: version(name) for name in ("torch", "onnxruntime", "openvino", "nncf")},
        "models": {name: measure(name, options) for name in options.models},
    }
    print(json.dumps(result, indent=2))
    write_result("export", result, write=options.write)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--clips", nargs="+", default=[])
    parser.add_argument("--load", nargs=3, metavar=("FILE", "PRECISION", "SHAPE"), help="used by this script itself")
    parser.add_argument("--write", action="store_true")
    return parser.parse_args()


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One model, eager and in every file."""
    torch.manual_seed(0)
    model = create_model(name).eval()
    for parameter in model.parameters():  # a head that starts at zero would hide a wrong graph
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    config = model_config(name)
    size = tuple(config.image_size)
    protocol = Protocol(num_frames=config.num_frames, crop_size=size, resize_short_side=max(size), num_spatial_crops=1)
    _, *rest = example_inputs(model, (1, 3, config.num_frames, *size))
    inputs = (torch.randn(1, 3, config.num_frames, *size), *rest)
    found: dict[str, Any] = {"clip": list(inputs[0].shape), "files": {}}
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        runs, contestants = {}, {"eager fp32": lambda: model(*inputs)}
        for form, precision in FILES:
            if precision == "int8" and not options.clips:
                continue
            label, path = f"{form} {precision}", Path(folder) / f"{form}_{precision}{SUFFIXES[form]}"
            runs[label] = written(model, name, protocol, form, precision, path, options.clips)
            contestants[label] = timed(runs[label], inputs)
        logits = model(*inputs)
        measured = measure_interleaved(contestants, options.repetitions)
        for label, run in runs.items():
            own = torch.from_numpy(run([each.numpy() for each in inputs]))
            precision, form = label.split()[1], label.split()[0]
            path = Path(folder) / f"{form}_{precision}{SUFFIXES[form]}"
            found["files"][label] = {
                "speedup": round(speedup(measured[label], measured["eager fp32"]), 2),
                "difference": float((own - logits).abs().max() / logits.abs().max()),
                **loading(path, precision, inputs),
            }
    found["speedup_over_fp32_file"] = over_fp32(measured)
    return found


def over_fp32(measured: dict[str, Runs]) -> dict[str, float]:
    fp32 = measured["openvino fp32"]
    return {
        label: round(speedup(runs, fp32), 2)
        for label, runs in measured.items()
        if label in ("openvino bf16", "openvino int8")
    }


def written(
    model: nn.Module, name: str, protocol: Protocol, form: str, precision: str, path: Path, clips: list[str]
) -> Run:
    """Write a file, and return what runs it."""
    config = ExportConfig(format=form, precision=precision)  # type: ignore[arg-type]
    job = Job(
        model=model,
        name=name,
        taken=taken_clips(model, name, protocol, config),
        config=config,
        inputs=calibration_inputs(model, protocol, find_files(clips) if clips else []),
    )
    with torch.inference_mode(mode=False):
        return WRITERS[config.format].write(job, path)[1]


def timed(run: Run, inputs: tuple[Tensor, ...]) -> Callable[[], object]:
    arrays = [each.numpy() for each in inputs]
    return lambda: run(arrays)


def loading(path: Path, precision: str, inputs: tuple[Tensor, ...]) -> dict[str, float]:
    """Seconds to the first logits and peak memory, in a process of its own."""
    shape = "x".join(map(str, inputs[0].shape))
    command = [sys.executable, __file__, "--load", str(path), precision, shape]
    found: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found


def load_alone(file: str, precision: str, shape: str) -> dict[str, float]:
    path, start = Path(file), time.perf_counter()
    run = run_onnx(path) if path.suffix == ".onnx" else run_openvino(read_model(path), path, precision)  # type: ignore[arg-type]
    loaded = time.perf_counter() - start
    clip = torch.zeros([int(n) for n in shape.split("x")])
    numbers = torch.arange(clip.shape[2])[None]
    try:
        run([clip.numpy()])
    except ValueError:  # a file that takes frame numbers
        run([clip.numpy(), numbers.numpy()])
    # Not ru_maxrss, which begins with the peak of the process that started this one.
    status = Path("/proc/self/status").read_text()
    peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
    return {"load_seconds": round(loaded, 2), "peak_memory_mb": round(peak)}


def processor() -> str:
    """The processor and those of its instruction sets that matter here."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = next((line.split(":")[1].strip() for line in text.splitlines() if "model name" in line), platform.machine())
    known = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
    return f"{name} ({', '.join(flag for flag in known if flag in text)})"


if __name__ == "__main__":
    main()
