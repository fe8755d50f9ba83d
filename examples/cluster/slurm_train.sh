#!/bin/bash
# One training run on two machines with four GPUs each: `sbatch examples/cluster/slurm_train.sh`.
#
# docs/cluster.md says what of this was run. The run folder lies on a file system that both machines see; the same job
# goes on from the last state after an interruption.
#SBATCH --job-name=tubelet-train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --output=%x-%j.log
set -euo pipefail

RECIPE="${RECIPE:-my_recipe.yaml}"
OUT="${OUT:-runs/large}"
HOST="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)"

TRAIN=("$RECIPE" --out "$OUT")
if [ -d "$OUT" ]; then
  TRAIN=(--resume "$OUT" --take-over) # run.lock names the machine of process 0, which may be another one now
fi

export OMP_NUM_THREADS=1
srun torchrun --nnodes "$SLURM_JOB_NUM_NODES" --nproc-per-node 4 --max-restarts 3 \
  --rdzv-backend c10d --rdzv-id "$SLURM_JOB_ID" --rdzv-endpoint "$HOST:29500" \
  -m tubelet train "${TRAIN[@]}"
