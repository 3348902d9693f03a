"""Nano semantic codec, first part: its networks, without codes between them.

From SSL features of speech in noise the log-mel spectrum of the clean speech is found, through as few channels as a
code has.

Command:   python train.py --config=configs/nano/semantic_autoencoder.py --workdir=DIR \
               --config.data.shards='("SHARDS",)' --config.initial.ssl_encoder=BUNDLE
Hardware:  two CPU cores.
"""

from configs.nano import common as nano
from metis_jax.config import SemanticCodecConfig, SslEncoderConfig

STEPS = 1000


def get_config(arg: str | None = None):
    given = nano.words(arg)
    return nano.experiment(
        given,
        stage="semantic_codec",
        model=dict(
            semantic_codec=nano.sized(SemanticCodecConfig, given),
            ssl_encoder=nano.sized(SslEncoderConfig, given),
            is_quantized=False,
        ),
        data=nano.DENOISING,
        optimizers=dict(semantic_codec=nano.optimizer(given, STEPS, learning_rate=2e-3)),
        initial=dict(ssl_encoder=""),
        steps=STEPS,
        tokens_per_device=1200,
    )
