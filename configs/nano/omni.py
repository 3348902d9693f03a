r"""Nano fine-tuning: one generator for text to speech, voice conversion, speaker extraction and enhancement.

Command:   python train.py --config=configs/nano/omni.py[:lora] --workdir=DIR \
               --config.data.shards='("TOKEN_SHARDS",)' \
               --config.initial.semantic_generator=BUNDLE --config.initial.ssl_encoder=BUNDLE \
               --config.initial.semantic_codec=BUNDLE --config.code_vectors.semantic_codec=BUNDLE
Data:      as for tasks.py, with `phones` or text.
Hardware:  two CPU cores.
"""

from configs.nano import common as nano

STEPS = 15000
SHARES = {"tts": 0.3, "se": 0.3, "tse": 0.15, "vc": 0.25}


def get_config(arg: str | None = None):
    given = nano.words(arg, "lora")
    return nano.finetuning(given, SHARES, STEPS, minimum_rate=nano.TEXT_MINIMUM_RATE, phone_vocabulary=1024)
