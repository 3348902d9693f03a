"""Nano stage 2: levels 2 to 4 from SSL tokens and the levels below.

Command:   python train.py --config=nano/configs/s2a_full.py --workdir=DIR \\
               --config.data.shards='("TOKEN_SHARDS", "NOISY_TOKEN_SHARDS")'
Hardware:  two CPU cores.
"""

from nano.configs import common as nano

STEPS = 6600


def get_config(arg: str | None = None):
    return nano.stage2(nano.words(arg), STEPS, first_level=1)
