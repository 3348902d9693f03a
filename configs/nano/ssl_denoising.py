"""Nano SSL encoder, second part: the spectrum of clean speech, found in noisy speech.

Command:   python train.py --config=configs/nano/ssl_denoising.py --workdir=DIR --config.data.shards='("SHARDS",)' \
               --config.initial.ssl_encoder=BUNDLE
Hardware:  two CPU cores.
"""

from configs.nano import common as nano
from metis_jax.config import SslEncoderConfig

STEPS = 6000


def get_config(arg: str | None = None):
    given = nano.words(arg)
    return nano.experiment(
        given,
        stage="ssl_denoising",
        model=dict(ssl_encoder=nano.sized(SslEncoderConfig, given), clean_share=0.15),
        data=nano.DENOISING,
        optimizers=dict(ssl_encoder=nano.optimizer(given, STEPS)),
        initial=dict(ssl_encoder=""),
        steps=STEPS,
        tokens_per_device=2100,
    )
