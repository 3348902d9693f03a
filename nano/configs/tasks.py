"""Nano fine-tuning for speech enhancement, target speaker extraction and voice conversion, together or one alone.

Command:   python train.py --config=nano/configs/tasks.py[:se|:tse|:vc][,lora|,scratch] --workdir=DIR \\
               --config.data.shards='("TOKEN_SHARDS",)' --config.initial.ssl_encoder=BUNDLE \\
               --config.initial.semantic_generator=BUNDLE
           or, from the packaged model on: --config.base=nano
Words:     se, tse, vc (these tasks alone; all by default), text (se and tse are told what is said, in half of the
           examples), lora, scratch, tiny, quicktest.
Hardware:  two CPU cores.
"""

from nano.configs import common as nano

STEPS = 4000
SHARES = {"se": 0.45, "tse": 0.4, "vc": 0.15}


def get_config(arg: str | None = None):
    given = nano.words(arg, "text", "lora", "scratch", *SHARES)
    shares = {task: share for task, share in SHARES.items() if task in given} or SHARES
    is_told = "text" in given
    return nano.finetuning(given, shares, STEPS, phones=is_told, text_guided=0.5 if is_told else 0.0)
