#!/bin/bash
# Training on a slice of Cloud TPU VMs, started again until it is done.  Not tried on a TPU: tests run it with a
# stand-in for gcloud.  Give it in the folder of the clone, on a machine that stays (tmux), with gcloud logged in:
#
#   ZONE=us-east5-b TYPE=v6e-16 RUNTIME=v2-alpha-tpuv6e SHARE=10.0.0.2:/metis \
#       bash launch/tpu_vm.sh NAME --config=configs/pretrain.py --workdir=/mnt/metis/RUN \
#       --config.data.shards='("/mnt/metis/SHARDS",)'
#
# TYPE and RUNTIME are v6e-* and v2-alpha-tpuv6e, v5p-* and v2-alpha-tpuv5, or v5litepod-* and v2-alpha-tpuv5-lite;
# newer TPUs are had by launch/kubernetes.yaml alone.  SHARE is a folder by NFS (Filestore) that all hosts mount as
# /mnt/metis.  What was committed is copied.  The slice is asked for as a queued resource (TIER=--guaranteed for one
# that is not preempted); where it is taken away, another one is waited for, and the run goes on from its last
# checkpoint.
#
# Ctrl-C ends the run with a checkpoint.  The slice stays, and costs, until
#   gcloud compute tpus queued-resources delete NAME --zone=ZONE --force
set -uo pipefail
name=${1:?give a name for the slice, then the flags of train.py}
shift
: "${ZONE:?}" "${TYPE:?}" "${RUNTIME:?}" "${SHARE:?}"
pause=${PAUSE:-30} # seconds between two looks at the queue

queue() { gcloud compute tpus queued-resources "$1" "$name" --zone="$ZONE" --quiet "${@:2}"; }
on_all_hosts() { gcloud compute tpus tpu-vm ssh "$name" --zone="$ZONE" --quiet --worker=all --command="$1"; }
state() { queue describe --format="value(state.state)" 2>/dev/null; }

wait_for_slice() {
    while true; do
        case $(state) in
        ACTIVE) return ;;
        FAILED) echo "tpu_vm.sh: the request for $name failed; see: gcloud compute tpus queued-resources describe" >&2
            exit 2 ;;
        SUSPENDED) queue delete --force || exit 2 ;;
        "") queue create --node-id="$name" --accelerator-type="$TYPE" --runtime-version="$RUNTIME" \
            "${TIER:---spot}" || exit 2 ;;
        *) sleep "$pause" ;;
        esac
    done
}

# Their Ubuntu 22.04 has Python 3.10: uv brings a newer one.
install='set -e
command -v nfsstat >/dev/null || { sudo apt-get -qq update && sudo apt-get -qq install -y nfs-common; }
mountpoint -q /mnt/metis || { sudo mkdir -p /mnt/metis && sudo mount '$(printf %q "$SHARE")' /mnt/metis; }
rm -rf metis_jax && mkdir metis_jax && tar -xzf metis_jax.tar.gz -C metis_jax
python3 -m pip install --quiet --user uv
[ -d metis ] || ~/.local/bin/uv venv --quiet --python=3.12 metis
VIRTUAL_ENV=metis ~/.local/bin/uv pip install --quiet -e "./metis_jax[tpu,train]"'
training="cd metis_jax && exec ../metis/bin/python train.py --distributed$(printf ' %q' "$@")"

files=$(mktemp -d)
trap 'rm -rf "$files"' EXIT
trap 'on_all_hosts "pkill -TERM -f [t]rain.py"; exit 130' INT TERM

in_vain=0
while true; do
    wait_for_slice
    begun=$SECONDS
    git archive --format=tar.gz --output="$files/metis_jax.tar.gz" HEAD &&
        gcloud compute tpus tpu-vm scp "$files/metis_jax.tar.gz" "$name:" --zone="$ZONE" --quiet --worker=all &&
        on_all_hosts "$install" &&
        on_all_hosts "$training"
    status=$?
    if ((status == 0)); then
        exit 0
    fi
    if [ "$(state)" = ACTIVE ]; then # not the slice's end but the run's
        if ((status == 2)); then
            exit 2
        fi
        # One refusal among processes ends the others with 3.
        in_vain=$((SECONDS - begun < 300 ? in_vain + 1 : 0))
        if ((in_vain == 3)); then
            echo "tpu_vm.sh: three starts in a row have ended within five minutes; nothing more is tried" >&2
            exit "$((status ? status : 1))"
        fi
    fi
    echo "tpu_vm.sh: ended with status $status; started again" >&2
done
