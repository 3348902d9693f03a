"""Stage 2, level 1: the first acoustic level from SSL tokens, a model of its own (MaskGCT section 3.2.3).

Command:   python train.py --config=configs/s2a_first.py --workdir=DIR --config.data.shards='("TOKEN_SHARDS",)'
Data:      shards with `ssl_tokens` and `acoustic_tokens` (data/extract_tokens.py).
Hardware:  8 x 80 GB, as stage 1.
Expected:  not published as a number.
Words:     tiny, quicktest, samples (configs/common.py).
"""

from configs import common


def get_config(arg: str | None = None):
    return common.stage2(arg, first_level=0, num_levels=1)
