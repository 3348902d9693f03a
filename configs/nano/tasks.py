"""Nano fine-tuning: one generator for speech enhancement, target speaker extraction and voice conversion.

Command:   python train.py --config=configs/nano/tasks.py[:lora|:scratch|:further] --workdir=DIR \
               --config.data.shards='("TOKEN_SHARDS",)' \
               --config.initial.semantic_generator=BUNDLE --config.initial.ssl_encoder=BUNDLE \
               --config.initial.semantic_codec=BUNDLE --config.code_vectors.semantic_codec=BUNDLE
           or, from the packaged model on: --config.base=nano
Words:     se, tse, vc (these tasks alone; all by default), lora, scratch, further, tiny, quicktest.
Hardware:  two CPU cores.
"""

from configs.nano import common as nano

STEPS = 4000
# Perturbed voices cost a core most of its time, so voice conversion has the smallest share.
SHARES = {"se": 0.5, "tse": 0.35, "vc": 0.15}


def get_config(arg: str | None = None):
    given = nano.words(arg, "lora", "further", *SHARES)
    shares = {task: share for task, share in SHARES.items() if task in given} or SHARES
    return nano.finetuning(given, shares, STEPS, minimum_rate=nano.MINIMUM_RATE)
