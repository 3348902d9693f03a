r"""Lengths of speech from phones; the authors released no such model (metis_jax/models/duration_predictor.py).

Command:   python train.py --config=configs/duration_predictor.py --workdir=DIR --config.data.shards='("TOKEN_SHARDS",)'
Data:      shards with `ssl_tokens`, and `phones` or text.
Hardware:  one device of any kind; 3M parameters.  Not run at this size here.
Source:    all of it is chosen here.
Expected:  no published number; watch `relative_error` on the held-out speakers.
Words:     tiny, quicktest (configs/common.py).
"""

from configs import common
from metis_jax.config import DurationPredictorConfig


def get_config(arg: str | None = None):
    given = common.words(arg)
    return common.experiment(
        given,
        stage="duration_predictor",
        model=dict(
            predictor=common.sized(
                DurationPredictorConfig, given, width=256, mlp_width=1024, num_layers=4, phone_vocabulary=1024
            ),
            policy=common.policy(given, dtype="float32", remat="none"),
        ),
        data=dict(stage="finetune", buckets=(500, 1000, 1500), parts=(dict(task="tts"),)),  # frames of 20 ms
        optimizers=dict(
            duration_predictor=common.optimizer(
                given, learning_rate=5e-4, schedule="cosine", warmup_steps=500, total_steps=20_000
            )
        ),
        steps=20_000,
        tokens_per_device=96_000,  # 32 minutes
    )
