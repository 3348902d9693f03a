"""Nano semantic codec: k-means of SSL features, one of 8192 centres per 20 ms.

Command:   python train.py --config=configs/nano/semantic_codec.py --workdir=DIR \
               --config.data.shards='("SHARDS",)' --config.initial.ssl_encoder=BUNDLE
Hardware:  two CPU cores.
"""

from configs.nano import common as nano
from metis_jax.config import SemanticCodecConfig, SslEncoderConfig

STEPS = 300


def get_config(arg: str | None = None):
    given = nano.words(arg)
    return nano.experiment(
        given,
        stage="semantic_codec",
        model=dict(
            semantic_codec=nano.sized(SemanticCodecConfig, given),
            ssl_encoder=nano.sized(SslEncoderConfig, given),
            kmeans_frames=1000 if nano.common.is_tiny(given) else 600_000,
        ),
        data=dict(stage="semantic_codec", buckets=(150,), example=dict(gain_db=(-6.0, 3.0))),
        optimizers=dict(semantic_codec=nano.optimizer(given, STEPS, learning_rate=1e-4)),
        initial=dict(ssl_encoder=""),
        steps=STEPS,
        batch_size=8,
    )
