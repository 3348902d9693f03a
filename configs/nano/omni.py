r"""Nano fine-tuning: one generator for text to speech, voice conversion, speaker extraction and enhancement.

Command:   python train.py --config=configs/nano/omni.py --workdir=DIR --config.data.shards='("TOKEN_SHARDS",)' \
               --config.initial.semantic_generator=BUNDLE --config.initial.ssl_encoder=BUNDLE \
               --config.initial.semantic_codec=BUNDLE --config.code_vectors.semantic_codec=BUNDLE
Data:      as for tasks.py, with `phones` or text.
Hardware:  two CPU cores.
"""

from configs.nano import common as nano

STEPS = 15000
# As in the full experiment text has the most to learn; perturbed voices cost the most.
SHARES = {"tts": 0.4, "se": 0.25, "tse": 0.25, "vc": 0.1}


def get_config(arg: str | None = None):
    return nano.finetuning(nano.words(arg), SHARES, STEPS, phone_vocabulary=1024)
