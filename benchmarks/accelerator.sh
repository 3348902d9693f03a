#!/usr/bin/env bash
# One call of at most ten minutes on a machine with one accelerator and its own Python packages: is it right, how fast?
#
#     bash benchmarks/accelerator.sh [RESULTS.md]
#     SIZE=tiny bash benchmarks/accelerator.sh        # the same on a CPU, as a rehearsal
#
# Parts, each with a limit of its own, so that one that hangs costs no other: goldens of the authors' code, attention by
# every backend, decoding at batch 1 and 8 beside the release's way (where torch is), pre-training and fine-tuning steps.
# PARTS="parity attention" runs some of them.
set -uo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 XLA_PYTHON_CLIENT_PREALLOCATE=false
results=${1:-benchmarks/results/accelerator_$(date +%F).md}
size=${SIZE:-full}
dtype=$([ "$size" = full ] && echo bfloat16 || echo float32)
platforms=$([ "$size" = full ] && python -c "import jax; print(jax.default_backend().replace('gpu', 'cuda'))" || echo cpu)
failed=0

part() {  # name, seconds, command
    [[ " ${PARTS:-parity attention decode train} " == *" $1 "* ]] || return 0
    local begun=$SECONDS
    printf '\n## %s\n\n`%s`\n\n' "$1" "${*:3}" | tee -a "$results"
    timeout -k 10 "$2" "${@:3}" 2> >(tail -n 5 >&2) | tee -a "$results"
    local status=${PIPESTATUS[0]}
    printf '\nexit status %s after %s s\n' "$status" "$((SECONDS - begun))" | tee -a "$results"
    [ "$status" = 0 ] || failed=1
}

mkdir -p "$(dirname "$results")"
printf '# One accelerator, %s\n' "$(date +%F)" | tee "$results"
python -c "import sys; sys.path.insert(0, 'benchmarks'); import measure; print(measure.environment())" | tee -a "$results"
# In the arithmetic of float32: a GPU's products of such numbers are otherwise rounded to 10 bits.
part parity 120 env JAX_PLATFORMS="$platforms" JAX_DEFAULT_MATMUL_PRECISION=highest \
    python -m pytest -q -p no:cacheprovider tests/models tests/decoding -k 'reference or golden'
part attention 60 python benchmarks/attention.py --size="$size" --dtype="$dtype"
part decode 210 python benchmarks/decode.py --size="$size" --batches=1,8 --dtype="$dtype"
part train 190 python benchmarks/training.py --size="$size" --stages=pretrain,finetune_se
exit "$failed"
