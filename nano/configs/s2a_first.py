"""Nano stage 2: the first acoustic level from SSL tokens.

Command:   python train.py --config=nano/configs/s2a_first.py --workdir=DIR \\
               --config.data.shards='("TOKEN_SHARDS", "NOISY_TOKEN_SHARDS")'
Hardware:  two CPU cores.
"""

from nano.configs import common as nano

STEPS = 7300


def get_config(arg: str | None = None):
    return nano.stage2(nano.words(arg), STEPS, first_level=0, num_levels=1)
