"""Stage 2, levels 2 to 12: acoustic tokens from SSL tokens and the levels below (MaskGCT section 3.2.3).

Command:   python train.py --config=configs/s2a_full.py --workdir=DIR --config.data.shards='("TOKEN_SHARDS",)'
Data:      shards with `ssl_tokens` and `acoustic_tokens` (data/extract_tokens.py).
Hardware:  8 x 80 GB, as stage 1.
Expected:  not published as a number.
Words:     tiny, quicktest, samples (configs/common.py).
"""

from configs import common


def get_config(arg: str | None = None):
    return common.stage2(arg, first_level=1)
