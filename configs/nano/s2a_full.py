"""Nano stage 2: levels 2 to 4 from SSL tokens and the levels below.

Command:   python train.py --config=configs/nano/s2a_full.py --workdir=DIR \
               --config.data.shards='("TOKEN_SHARDS", "NOISY_TOKEN_SHARDS")' \
               --config.code_vectors.semantic_codec=BUNDLE --config.code_vectors.acoustic_codec=BUNDLE
Hardware:  two CPU cores.
"""

from configs.nano import common as nano

STEPS = 3600


def get_config(arg: str | None = None):
    return nano.stage2(nano.words(arg, "further"), STEPS, first_level=1)
