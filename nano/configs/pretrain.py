"""Nano stage-1 pre-training: masked generative modelling of SSL tokens.

Command:   python train.py --config=nano/configs/pretrain.py --workdir=DIR --config.data.shards='("TOKEN_SHARDS",)'
Hardware:  two CPU cores.
"""

from metis_jax.config import SemanticGeneratorConfig
from nano.configs import common as nano

STEPS = 2000


def get_config(arg: str | None = None):
    given = nano.words(arg)
    return nano.experiment(
        given,
        stage="semantic_generator",
        model=dict(generator=nano.sized(SemanticGeneratorConfig, given)),
        data=dict(stage="pretrain", buckets=(150, 250, 400), parts=nano.by_source(given)),
        optimizers=dict(semantic_generator=nano.optimizer(given, STEPS)),
        steps=STEPS,
        tokens_per_device=3000,
    )
