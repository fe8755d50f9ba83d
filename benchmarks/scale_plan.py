"""The tables of docs/scale.md, from what was measured (docs/results) and cited; change PLANS for a run of yours.

python benchmarks/scale_plan.py                         prints them
python benchmarks/scale_plan.py --write docs/scale.md   puts them in their place there
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from tubelet.evaluation.cost import count_macs
from tubelet.models import create_model
from tubelet.training.estimate import count_training_macs

ROOT = Path(__file__).parents[1]
PEAK = 989.4e12 / 2  # H100 SXM, dense bf16 multiply-adds per second: half the FLOPS of NVIDIA's data sheet
SHARES = (0.30, 0.45)  # of PEAK that training reaches: assumed, measured by benchmarks/training.py --device cuda
CORES_PER_GPU = 112 / 8  # DGX H100: two processors of 56 cores, eight GPUs (NVIDIA's data sheet)
SECONDS = 10  # length of a video
CLIP = (3, 32, 224, 224)
PATH_BYTES = 60  # of a row, as shards of `tubelet data prepare` with names like those of Kinetics have
# name: model, training videos, epochs, GPUs, test videos and views of each
PLANS = {
    "Kinetics-400": ("vivit_b16x2_fe", 214_834, 30, 8, 34_579, 12),
    "ten million": ("vivit_l16x2_fe", 10_000_000, 10, 64, 50_000, 12),
}


def measured(name: str) -> dict:
    return json.loads((ROOT / "docs" / "results" / f"{name}.json").read_text(encoding="utf-8"))


def table(heads: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [heads, ["---", *["---:"] * (len(heads) - 1)], *rows])


def reading_table(seconds: dict[str, float], megabytes: dict[str, float], clips_per_second: float) -> str:
    rows = []
    for name, what in (("raw720", "1280 x 720"), ("k340", "340 x 256"), ("prepared", "prepared")):
        needs, gives = f"{seconds[name] * clips_per_second:.1f}", f"{CORES_PER_GPU / seconds[name]:.0f}"
        rows.append([what, f"{megabytes[name]:.2f} MB", f"{1000 * seconds[name]:.0f} ms", needs, gives])
    heads = ["files", "a video", "core time of a clip", "cores to feed a GPU", f"clips/s of {CORES_PER_GPU:g} cores"]
    return table(heads, rows)


def plan_column(name: str, seconds: float, megabytes: dict[str, float], costs: dict[str, float]) -> list[str]:
    model_name, videos, epochs, gpus, tests, views = PLANS[name]
    with torch.device("meta"):
        model = create_model(model_name)
    macs, forward = count_training_macs(model, CLIP), count_macs(model, CLIP)
    hours = [videos * epochs * macs / PEAK / share / gpus / 3600 for share in SHARES]
    limit = videos * epochs * seconds / CORES_PER_GPU / gpus / 3600
    preparing = videos * SECONDS * costs["prepare_cpu_seconds_per_second"] / 3600
    row_bytes = 8 * (costs["bytes_per_row"] - costs["path_bytes_per_row"] + PATH_BYTES)  # the readers hold no rows
    return [
        f"{model_name}, {epochs} epochs, {videos:,} videos, {gpus} GPUs",
        f"{videos * megabytes['k340'] / 1e6:,.2f} TB",
        f"{videos * megabytes['prepared'] / 1e6:,.2f} TB",
        f"{preparing:,.0f}",
        f"{macs / 1e9:,.0f}",
        " to ".join(f"{share * PEAK / macs:,.0f}" for share in SHARES),
        " to ".join(f"{hour:,.1f}" for hour in reversed(hours)),
        f"{limit:,.1f}",
        f"{SHARES[1] * PEAK / macs * 8 * megabytes['prepared'] / 1e3:,.2f} GB/s",
        f"{tests * views * forward / PEAK / SHARES[0] / gpus / 60:,.1f}",
        f"{videos * row_bytes / 1e9:,.1f} GB",
    ]


def main() -> None:
    decode, augment = measured("decode"), measured("augment")["reading"]
    costs = measured("scale_costs") | measured("rows")["start"]
    added = augment["tubelet with hue"]["milliseconds_per_clip"] - augment["decode"]["milliseconds_per_clip"]
    reads = decode["best_peer_time_over_ours"]
    seconds = {name: (reads[f"{name} W1"]["tubelet_ms"] + added) / 1000 for name in ("raw720", "k340", "prepared")}
    megabytes = {name: value / decode["num_clips"] for name, value in decode["megabytes"].items()}
    with torch.device("meta"):
        clips_per_second = SHARES[1] * PEAK / count_training_macs(create_model("vivit_b16x2_fe"), CLIP)
    names = ["run", "storage at 340 x 256", "storage prepared", "core hours to prepare"]
    names += ["GMACs of a clip, with backward", "clips/s of a GPU", "hours of the GPUs", "hours if reading limits"]
    names += ["file bytes into 8 GPUs, at most", "minutes of the test", "manifest on a host of 8 GPUs"]
    columns = [plan_column(name, seconds["prepared"], megabytes, costs) for name in PLANS]
    plans = table(["", *PLANS], [list(row) for row in zip(names, *columns, strict=True)])
    tables = {"reading": reading_table(seconds, megabytes, clips_per_second), "plans": plans}
    if sys.argv[1:2] != ["--write"]:
        print("\n\n".join(tables.values()))
        return
    text = Path(sys.argv[2]).read_text(encoding="utf-8")
    for name, content in tables.items():
        before, _, rest = text.partition(f"<!-- {name} -->\n")
        text = f"{before}<!-- {name} -->\n{content}\n<!-- end -->{rest.partition('<!-- end -->')[2]}"
    Path(sys.argv[2]).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
