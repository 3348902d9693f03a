"""Nano lengths of speech from phones (metis_jax/models/duration_predictor.py).

Command:   python train.py --config=nano/configs/duration_predictor.py --workdir=DIR --config.data.shards='("SHARDS",)'
Data:      as for tts.py.
Hardware:  one CPU core; minutes.
"""

from metis_jax.config import DurationPredictorConfig
from metis_jax.sections import to_dict
from nano.configs import common as nano

STEPS = 2000


def get_config(arg: str | None = None):
    given = nano.words(arg)
    return nano.experiment(
        given,
        stage="duration_predictor",
        model=dict(predictor=to_dict(DurationPredictorConfig(width=96, mlp_width=192, num_layers=3))),
        data=dict(
            stage="finetune",
            buckets=(500, 750),
            example=dict(max_phones=256),
            parts=(dict(task="tts", select=nano.SPOKEN),),
        ),
        optimizers=dict(duration_predictor=nano.optimizer(given, STEPS)),
        steps=STEPS,
        tokens_per_device=12_000,
    )
