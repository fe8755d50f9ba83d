"""How far the memory estimate of `tubelet train --dry-run` is from what a process really takes, on the CPU.

python benchmarks/training_memory.py    some minutes on one thread, --write puts the result into docs/results

Each model makes two AdamW steps in float32 in a process of its own; the growth of its peak resident memory over what
imports and the estimate took stands against the estimate. It does so twice:

    held     the C library gives every freed block back at once, so that the process has what is in use
    process  it keeps freed blocks for itself, as in training (``tubelet.session.device``): blocks that fit nothing
             else stay, and with gradient checkpointing, where blocks of every size come and go, they are as many again
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import date

import torch
from results import write_result

from tubelet.evaluation.cost import peak_memory_bytes
from tubelet.models import create_model
from tubelet.session.device import keep_freed_memory
from tubelet.training.estimate import estimate_memory
from tubelet.training.gradient_checkpointing import checkpoint_blocks
from tubelet.training.optim.config import OptimizerConfig
from tubelet.training.optim.optimizer import make_optimizer

CPU = torch.device("cpu")
_GIVES_BACK = "MALLOC_MMAP_THRESHOLD_"  # of glibc


@dataclass(frozen=True)
class Case:
    model: str
    frames: int
    side: int  # pixels
    batch: int  # clips
    gradient_checkpointing: bool = False


CASES = (
    Case("vivit_s16x2_fe", 16, 112, 8),
    Case("vivit_s16x2_joint", 16, 112, 8),
    Case("timesformer_b16_divided", 8, 112, 4),
    Case("vtn_deit_ti16", 8, 112, 8),
    Case("vivit_s16x2_joint", 16, 112, 8, gradient_checkpointing=True),
    Case("timesformer_b16_divided", 8, 112, 4, gradient_checkpointing=True),
)


def measure(case: Case, *, keeps_freed: bool) -> dict[str, float]:
    """GiB estimated and taken."""
    torch.set_num_threads(1)
    if keeps_freed:
        keep_freed_memory()
    options = {"num_frames": case.frames, "image_size": [case.side, case.side]}
    clip, optim = (3, case.frames, case.side, case.side), OptimizerConfig()
    with torch.device("meta"):
        model = create_model(case.model, **options)
    estimate = estimate_memory(
        model.train(),
        clip,
        batch_size=case.batch,
        accumulation=1,
        precision="fp32",
        optim=optim,
        device=CPU,
        gradient_checkpointing=case.gradient_checkpointing,
    )
    before = peak_memory_bytes(CPU) or 0
    model = create_model(case.model, **options).train()
    if case.gradient_checkpointing:
        checkpoint_blocks(model)
    optimizer = make_optimizer(model, optim)
    for _ in range(2):
        optimizer.zero_grad()
        clips = torch.randn(case.batch, *clip)
        logits = model(clips)  # kept until the next step has others, as in the training loop
        loss = logits.square().sum()
        loss.backward()
        optimizer.step()
    taken = (peak_memory_bytes(CPU) or 0) - before
    how = "process" if keeps_freed else "held"
    return {
        "estimate_gib": round(estimate.total / 2**30, 3),
        f"{how}_gib": round(taken / 2**30, 3),
        f"{how}_over_estimate": round(taken / estimate.total, 2),
    }


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1] != "--write":  # one case, in its own process
        print(json.dumps(measure(CASES[int(sys.argv[1])], keeps_freed=_GIVES_BACK not in os.environ)))
        return
    rows = []
    for number, case in enumerate(CASES):
        row = asdict(case)
        for more in ({_GIVES_BACK: "65536"}, {}):  # blocks of so many bytes and more
            command, environment = [sys.executable, __file__, str(number)], os.environ | more
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
            row |= json.loads(done.stdout)
        rows.append(row)
        print(rows[-1])
    content = {"command": "python benchmarks/training_memory.py", "date": date.today().isoformat()}
    content |= {"torch": torch.__version__}
    write_result("training_memory", {**content, "rows": rows}, write=sys.argv[1:] == ["--write"])


if __name__ == "__main__":
    main()
