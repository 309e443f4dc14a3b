#!/bin/bash
# One run on two nodes of four GPUs: a process for each GPU, as JAX expects under SLURM.
#
#     sbatch examples/launch/slurm.sh
#
# It has not been run on a real cluster. Before the first run: set the sizes below, the partition and account that
# your cluster wants, and RUNS, a folder that all nodes see under the same path.
#SBATCH --job-name=s5rl
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=TERM@120
# gpus-per-node: each process must see all GPUs of its node, and takes the one of its local number; with
#     --gpus-per-task it would look for a GPU that it cannot see.
# requeue: after preemption, or when a node fails, SLURM starts this job again; it goes on in the same folder.
# signal: 120 seconds before the time is up, all processes get SIGTERM: they save at the same step and end.

set -u
RUNS="${RUNS:-$HOME/runs}"
STOPPED=130 # exit status of a run that was asked to stop, and has saved

# wait: when one process has ended, in whatever way, the others have a minute to end too.
srun --wait=60 \
    s5rl train popgym/RepeatPreviousHard --preset popgym --num-steps 15e6 \
    --directory "$RUNS/repeat_previous_hard" --distributed
status=$?

# What stopped because its time was up is not done: queue it again. What failed is left for somebody to look at.
if [ "$status" -eq "$STOPPED" ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
