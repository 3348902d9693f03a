"""Nano acoustic codec: four levels of 1024 codes, reconstruction losses alone.

Command:   python train.py --config=nano/configs/acoustic_codec.py --workdir=DIR --config.data.shards='("SHARDS",)'
Hardware:  two CPU cores.  Discriminators would multiply the cost of a step and are left out.
"""

from metis_jax.config import AcousticCodecConfig
from nano.configs import common as nano

STEPS = 40_000
DATA = dict(stage="acoustic_codec", buckets=(50,), recipe=dict(min_frames=25), example=dict(gain_db=(-9.0, 3.0)))
ADAM = dict(warmup_steps=300, b1=0.8, b2=0.99, clip_norm=10.0)


def get_config(arg: str | None = None):
    given = nano.words(arg)
    return nano.experiment(
        given,
        stage="acoustic_codec",
        model=dict(acoustic_codec=nano.sized(AcousticCodecConfig, given)),
        data=DATA,
        optimizers=dict(acoustic_codec=nano.optimizer(given, STEPS, **ADAM)),
        steps=STEPS,
        tokens_per_device=200,
    )
