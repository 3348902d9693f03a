"""The SSL encoder from nothing, by masked prediction of random-projection codes (BEST-RQ, arXiv 2202.01855).

Command:   python train.py --config=configs/ssl_encoder.py --workdir=DIR --config.data.shards='("SHARDS",)'
Export:    the same command with --export=BUNDLE; it also measures the statistics of the features.
Data:      shards of speech (data/prepare.py); the release's w2v-BERT 2.0 has seen 4.5M hours.
Hardware:  8 x 80 GB for the full size.  The release's encoder can be converted instead (convert.py).
Expected:  no published number; the tokens' use downstream is the measure.
Words:     tiny, quicktest (configs/common.py).
"""

from configs import common
from metis_jax.config import SslEncoderConfig


def get_config(arg: str | None = None):
    given = common.words(arg)
    tiny = common.is_tiny(given)
    return common.experiment(
        given,
        stage="ssl_encoder",
        model=dict(
            ssl_encoder=common.sized(SslEncoderConfig, given),
            policy=common.policy(given),
            num_codebooks=2 if tiny else 4,
            codebook_size=64 if tiny else 8192,
        ),
        data=dict(stage="ssl_encoder", buckets=(250, 500, 750, 1000), example=dict(gain_db=(-10.0, 10.0))),
        optimizers=dict(
            ssl_encoder=common.optimizer(given, learning_rate=4e-4, warmup_steps=25_000),
            head=common.optimizer(given, learning_rate=4e-4, warmup_steps=25_000),
        ),
        steps=500_000,
        tokens_per_device=32_000,
        accumulate=1 if tiny else 2,
    )
