#!/bin/bash
# Training on a cluster with Slurm, started again until it is done:
#
#   sbatch --nodes=4 --ntasks-per-node=8 --gpus-per-node=8 launch/slurm.sh RUN --config=configs/pretrain.py \
#       --config.data.shards='("SHARDS",)'
#
# Give it in the folder of the clone, with the Python of the training first in PATH; RUN and SHARDS are folders that all
# nodes see.  Options of sbatch stand before the script, flags of train.py behind RUN.
#
# A task is a process.  Take one for each GPU and no --gpus-per-task: JAX gives the tasks of a node the first, the
# second, ... of the GPUs that it sees.  On nodes without GPUs take one task a node.
#
# Two minutes before the limit of time every process gets SIGTERM; the run ends with a checkpoint and status 143, and
# waits in the queue again, under the same number.  So it does where a process was lost.  In either case something new
# must have been saved, or the job ends.  Where a node fails or a job of higher priority comes, Slurm does it by
# --requeue.  `scancel NUMBER` ends it for good, with a checkpoint if that takes less than the cluster's KillWait (30 s
# unless set otherwise).
#
# Tried in Slurm 22.05 on one node, two tasks, JAX on a CPU, configs/pretrain.py:quicktest: a limit of time, `scancel
# --signal=TERM`, `scontrol requeue`, a killed process, a refusal and `scancel`. Not on several nodes nor with GPUs; and
# that was when a training that was told to stop ended with 0. Its status is known here from stand-ins alone.
#
#SBATCH --job-name=metis
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log

run=${1:?give the folder of the run, then the flags of train.py}
shift

newest() { find "$run/checkpoints" -maxdepth 1 -regex '.*/[0-9]+' -printf '%f\n' 2>/dev/null | sort -n | tail -n 1; }

before=$(newest)
# srun takes the processors of a task from its own option alone.
srun --label --kill-on-bad-exit=0 ${SLURM_CPUS_PER_TASK:+--cpus-per-task="$SLURM_CPUS_PER_TASK"} \
    python train.py --distributed --workdir="$run" "$@"
status=$?

# Told to stop (143), or a process was lost.  One refusal among processes also looks like this, as the others end with
# 3; but nothing new is saved then.
if ((status == 3 || status > 128)) && [ "$(newest)" != "$before" ]; then
    echo "slurm.sh: ended before its last step, with status $status; the job waits in the queue again"
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
