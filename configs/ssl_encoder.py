"""The SSL encoder from nothing, by masked prediction of random-projection codes (BEST-RQ, arXiv 2202.01855).

Command:   python train.py --config=configs/ssl_encoder.py --workdir=DIR --config.data.shards='("SHARDS",)'
Export:    the same command with --export=BUNDLE; it also measures the statistics of the features.
Data:      shards of speech (data/prepare.py); the release's w2v-BERT 2.0 has seen 4.5M hours.
Hardware:  8 x 80 GB for the full size, which was not run here.  The release's encoder can be converted instead
           (convert.py).
Source:    sizes are w2v-BERT 2.0's; rate, steps and masks are chosen here.
Expected:  no published number; the tokens' use downstream is the measure.
Words:     tiny, quicktest (configs/common.py).
"""

from configs import common
from metis_jax.config import SslEncoderConfig


def get_config(arg: str | None = None):
    given = common.words(arg)
    tiny = common.is_tiny(given)
    adam = dict(learning_rate=4e-4, schedule="inverse_sqrt", warmup_steps=25_000)
    return common.experiment(
        given,
        stage="ssl_encoder",
        model=dict(
            ssl_encoder=common.sized(
                SslEncoderConfig,
                given,
                width=1024,
                num_layers=24,
                hidden_layer=17,  # what later stages read
                num_heads=16,
                mlp_width=4096,
                conv_width=31,
            ),
            # Spans of 20 frames that begin at 2% of all hide about a third of them.
            start_probability=0.02,
            span=20,
            num_codebooks=2 if tiny else 4,
            codebook_size=64 if tiny else 8192,
            code_width=16,
            policy=common.policy(given),
        ),
        data=dict(
            stage="ssl_encoder",
            buckets=(250, 500, 750, 1000),  # frames of 20 ms
            example=dict(gain_db=(-10.0, 10.0)),
        ),
        optimizers=dict(
            ssl_encoder=common.optimizer(given, **adam),
            head=common.optimizer(given, **adam),
        ),
        steps=500_000,
        tokens_per_device=32_000,  # 640 s
        accumulate=1 if tiny else 2,
    )
