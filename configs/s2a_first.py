"""Stage 2, level 1: the first acoustic level from SSL tokens, a model of its own (MaskGCT section 3.2.3).

Sizes, rates and masks are those of the other levels: configs/s2a_full.py.

Command:   python train.py --config=configs/s2a_first.py --workdir=DIR --config.data.shards='("TOKEN_SHARDS",)'
Data:      shards with `ssl_tokens` and `acoustic_tokens` (data/extract_tokens.py).
Hardware:  8 x 80 GB, as stage 1.  Not run at this size here.
Expected:  no published number.
Words:     tiny, quicktest, samples (configs/common.py).
"""

from configs import common
from configs.s2a_full import stage2


def get_config(arg: str | None = None):
    return stage2(common.words(arg, common.SAMPLES), first_level=0, num_levels=1)
