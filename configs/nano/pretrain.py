"""Nano stage-1 pre-training: masked generative modelling of SSL tokens.

Command:   python train.py --config=configs/nano/pretrain.py --workdir=DIR --config.data.shards='("TOKEN_SHARDS",)' \
               --config.code_vectors.semantic_codec=BUNDLE
Hardware:  two CPU cores.
"""

from configs.nano import common as nano
from metis_jax.config import SemanticGeneratorConfig

STEPS = 1800


def get_config(arg: str | None = None):
    given = nano.words(arg)
    return nano.experiment(
        given,
        stage="semantic_generator",
        model=dict(generator=nano.sized(SemanticGeneratorConfig, given)),
        data=dict(stage="pretrain", buckets=(150, 250)),
        optimizers=dict(semantic_generator=nano.optimizer(given, STEPS)),
        code_vectors=dict(semantic_codec=""),
        steps=STEPS,
        tokens_per_device=3000,
    )
