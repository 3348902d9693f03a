"""Nano stage 2: levels 2 to 8 from SSL tokens and the levels below.

Command:   python train.py --config=configs/nano/s2a_full.py --workdir=DIR --config.data.shards='("TOKEN_SHARDS",)'
Hardware:  two CPU cores.
"""

from configs.nano import common as nano
from metis_jax.config import AcousticGeneratorConfig

STEPS = 6000


def get_config(arg: str | None = None):
    given = nano.words(arg)
    return nano.experiment(
        given,
        stage="acoustic_generator",
        model=dict(generator=nano.sized(AcousticGeneratorConfig, given), first_level=1),
        data=dict(stage="stage2", buckets=(150, 250)),
        optimizers=dict(acoustic_generator=nano.optimizer(given, STEPS)),
        steps=STEPS,
        batch_size=12,
    )
