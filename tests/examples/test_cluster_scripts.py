"""The scripts for clusters parse, give every part once, and their commands are ones that tubelet knows."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

CLUSTER = Path(__file__).parents[2] / "examples" / "cluster"


def printed_by(script: str, folder: Path, **variables: str) -> str:
    """What a script would start, run with commands that print their words in place of the real ones."""
    for name in ("tubelet", "srun"):
        (folder / name).write_text(f'#!/bin/bash\necho {name} "$@"\n')
        (folder / name).chmod(0o755)
    (folder / "scontrol").write_text("#!/bin/bash\nprintf 'node1\\nnode2\\n'\n")
    (folder / "scontrol").chmod(0o755)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", **variables}
    command = ["bash", "-c", script]
    return subprocess.run(command, env=environment, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("name", ["slurm_array.sh", "slurm_train.sh"])
def test_scripts_parse(name: str) -> None:
    subprocess.run(["bash", "-n", CLUSTER / name], check=True)


def test_a_slurm_array_does_every_part_once(tmp_path: Path) -> None:
    text = (CLUSTER / "slurm_array.sh").read_text()
    found = re.search(r"#SBATCH --array=1-(\d+)", text)
    assert found is not None
    count = int(found[1])
    jobs = [printed_by(text, tmp_path, SLURM_ARRAY_TASK_ID=str(number)) for number in range(1, count + 1)]
    assert [job.split("--shard ")[1].strip() for job in jobs] == [f"{i}/{count}" for i in range(1, count + 1)]
    assert jobs[0].startswith("tubelet predict runs/first/best footage --out predictions")


def test_an_indexed_job_does_every_part_once(tmp_path: Path) -> None:
    job = yaml.safe_load((CLUSTER / "kubernetes_job.yaml").read_text())
    assert (job["apiVersion"], job["kind"], job["spec"]["completionMode"]) == ("batch/v1", "Job", "Indexed")
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    variables, count = {entry["name"]: entry["value"] for entry in container["env"]}, job["spec"]["completions"]
    pods = [printed_by(container["args"][0], tmp_path, JOB_COMPLETION_INDEX=str(i), **variables) for i in range(count)]
    assert [text.split("--shard ")[1].strip() for text in pods] == [f"{i}/{count}" for i in range(1, count + 1)]


def test_a_training_job_begins_and_then_goes_on(tmp_path: Path) -> None:
    text = (CLUSTER / "slurm_train.sh").read_text()
    variables = {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_ID": "7"}
    first = printed_by(text, tmp_path, **variables)
    assert "--nnodes 2 --nproc-per-node 4" in first
    assert "--rdzv-endpoint node1:29500" in first
    assert first.strip().endswith("-m tubelet train my_recipe.yaml --out runs/large")
    (tmp_path / "runs/large").mkdir(parents=True)
    assert printed_by(text, tmp_path, **variables).strip().endswith("train --resume runs/large --take-over")
