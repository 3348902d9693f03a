r"""Nano fine-tuning: text to speech from phones.

Command:   python train.py --config=configs/nano/tts.py --workdir=DIR --config.data.shards='("TOKEN_SHARDS",)' \
               --config.initial.semantic_generator=BUNDLE --config.code_vectors.semantic_codec=BUNDLE
Data:      shards with `ssl_tokens`, and `phones` or text, in utterances of up to 10 s.
Hardware:  two CPU cores.
"""

from configs.nano import common as nano
from metis_jax.config import SemanticGeneratorConfig

STEPS = 10000


def get_config(arg: str | None = None):
    given = nano.words(arg)
    return nano.experiment(
        given,
        stage="semantic_generator",
        model=dict(
            generator=nano.sized(SemanticGeneratorConfig, given, phone_vocabulary=1024, spread_phones=True),
            minimum_rate=nano.TEXT_MINIMUM_RATE,
        ),
        data=dict(
            stage="finetune",
            buckets=(150, 250, 500),
            example=dict(max_phones=192),
            parts=(dict(task="tts", select=nano.SPOKEN),),
        ),
        optimizers=dict(semantic_generator=nano.optimizer(given, STEPS, learning_rate=7e-4)),
        initial={} if "scratch" in given else dict(semantic_generator=""),
        code_vectors=dict(semantic_codec=""),
        tasks=("tts",),
        steps=STEPS,
        tokens_per_device=4000,
    )
