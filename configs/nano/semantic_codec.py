"""Nano semantic codec, second part: codes, first clusters of what its networks make of speech, then learned with them.

Command:   python train.py --config=configs/nano/semantic_codec.py --workdir=DIR --config.data.shards='("SHARDS",)' \
               --config.initial.ssl_encoder=BUNDLE --config.initial.semantic_codec=BUNDLE
Hardware:  two CPU cores.
"""

from configs.nano import common as nano
from metis_jax.config import SemanticCodecConfig, SslEncoderConfig

STEPS = 5000
RUNNING_MEANS = ((r"params/quantizer/codebook", True), (r".*", False))


def get_config(arg: str | None = None):
    given = nano.words(arg)
    return nano.experiment(
        given,
        stage="semantic_codec",
        model=dict(
            semantic_codec=nano.sized(SemanticCodecConfig, given),
            ssl_encoder=nano.sized(SslEncoderConfig, given),
            kmeans_frames=1000 if nano.common.is_tiny(given) else 200_000,
            code_memory=20.0,
        ),
        data=nano.DENOISING,
        optimizers=dict(semantic_codec=nano.optimizer(given, STEPS, learning_rate=2e-3, descend=RUNNING_MEANS)),
        initial=dict(ssl_encoder="", semantic_codec=""),
        steps=STEPS,
        tokens_per_device=1200,
    )
