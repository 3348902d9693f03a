"""Nano SSL encoder, from nothing, on clean and degraded speech alike.

Command:   python train.py --config=configs/nano/ssl_encoder.py --workdir=DIR --config.data.shards='("SHARDS",)'
Export:    the same command with --export=BUNDLE.
Hardware:  two CPU cores.
"""

from configs.nano import common as nano
from metis_jax.config import SslEncoderConfig

STEPS = 6000


def get_config(arg: str | None = None):
    given = nano.words(arg)
    optimizer = nano.optimizer(given, STEPS)
    return nano.experiment(
        given,
        stage="ssl_encoder",
        model=dict(
            ssl_encoder=nano.sized(SslEncoderConfig, given),
            num_codebooks=2,
            codebook_size=512,
            start_probability=0.04,
            span=10,
        ),
        data=dict(
            stage="ssl_encoder",
            buckets=(150,),
            example=dict(gain_db=(-10.0, 6.0), degrade_wave=0.25),
        ),
        optimizers=dict(ssl_encoder=optimizer, head=optimizer),
        steps=STEPS,
        tokens_per_device=1200,
    )
