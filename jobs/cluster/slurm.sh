#!/bin/bash
# A search inside a Slurm allocation: Ray on every node of it, the driver on the first one.
#
#     sbatch jobs/cluster/slurm.sh jobs/ncbi_disease_stack.yaml --set storage=$SCRATCH/munchray
#
# Submitting it again after the time limit goes on where the search was. Before: an environment with munchray in it, on
# a disk that all nodes see, active when you type sbatch. The last two minutes are for stopping cleanly.
#SBATCH --job-name=munchray
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=08:00:00
#SBATCH --signal=B:TERM@120
set -euo pipefail

# Only who knows the token gets into this cluster; it never appears on a command line.
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 10000))   # two jobs may share a node
gpus=${SLURM_GPUS_ON_NODE:-0}

srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" \
    ray start --head --port="$port" --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="$gpus" --block &
sleep 20
if [ "$SLURM_NNODES" -gt 1 ]; then
    srun --overlap --nodes=$((SLURM_NNODES - 1)) --ntasks=$((SLURM_NNODES - 1)) --exclude="$head" \
        ray start --address="$head:$port" --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="$gpus" --block &
    sleep 20
fi

srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" munchray search "$@" --address "$head:$port" &
search=$!
trap 'kill -TERM $search' TERM   # the time is almost up: running trials keep their checkpoints
wait "$search" || wait "$search"
