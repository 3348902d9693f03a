r"""Nano fine-tuning: text to speech from phones.

Command:   python train.py --config=nano/configs/tts.py[:lora|:scratch] --workdir=DIR \
               --config.data.shards='("TOKEN_SHARDS",)' --config.initial.semantic_generator=BUNDLE
Data:      shards with `ssl_tokens`, and `phones` or text, in utterances of up to 8 s; phones with bounds stand where
           they are said.
Hardware:  two CPU cores.
"""

from nano.configs import common as nano

STEPS = 4000


def get_config(arg: str | None = None):
    given = nano.words(arg, "lora", "scratch")
    return nano.finetuning(given, {"tts": 1.0}, STEPS, phones=True)
