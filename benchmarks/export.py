"""Exported files against eager torch and transformers' OpenVINO exporter: speed of one clip, loading, peak memory.

    python benchmarks/export.py --write                all models that the result lacks, one after the other
    python benchmarks/export.py --models vivit_ti16x2_joint --threads 1 2 --again
    python benchmarks/export.py --clips FOLDER         int8 is calibrated on these videos, else on two random clips

One clip at the model's own size, random weights, runs interleaved. A *speedup* says how many times as fast a file is
as eager fp32: by CPU time with one thread, on the clock with more. A model is written to the result when it is done,
and left out of the next call. Files are written without the proof, which takes longer than what is measured: the logits
are compared on the clip that is timed. Loading is ``tubelet.load`` up to the first logits, digest of the weights
included, and peak memory that of a process of its own that does so. Where the processor has no bf16, OpenVINO computes
a file in bf16 in fp32.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from relative import Runs, measure_interleaved, speedup
from results import read_result, write_result
from torch import Tensor, nn

from tubelet.data.layouts.find_files import find_files
from tubelet.export.calibration import calibration_inputs
from tubelet.export.config import SUFFIXES, ExportConfig
from tubelet.export.taken_clips import example_inputs, taken_clips
from tubelet.export.writers import WRITERS, Job
from tubelet.models import create_model, model_config
from tubelet.protocol import Protocol
from tubelet.weights.checkpoint.checkpoint import Record
from tubelet.weights.exported.open import open_exported
from tubelet.weights.exported.openvino_file import read_model, run_openvino
from tubelet.weights.exported.record import ExportRecord, Proof

MODELS = (
    *("vivit_b16x2_fe", "timesformer_b16_divided", "videomae_b16", "uniformerv2_b16", "vtn_vit_b16"),
    "vivit_b16x2_joint",
)
FILES = (("onnx", "fp32"), ("openvino", "fp32"), ("openvino", "bf16"), ("openvino", "int8"))
EAGER, PEER = "eager fp32", "transformers openvino fp32"


def main() -> None:
    options = parse()
    torch.set_num_threads(1)
    if options.load is not None:
        print(json.dumps(load_alone(*options.load)))
        return
    for name in options.models:
        found = read_result("export", write=options.write)
        if name in found.get("models", {}) and not options.again:
            print(f"{name}: measured before; --again measures it anew", file=sys.stderr)
            continue
        measured = {"date": time.strftime("%Y-%m-%d"), "load_before": round(os.getloadavg()[0], 1)}
        measured |= measure(name, options)
        result = {
            "command": "python benchmarks/export.py --write",
            "processor": processor(),
            "versions": {n: version(n) for n in ("torch", "onnxruntime", "openvino", "nncf", "transformers")},
            "models": {**found.get("models", {}), name: measured},
        }
        print(json.dumps(measured, indent=2))
        write_result("export", result, write=options.write)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="each is measured on its own")
    parser.add_argument("--files", nargs="+", default=[" ".join(file) for file in FILES], help="such as 'onnx fp32'")
    parser.add_argument("--clips", nargs="+", default=[], help="videos to calibrate int8 on")
    parser.add_argument("--again", action="store_true", help="measure models that the result has, too")
    parser.add_argument("--load", nargs=2, metavar=("FILE", "SHAPE"), help="used by this script itself")
    parser.add_argument("--write", action="store_true")
    return parser.parse_args()


@dataclass(frozen=True, kw_only=True)
class Contest:
    """A model, the clip that it sees, and its files in a folder."""

    name: str
    model: nn.Module
    protocol: Protocol
    inputs: tuple[Tensor, ...]  # the clip [1, C, T, H, W], and frame numbers where the model takes them
    folder: Path

    def path(self, label: str) -> Path:
        form, precision = label.split()
        return self.folder / f"{form}_{precision}{SUFFIXES[form]}"  # type: ignore[index]

    def write(self, label: str, clips: Sequence[str]) -> None:
        """Write a file with its metadata, but without a proof."""
        form, precision = label.split()
        config = ExportConfig(format=form, precision=precision)  # type: ignore[arg-type]
        taken = taken_clips(self.model, self.name, self.protocol, config)
        samples = [tuple(torch.randn_like(x) if x.is_floating_point() else x for x in self.inputs) for _ in range(2)]
        random = [tuple(each.numpy() for each in sample) for sample in samples]
        calibrated = calibration_inputs(self.model, self.protocol, find_files(clips)) if clips else lambda: random
        job = Job(model=self.model, name=self.name, taken=taken, config=config, inputs=calibrated)
        proof = Proof(reference="", runtime="", tolerance=None, cases=())
        record = Record(model_name=self.name, model_config=asdict(self.model.config), protocol=self.protocol)  # type: ignore[call-overload]
        writer = WRITERS[config.format]
        writer.write(job, self.path(label))
        exported = ExportRecord(record=record, license=None, precision=config.precision, clips=taken, proof=proof)
        writer.add_metadata(self.path(label), exported)


def contest(name: str, folder: Path) -> Contest:
    torch.manual_seed(0)
    model = create_model(name).eval()
    for parameter in model.parameters():  # a head that starts at zero would hide a wrong graph
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    config = model_config(name)
    size = tuple(config.image_size)
    labels = {"label": tuple(str(i) for i in range(config.num_classes))}
    protocol = Protocol(
        num_frames=config.num_frames,
        crop_size=size,
        resize_short_side=max(size),
        num_temporal_views=1,
        num_spatial_crops=1,
        labels=labels,
    )
    _, *rest = example_inputs(model, (1, 3, config.num_frames, *size))
    clip = torch.randn(1, 3, config.num_frames, *size)
    return Contest(name=name, model=model, protocol=protocol, inputs=(clip, *rest), folder=folder)


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One model, eager, in every file and in the peer's."""
    from export_peers import peer  # imports transformers, which measuring the loading of a file must not

    with tempfile.TemporaryDirectory() as folder:
        ours = contest(name, Path(folder))
        for label in options.files:
            ours.write(label, options.clips)
        found: dict[str, Any] = {"clip": list(ours.inputs[0].shape), "threads": {}}
        for threads in options.threads:
            torch.set_num_threads(threads)
            contestants = {EAGER: lambda: ours.model(*ours.inputs)}
            contestants |= {label: scoring(ours, label) for label in options.files}
            if (other := peer(name, ours.model, ours.inputs[0], ours.folder)) is not None:
                contestants[PEER] = other
            found["threads"][str(threads)] = measure_threads(contestants, options.repetitions, threads)
            del contestants, other
        torch.set_num_threads(1)
        shape = "x".join(map(str, ours.inputs[0].shape))
        found["loading"] = {label: loading(ours.path(label), shape) for label in options.files}
        if (ours.folder / "peer.xml").exists():
            b, c, t, h, w = ours.inputs[0].shape
            found["loading"][PEER] = loading(ours.folder / "peer.xml", f"{b}x{t}x{c}x{h}x{w}")
    return found


def scoring(ours: Contest, label: str) -> Callable[[], Tensor]:
    file = open_exported(ours.path(label))
    return lambda: file(*ours.inputs)  # type: ignore[no-any-return]


@torch.inference_mode()
def measure_threads(contestants: dict[str, Callable[[], Any]], repetitions: int, threads: int) -> dict[str, Any]:
    logits = contestants[EAGER]()
    clock = time.process_time if threads == 1 else time.perf_counter
    runs = measure_interleaved(contestants, repetitions, clock)
    rows = {}
    for label, run in contestants.items():
        own = torch.as_tensor(run())
        rows[label] = {
            "speedup": round(speedup(runs[label], runs[EAGER]), 2),
            "seconds": round(min(runs[label].seconds), 2),
            "difference": float((own - logits).abs().max() / logits.abs().max()),
        }
    return {"clock": clock.__name__, "contestants": rows, **comparisons(runs)}


def comparisons(runs: dict[str, Runs]) -> dict[str, float]:
    """Our files with each other, and with the peer's."""
    found, fp32 = {}, runs.get("openvino fp32")
    for label in ("openvino bf16", "openvino int8"):
        if fp32 is not None and label in runs:
            found[f"{label} over openvino fp32"] = round(speedup(runs[label], fp32), 2)
    if fp32 is not None and PEER in runs:
        found["openvino fp32 over the peer's"] = round(speedup(fp32, runs[PEER]), 2)
    return found


def loading(path: Path, shape: str) -> dict[str, float]:
    """Seconds until the file is ready, until the first logits, and peak memory, in a process of its own."""
    command = [sys.executable, __file__, "--load", str(path), shape]
    found: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found


def load_alone(file: str, shape: str) -> dict[str, float]:
    path, clip = Path(file), torch.zeros([int(n) for n in shape.split("x")])
    start, cpu = time.perf_counter(), time.process_time()
    if path.name == "peer.xml":
        run = run_openvino(read_model(path), path, "fp32")
    else:
        exported = open_exported(path)
    loaded = {"load_seconds": time.perf_counter() - start, "load_cpu_seconds": time.process_time() - cpu}
    if path.name == "peer.xml":
        run([clip.numpy()])
    else:
        exported(clip)
    # Not ru_maxrss, which begins with the peak of the process that started this one.
    status = Path("/proc/self/status").read_text()
    peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
    return {**{key: round(value, 2) for key, value in loaded.items()}, "peak_memory_mb": round(peak)}


def processor() -> str:
    """The processor and those of its instruction sets that matter here."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = next((line.split(":")[1].strip() for line in text.splitlines() if "model name" in line), platform.machine())
    known = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
    return f"{name} ({', '.join(flag for flag in known if flag in text)})"


if __name__ == "__main__":
    main()
