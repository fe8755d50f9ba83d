#!/bin/bash
# Eight jobs of a Slurm array share the files of one folder: `sbatch examples/cluster/slurm_array.sh`.
#
# All jobs see RUN, FOOTAGE and OUT on a shared file system. A job that is killed or requeued goes on with what is
# missing, `sbatch --array=3` does one part again, and the job that ends last joins all parts. The same line works for
# `evaluate`, `features`, `moments`, `data scan` and `data prepare`: give each the option --shard below.
#SBATCH --job-name=tubelet-predict
#SBATCH --array=1-8
#SBATCH --cpus-per-task=4
#SBATCH --mem=16G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --output=%x-%A-%a.log
set -euo pipefail

PARTS=8 # the end of --array; Slurm's own count is another one where a single part is submitted again
RUN="${RUN:-runs/first/best}"
FOOTAGE="${FOOTAGE:-footage}"
OUT="${OUT:-predictions}"

# One thread per process gives the same bits on every machine; processes that decode use the other processors.
export OMP_NUM_THREADS=1
exec tubelet predict "$RUN" "$FOOTAGE" --out "$OUT" --num-workers 3 --shard "${SLURM_ARRAY_TASK_ID}/${PARTS}"
