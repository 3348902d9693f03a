r"""Nano fine-tuning: one generator for text to speech, enhancement, speaker extraction and voice conversion.

Command:   python train.py --config=nano/configs/omni.py[:lora|:scratch] --workdir=DIR \
               --config.data.shards='("TOKEN_SHARDS",)' --config.initial.ssl_encoder=BUNDLE \
               --config.initial.semantic_generator=BUNDLE
Data:      as for tasks.py and tts.py.
Hardware:  two CPU cores.
"""

from nano.configs import common as nano

STEPS = 3600
SHARES = {"tts": 0.3, "se": 0.4, "tse": 0.2, "vc": 0.1}


def get_config(arg: str | None = None):
    given = nano.words(arg, "lora", "scratch")
    # Of native voices few recordings are short enough to be read; as a third of the examples they cost words behind
    # voices that were not heard (docs/nano.md).
    return nano.finetuning(given, SHARES, STEPS, phones=True, unmixed=("tts",))
